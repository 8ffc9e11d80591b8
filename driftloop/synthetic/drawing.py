"""One image by its numbers: the place where seed, index and patient become random streams."""

from collections.abc import Callable

import numpy as np

from driftloop.synthetic import roof, xray
from driftloop.synthetic.site import HOME_SITE, Site

#: The label of the class that is in no training set: a fluid level on a chest X-ray, a planted roof.
UNSEEN = -1
Generator = Callable[[np.random.Generator, np.random.Generator, int, Site], np.ndarray]
SYNTHETIC_KINDS: dict[str, Generator] = {"xray": xray.xray, "roof": roof.roof}
SYNTHETIC_CLASSES: dict[str, tuple[str, str]] = {"xray": xray.CLASSES, "roof": roof.CLASSES}

_SUBJECT, _IMAGE = 1, 2


def draw(kind: str, *, seed: int, index: int, label: int, subject: int | None = None, site: Site = HOME_SITE) -> np.ndarray:
    """Image number `index` of the series `seed`: uint8 (H, W) for xray, (H, W, 3) for roof.

    Args:
        kind: a name of `KINDS`.
        seed: >= 0; another seed is another series of subjects and images.
        index: >= 0; the image's number within the series.
        label: 0 or 1, an index into `CLASSES[kind]`, or `UNSEEN`.
        subject: the patient's (or house's) number; images that share it share their anatomy. Default: `index`, nobody else's.
        site: the device that took it; at another site the same scene is rendered differently.

    Raises:
        ValueError: no such label.
    """
    if label not in (0, 1, UNSEEN):
        raise ValueError(f"label is 0, 1 or {UNSEEN}, got {label}")
    subject_rng = np.random.default_rng([seed, _SUBJECT, index if subject is None else subject])
    return SYNTHETIC_KINDS[kind](subject_rng, np.random.default_rng([seed, _IMAGE, index]), label, site)
