"""One image by its numbers: the place where seed, index and patient become random streams."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from driftloop.contracts import UNSEEN
from driftloop.synthetic import roof, xray
from driftloop.synthetic.site import HOME_SITE, Site

#: From the random streams of the subject and of the image, the label and the site to a uint8 image.
Generator = Callable[[np.random.Generator, np.random.Generator, int, Site], np.ndarray]


@dataclass(frozen=True)
class SyntheticKind:
    """A kind of synthetic image, which is a source `synthetic:<kind>`."""

    draw: Generator
    classes: tuple[str, str]
    """Names of the labels 0 and 1."""
    folder: str
    """The root of its files."""


SYNTHETIC_KINDS = {
    "xray": SyntheticKind(xray.xray, xray.XRAY_CLASSES, "chest_xray"),
    "roof": SyntheticKind(roof.roof, roof.ROOF_CLASSES, "solar_roofs"),
}

#: Keys of the random streams.
_SUBJECT, _IMAGE = 1, 2


def draw(kind: str, *, seed: int, index: int, label: int, subject: int | None = None, site: Site = HOME_SITE) -> np.ndarray:
    """Image number `index` of the series `seed`: uint8 (H, W) for xray, (H, W, 3) for roof.

    Args:
        kind: a name of `SYNTHETIC_KINDS`.
        seed: >= 0; another seed is another series of subjects and images.
        index: >= 0; the image's number within the series.
        label: 0 or 1, an index into the kind's classes, or `UNSEEN`: a fluid level on a chest X-ray, a planted roof.
        subject: the patient's (or house's) number; images that share it share their anatomy. Default: `index`, nobody else's.
        site: the device that took it; at another site the same scene is rendered differently.

    Raises:
        ValueError: no such label.
    """
    if label not in (0, 1, UNSEEN):
        raise ValueError(f"label is 0, 1 or {UNSEEN}, got {label}")
    subject_rng = np.random.default_rng([seed, _SUBJECT, index if subject is None else subject])
    return SYNTHETIC_KINDS[kind].draw(subject_rng, np.random.default_rng([seed, _IMAGE, index]), label, site)
