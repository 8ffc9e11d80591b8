"""Kinds of drift by name, how a severity runs over time, and a scenario: kinds of drift at one severity, over time.

A new kind is one function (in `image_drifts` or `class_drifts`) and one line in `DRIFT_KINDS`; parsing, hints, replays and rehearsals
take it from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from driftloop.contracts import UNSEEN
from driftloop.scenarios.class_drifts import draw_rows, shifted_shares, unseen_class
from driftloop.scenarios.image_drifts import blur, brightness, contrast, jpeg, new_site, noise, occlusion, resolution, rotation

#: Images transformed at once: memory stays flat however long the stream is.
BATCH = 256

#: uint8 images (N, H, W, C), severities (N,) in [0, 1] and a generator -> new images of the same shape.
ImageDrift = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
#: The same, with (N,) bool beside the images: which of them show none of the classes any more.
ObjectDrift = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
#: Class shares (K,) and one severity -> the shares in the drift; InputError where that is impossible.
ShareDrift = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class DriftKind:
    """A kind of drift: a function for one of the three things that can change."""

    description: str
    """What it stands for, for people."""
    images: ImageDrift | None = None
    """Changes how images look."""
    objects: ObjectDrift | None = None
    """Changes what images show."""
    shares: ShareDrift | None = None
    """Changes how often each class is asked about; it cannot change over time."""


DRIFT_KINDS: dict[str, DriftKind] = {
    "blur": DriftKind("an optic out of focus, or a patient who moved", images=blur),
    "noise": DriftKind("a shorter exposure, a lower dose, a warmer sensor", images=noise),
    "brightness": DriftKind("a longer exposure, another display curve, brighter light", images=brightness),
    "contrast": DriftKind("fog, scatter, a flat display curve", images=contrast),
    "jpeg": DriftKind("an archive that saves space", images=jpeg),
    "resolution": DriftKind("a coarser sensor, or thumbnails instead of originals", images=resolution),
    "rotation": DriftKind("a patient badly positioned, a camera held askew", images=rotation),
    "occlusion": DriftKind("a marker, a cable, a hand in the picture", images=occlusion),
    "new_site": DriftKind("other equipment, another field of view, another display curve", images=new_site),
    "prior": DriftKind("other shares of the classes: a screening campaign, a flu season", shares=shifted_shares),
    "unseen_class": DriftKind("a share of the images shows something that the model was never taught", objects=unseen_class),
}


def constant(position: np.ndarray) -> np.ndarray:
    """Full severity from the first request on."""
    return np.ones_like(position)


def gradual(position: np.ndarray) -> np.ndarray:
    """A ramp from nothing to full severity."""
    return np.clip(position, 0, 1)


def recurring(position: np.ndarray) -> np.ndarray:
    """A drift that comes and goes: full severity in the first and third quarter, none in the second and fourth."""
    quarter = np.minimum((np.clip(position, 0, 1) * 4).astype(int), 3)
    return np.where(quarter % 2 == 0, 1.0, 0.0)


#: The share of the severity that has been reached at a position: 0 is the first request of the drift, 1 the last.
SEVERITY_OVER_TIME: dict[str, Callable[[np.ndarray], np.ndarray]] = {"constant": constant, "gradual": gradual, "recurring": recurring}
CONSTANT = "constant"


@dataclass(frozen=True)
class Scenario:
    """What `parse` returns. Random draws come from the generator that is handed in, so a seed fixes everything."""

    kinds: tuple[str, ...]
    """Names in `DRIFT_KINDS`, applied from left to right; none of them means that nothing changes."""
    severity: float
    """In [0, 1]."""
    over_time: str = CONSTANT
    """A name in `SEVERITY_OVER_TIME`."""
    share: float = 1.0
    """Of the traffic, in (0, 1]: a random part of the images, such as those of one scanner among many, which alone change."""

    @property
    def name(self) -> str:
        """The scenario without its severity: "blur+noise", "gradual:blur"."""
        kinds = "+".join(self.kinds) or "none"
        return kinds if self.over_time == CONSTANT else f"{self.over_time}:{kinds}"

    def __str__(self) -> str:
        """What `parse` reads: "blur+noise:0.6", "blur+noise:0.6@0.1"."""
        of_traffic = f"@{self.share:g}" if self.share < 1 else ""
        return f"{self.name}:{self.severity:g}{of_traffic}" if self.kinds else "none"

    @property
    def drifts(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.kinds) and self.severity > 0

    @property
    def shifts_prior(self) -> bool:
        """Whether it changes which images are asked about."""
        return self.drifts and any(DRIFT_KINDS[kind].shares for kind in self.kinds)

    def severities(self, n: int, position: np.ndarray | None = None) -> np.ndarray:
        """The severity of each of `n` images: (n,) in [0, 1].

        Args:
            n: number of images.
            position: (n,) in [0, 1], where each image lies between the first and the last request of the drift; default: evenly.
        """
        where = np.linspace(0, 1, n) if position is None else np.asarray(position, dtype=float)
        if where.shape != (n,):
            raise ValueError(f"scenario: {n} images need {n} positions, got an array of shape {where.shape}")
        return self.severity * SEVERITY_OVER_TIME[self.over_time](where)

    def in_steps(self, n: int) -> list["Scenario"]:
        """The scenario as `n` constant ones, one after the other, each with the severity of its middle (3 decimals)."""
        if self.over_time == CONSTANT:
            return [self] * n
        severities = self.severities(n, (np.arange(n) + 0.5) / n)
        steps = [replace(self, severity=round(float(severity), 3), over_time=CONSTANT) for severity in severities]
        return [step if step.drifts else Scenario((), 0.0) for step in steps]

    def apply(self, images: np.ndarray, rng: np.random.Generator, position: np.ndarray | None = None) -> np.ndarray:
        """The images as this scenario shows them: uint8 (N, H, W, C) in, the same shape out; the input is not changed."""
        return self.transform(images, np.zeros(len(images), dtype=np.int64), rng, position)[0]

    def transform(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, position: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Like `apply`, with the labels that are true afterwards: `UNSEEN` where an image shows none of the classes any more."""
        severity = self.severities(len(images), position)
        if self.share < 1:
            severity = np.where(rng.random(len(images)) < self.share, severity, 0.0)
        result, truth = np.array(images, dtype=np.uint8), np.array(labels, dtype=np.int64)
        for start in range(0, len(result), BATCH):
            part = slice(start, start + BATCH)
            result[part], truth[part] = self._transform_batch(result[part], truth[part], severity[part], rng)
        return result, truth

    def _transform_batch(
        self, images: np.ndarray, labels: np.ndarray, severity: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        for kind in (DRIFT_KINDS[name] for name in self.kinds):
            if kind.images:
                images = kind.images(images, severity, rng)
            if kind.objects:
                images, replaced = kind.objects(images, severity, rng)
                labels = np.where(replaced, UNSEEN, labels)
        return images, labels

    def select(self, labels: np.ndarray, n: int, rng: np.random.Generator, population: np.ndarray | None = None) -> np.ndarray:
        """Which of the available images are asked about: row indices in random order, none twice.

        A prior shift moves the class shares of the population by a total variation of `severity` (times `share`, where only a part of the
        traffic shifts); every other scenario draws uniformly.
        Fewer than `n` rows come back where there are not enough images (of the classes that are wanted).

        Args:
            labels: (N,) class indices of the available images, all >= 0.
            n: wanted number of rows.
            rng: draws the rows.
            population: class indices whose shares a prior shift starts from; default: those of the available images.

        Raises:
            InputError: a prior shift further than these classes allow.
        """
        if not self.shifts_prior or len(labels) == 0:
            return rng.permutation(len(labels))[:n]
        known = labels if population is None else population
        shares = np.bincount(known) / len(known)
        present = np.flatnonzero(shares)
        for kind in (DRIFT_KINDS[name] for name in self.kinds):
            if kind.shares:
                shares[present] = kind.shares(shares[present], self.severity * self.share)
        return draw_rows(labels, n, shares, rng)
