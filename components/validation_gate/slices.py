"""Parts of the test split that are looked at on their own: a gain on average must not be paid by one site or one kind of image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.validation_gate.answers import Answers
from driftloop.evaluation.paired import holm, mcnemar_worse

#: More values than this are patients, not sites.
MOST_SITES = 20
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
    p: float
    """one-sided exact McNemar p-value of: the candidate is not worse"""
    p_holm: float
    """the same after Holm's correction over all slices"""
    vetoes: bool
    """p_holm lies below alpha and the loss above the margin: in a large slice a harmless loss can be shown too"""


def find_slices(samples: pd.DataFrame, images: np.ndarray, *, minimum: int) -> dict[str, np.ndarray]:
    """Masks, bool (N,), by name: each site where there are few, and thirds by original image size and by brightness.

    No slice is built from what a model says of an image: the champion's mistakes would pick themselves.

    Args:
        samples: N rows with the columns group, width and height as far as there are any.
        images: uint8 (N, H, W, C).
        minimum: slices with fewer images are left out.
    """
    slices: dict[str, np.ndarray] = {}
    if "group" in samples and 2 <= samples["group"].nunique() <= MOST_SITES:
        groups = samples["group"].astype(str).to_numpy()
        slices |= {f"site {name}": groups == name for name in np.unique(groups)}
    if {"width", "height"} <= set(samples.columns):
        slices |= thirds(samples["width"].to_numpy(float) * samples["height"].to_numpy(float), ("small", "medium-sized", "large"))
    slices |= thirds(brightness(images), ("dark", "medium-bright", "bright"))
    return {name: rows for name, rows in slices.items() if minimum <= rows.sum() < len(rows)}


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
    clean: Answers, others: dict[str, Answers], classes: list[str], *, margin: float, alpha: float, class_minimum: int, minimum: int
) -> list[SliceResult]:
    """Test each slice of the clean split, each class too small for a criterion of its own, and each of `others` as a whole.

    All together are one family for Holm.

    Args:
        clean: answers on the test split, with its slices.
        others: on splits that may only veto, such as the drifted images that the champion was accepted for.
        classes: names, in the order of the labels.
        margin: loss of accuracy that never vetoes, as a share.
        alpha: family-wise level.
        class_minimum: classes with so many images have a criterion of their own and are left out here.
        minimum: classes with fewer images are left out.
    """
    parts = {name: (clean.candidate_right[rows], clean.champion_right[rows]) for name, rows in clean.slices.items()}
    for index, name in enumerate(classes):
        rows = clean.labels == index
        if minimum <= rows.sum() < class_minimum:
            parts[f"class {name}"] = (clean.candidate_right[rows], clean.champion_right[rows])
    parts |= {name: (answers.candidate_right, answers.champion_right) for name, answers in others.items() if len(answers.labels)}
    raw = [mcnemar_worse(int((candidate & ~champion).sum()), int((champion & ~candidate).sum())) for candidate, champion in parts.values()]
    results = []
    for (name, (candidate, champion)), p, adjusted in zip(parts.items(), raw, holm(raw), strict=True):
        difference = float(candidate.mean() - champion.mean())
        vetoes = bool(adjusted < alpha and difference < -margin)
        results.append(
            SliceResult(name, len(candidate), float(candidate.mean()), float(champion.mean()), difference, p, float(adjusted), vetoes)
        )
    return results
