"""The families of scenarios by name. Each takes uint8 images (N, H, W, C), severities (N,) and a generator.

The course of a drift: how its severity runs from the first request (position 0) to the last (position 1).

A scenario: families of change at one severity, and their course over time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from driftloop.scenarios.class_drifts import draw, shifted_shares, unseen_class
from driftloop.scenarios.image_drifts import blur, brightness, contrast, jpeg, new_site, noise, occlusion, resolution, rotation

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


TRANSFORMS: dict[str, Transform] = {
    "blur": blur,
    "noise": noise,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "resolution": resolution,
    "rotation": rotation,
    "occlusion": occlusion,
    "new_site": new_site,
}


#: Families that change what is asked instead of how it looks.
PRIOR, UNSEEN_CLASS = "prior", "unseen_class"


FAMILIES = (*TRANSFORMS, PRIOR, UNSEEN_CLASS)


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


COURSES = {"constant": constant, "gradual": gradual, "recurring": recurring}


#: The label of an image that shows none of the classes.
UNSEEN = -1


#: Images transformed at once: memory stays flat however long the stream is.
BATCH = 256


@dataclass(frozen=True)
class Scenario:
    """What `parse` returns. Random draws come from the generator that is handed in, so a seed fixes everything.

    `families` are applied from left to right; none of them means that nothing changes. `name` leaves the severity out
    ("blur+noise", "gradual:blur"), `str(scenario)` is what `parse` takes ("blur+noise:0.6").
    """

    families: tuple[str, ...]
    severity: float
    course: str = "constant"

    @property
    def name(self) -> str:
        families = "+".join(self.families) or "none"
        return families if self.course == "constant" else f"{self.course}:{families}"

    @property
    def drifts(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.families) and self.severity > 0

    @property
    def shifts_prior(self) -> bool:
        """Whether it changes which images are asked about."""
        return PRIOR in self.families and self.drifts

    def __str__(self) -> str:
        return f"{self.name}:{self.severity:g}" if self.families else "none"

    def severities(self, n: int, position: np.ndarray | None = None) -> np.ndarray:
        """The severity of each of `n` images: (n,) in [0, 1].

        Args:
            n: number of images.
            position: (n,) in [0, 1], where each image lies between the first and the last request of the drift; default: evenly.
        """
        where = np.linspace(0, 1, n) if position is None else np.asarray(position, dtype=float)
        if where.shape != (n,):
            raise ValueError(f"scenario: {n} images need {n} positions, got an array of shape {where.shape}")
        return self.severity * COURSES[self.course](where)

    def apply(self, images: np.ndarray, rng: np.random.Generator, position: np.ndarray | None = None) -> np.ndarray:
        """The images as this scenario shows them: uint8 (N, H, W, C) in, the same shape out; the input is not changed."""
        return self.transform(images, np.zeros(len(images), dtype=np.int64), rng, position)[0]

    def transform(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, position: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Like `apply`, with the labels that are true afterwards: `UNSEEN` where an image shows none of the classes any more."""
        severity = self.severities(len(images), position)
        result, truth = np.array(images, dtype=np.uint8), np.array(labels, dtype=np.int64)
        for start in range(0, len(result), BATCH):
            part = slice(start, start + BATCH)
            result[part], truth[part] = self._batch(result[part], truth[part], severity[part], rng)
        return result, truth

    def _batch(
        self, images: np.ndarray, labels: np.ndarray, severity: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        for family in self.families:
            if family in TRANSFORMS:
                images = TRANSFORMS[family](images, severity, rng)
            elif family == UNSEEN_CLASS:
                images, chosen = unseen_class(images, severity, rng)
                labels = np.where(chosen, UNSEEN, labels)
        return images, labels

    def select(self, labels: np.ndarray, n: int, rng: np.random.Generator, population: np.ndarray | None = None) -> np.ndarray:
        """Which of the available images are asked about: row indices in random order, none twice.

        A prior shift moves the class shares of the population by a total variation of `severity`; every other scenario draws uniformly.
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
        shares[present] = shifted_shares(shares[present], self.severity)
        return draw(labels, n, shares, rng)
