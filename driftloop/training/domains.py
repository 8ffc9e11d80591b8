"""What kind of images a dataset has, and after which changes one still shows the same: a mirrored chest has its heart on the wrong side."""

import re
from dataclasses import replace

from driftloop.dataset import Description
from driftloop.settings import TrainSettings
from driftloop.training.augmentation import Augmentation

NATURAL = "natural"
#: The random views of each kind of images; a setting that is given overrules its part of them.
DOMAINS = {
    "xray": Augmentation(flip=False),
    "aerial": Augmentation(rotation=180.0, vertical_flip=True),
    "digits": Augmentation(flip=False),
    NATURAL: Augmentation(),
}
#: Words in the name of the source or of a class that give the kind away, in the order in which they are looked for.
_WORDS = {
    "xray": r"[a-z]*x[-_]?rays?|x rays?|chest|cxr|radiograph(?:s|y|ies)?|thorax|lungs?|pneumonia",
    "aerial": r"roof(?:top)?s?|aerial|satellite|drone|elpv|solar",
    "digits": r"digits?|[a-z]*mnist",
}
#: Last folders of a source that say nothing, so that the one above them counts: a split, a layer of packing, a version of Kaggle's.
_NAMELESS = re.compile(r"train(?:ing)?|images?|data(?:set)?|versions|\d+")
#: Classes that are digits, whatever the source is called.
_DIGITS = {str(digit) for digit in range(10)}


def domain_of(settings: TrainSettings, description: Description) -> str:
    """`train_config.domain`, or what the names of the source and of its classes say; natural where they say nothing."""
    if settings.domain != "auto":
        return settings.domain
    names = " ".join([_name_of(description.source), *description.classes]).lower()
    found = (kind for kind, words in _WORDS.items() if re.search(rf"(?<![a-z])(?:{words})(?![a-z])", names))
    return next(found, "digits" if set(description.classes) == _DIGITS else NATURAL)


def _name_of(source: str) -> str:
    """The last folder of a path that has a name of its own: what lies above it is about the disk."""
    folders = source.rstrip("/").lower().split("/")
    return next((folder for folder in reversed(folders) if not _NAMELESS.fullmatch(folder)), "")


def views_of(settings: TrainSettings, description: Description) -> Augmentation:
    """The random views that a training shows: the domain's, but for what the settings say themselves."""
    views = DOMAINS[domain_of(settings, description)]
    given = {name: getattr(settings, name) for name in vars(views)}
    return replace(views, **{name: value for name, value in given.items() if value is not None})
