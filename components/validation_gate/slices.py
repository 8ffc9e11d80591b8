"""Parts of the test split that are looked at on their own: a gain on average must not be paid by one class or one kind of image."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.validation_gate.answers import Answers
from driftloop.dataset.description import TAGS
from driftloop.evaluation.paired import group_signs_worse, holm
from driftloop.tags import MOST_LEVELS, MOST_TAGS, level_name, levels_by_tag, tag_names

#: Images whose brightness is measured at a time.
CHUNK = 1024


@dataclass(frozen=True)
class SliceResult:
    """How candidate and champion compare on one slice."""

    name: str
    """of the slice"""
    n: int
    """images"""
    candidate: float
    """accuracy of the candidate"""
    champion: float
    """accuracy of the champion"""
    difference: float
    """candidate minus champion"""
    low: float
    """one-sided lower 95 % bound of it"""
    high: float
    """one-sided upper 95 % bound"""
    groups: int
    """patients or lots that the images come from; n where each image stands for itself"""
    p: float
    """one-sided exact p-value of: the candidate is not worse (McNemar; whole groups where images come in groups)"""
    p_holm: float
    """the same after Holm's correction over all slices"""
    vetoes: bool
    """p_holm lies below alpha and the loss above the margin: in a large slice a harmless loss can be shown too"""


def find_slices(samples: pd.DataFrame, images: np.ndarray, *, minimum: int) -> dict[str, np.ndarray]:
    """Masks, bool (N,), by name: thirds by original image size and by brightness, and the levels of tags.

    No slice is built from what a model says of an image: the champion's mistakes would pick themselves. Nor from one group: splits do
    not separate groups, so a group here is a patient or lot that training never saw, one of a sample, and not a site that comes again:
    that is a tag.

    Args:
        samples: N rows with the columns width, height and tags as far as there are any.
        images: uint8 (N, H, W, C).
        minimum: slices with fewer images are left out.
    """
    slices: dict[str, np.ndarray] = {}
    if {"width", "height"} <= set(samples.columns):
        slices |= thirds(samples["width"].to_numpy(float) * samples["height"].to_numpy(float), ("small", "medium-sized", "large"))
    slices |= thirds(brightness(images), ("dark", "medium-bright", "bright"))
    return {name: rows for name, rows in slices.items() if minimum <= rows.sum() < len(rows)} | tag_slices(samples, minimum=minimum)


def tag_slices(samples: pd.DataFrame, *, minimum: int) -> dict[str, np.ndarray]:
    """Masks, bool (N,), of the levels of tags, as in site=B: of at most `MOST_TAGS` tags `MOST_LEVELS` each, those with most images.

    One with fewer images than `minimum`, or with all of them, is left out.
    """
    texts = samples[TAGS].to_numpy() if TAGS in samples else np.zeros(0, object)
    names = [name for name, _ in sorted(tag_names(texts).items(), key=lambda item: (-item[1], item[0]))[:MOST_TAGS]]
    slices: dict[str, np.ndarray] = {}
    for name, levels in levels_by_tag(texts, names).items():
        counts = Counter(level for level in levels.tolist() if level)
        largest = sorted(counts, key=lambda level: (-counts[level], level))[:MOST_LEVELS]
        slices |= {level_name(name, level): levels == level for level in largest if minimum <= counts[level] < len(levels)}
    return slices


def thirds(values: np.ndarray, names: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """The lower, middle and upper third of `values` (N,) as masks; none where all are equal or not known."""
    if not len(values) or not np.isfinite(values).all() or values.min() == values.max():
        return {}
    lower, upper = np.quantile(values, [1 / 3, 2 / 3])
    masks = (values <= lower, (values > lower) & (values <= upper), values > upper)
    return {f"{name} images": mask for name, mask in zip(names, masks, strict=True)}


def brightness(images: np.ndarray) -> np.ndarray:
    """The mean grey level of each image, float64 (N,); read in pieces, since `images` may lie on disk."""
    pieces = [images[start : start + CHUNK].mean(axis=(1, 2, 3)) for start in range(0, len(images), CHUNK)]
    return np.concatenate(pieces) if pieces else np.zeros(0)


def compare_slices(
    clean: Answers,
    others: dict[str, Answers],
    classes: dict[str, np.ndarray],
    *,
    margin: float,
    class_margin: float,
    alpha: float,
    minimum: int,
    elsewhere: Mapping[str, Answers] | None = None,
) -> list[SliceResult]:
    """Test each slice of the clean split and of those `elsewhere`, each class that is not held to a bound, and each of `others` as a whole.

    All together are one family for Holm.

    Args:
        clean: answers on the test split, with its slices.
        others: on splits that may only veto, such as the drifted images that the champion was accepted for.
        classes: those that are not held to a bound, by name: bool (N,) of the clean split.
        margin, class_margin: loss of accuracy that never vetoes, as a share; the second for classes.
        alpha: family-wise level.
        minimum: classes with fewer images are left out.
        elsewhere: answers on further splits, by their names, with slices of their own.
    """
    parts = {name: (clean, rows) for name, rows in clean.slices.items()}
    for images, answers in (elsewhere or {}).items():
        parts |= {f"{name} ({images})": (answers, rows) for name, rows in answers.slices.items()}
    of_classes = {f"class {name}": (clean, rows) for name, rows in classes.items() if rows.sum() >= minimum}
    parts |= of_classes
    parts |= {name: (answers, np.ones(len(answers.labels), bool)) for name, answers in others.items() if len(answers.labels)}
    raw = [worse(answers, rows) for answers, rows in parts.values()]
    results = []
    for (name, (answers, rows)), p, adjusted in zip(parts.items(), raw, holm(raw), strict=True):
        difference = answers.difference(rows)
        harmless = class_margin if name in of_classes else margin
        vetoes = bool(adjusted < alpha and difference.estimate < -harmless)
        accuracies = float(answers.candidate_right[rows].mean()), float(answers.champion_right[rows].mean())
        bounds = difference.estimate, difference.low, difference.high
        results.append(SliceResult(name, difference.n, *accuracies, *bounds, difference.groups, p, float(adjusted), vetoes))
    return results


def worse(answers: Answers, rows: np.ndarray) -> float:
    """The p-value of "the candidate is not worse" on the images of the mask `rows`."""
    signs = answers.candidate_right[rows].astype(int) - answers.champion_right[rows]
    return group_signs_worse(signs, None if answers.groups is None else answers.groups[rows])
