"""What a person should look at before trusting a model of these images, the gravest first, each with what to do about it.

What an audit can settle by itself it has settled; these are for people.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, f_oneway

from components.data_analysis.label_errors import LabelCheck
from driftloop.reporting.wording import percent

#: Distance of two classes' means, in standard deviations within a class, that counts as a large effect (Cohen 1988).
LARGE = 0.8
#: Level of the test that class means differ at all: those of a hundred classes of thirteen images lie 1.4 apart by chance.
APART_LEVEL = 0.001
#: Level of the test for a shift of the classes between splits, and the difference of a class's shares from which on it is told.
SHIFT_LEVEL, SHIFT_LEAST = 0.01, 0.05
#: So many median absolute deviations (in standard deviations of a normal) from its class's median make an image an outlier.
FAR = 8.0
#: Up to this share of the images of more than 8 bits may be why all of them are read by a larger range before it is told.
FEW_BEYOND = 0.05


@dataclass(frozen=True)
class Doubt:
    """One thing to look at."""

    gravity: int
    """3: later figures are not what they seem; 2: a model may learn something else than the task; 1: worth a look."""
    size: float
    """By which those of one gravity are ordered."""
    finding: str
    advice: str


@dataclass(frozen=True)
class LabelShift:
    """Whether the splits have the classes in the same shares, by a chi-square test; and where they differ most."""

    p_value: float
    label: str
    """The class whose shares differ most."""
    least: str
    """The split with its smallest share."""
    most: str
    """The split with its largest."""
    shares: tuple[float, float]
    """Of the images of those two."""
    shipped: bool
    """Whether these are the splits that the source came with."""

    @property
    def difference(self) -> float:
        return self.shares[1] - self.shares[0]


def label_shift(frame: pd.DataFrame) -> LabelShift | None:
    """Of rows with split, source_split, group and label: of the splits that the source came with, or else of those that were cut.

    A group counts once for each of its classes in the test, since its images are not independent.

    None where there is one split or class, or a cell of the table in which fewer than five are expected.
    """
    shipped = frame["source_split"].nunique() > 1
    frame = frame.assign(split=frame["source_split"]) if shipped else frame
    table = _by_split(frame.drop_duplicates(["split", "group", "label"]))
    if min(table.shape) < 2:
        return None
    tested = chi2_contingency(table.to_numpy(), correction=False)
    if tested.expected_freq.min() < 5:
        return None
    images = _by_split(frame)
    shares = images.div(images.sum(axis=1), axis=0)
    label = (shares.max() - shares.min()).idxmax()
    of_label = shares[label]
    extremes = float(of_label.min()), float(of_label.max())
    return LabelShift(float(tested.pvalue), str(label), str(of_label.idxmin()), str(of_label.idxmax()), extremes, shipped)


def _by_split(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by split and label."""
    return frame.groupby(["split", "label"]).size().unstack(fill_value=0)


def largest_distance(values: np.ndarray, labels: np.ndarray) -> float:
    """The largest distance of two classes' means, in pooled standard deviations within a class (Cohen's d); 0 where nothing varies.

    Args:
        values: (N,); labels: (N,).
    """
    parts = [values[labels == label].astype(np.float64) for label in np.unique(labels)]
    within = np.sqrt(np.average([part.var() for part in parts], weights=[len(part) for part in parts]))
    means = [part.mean() for part in parts]
    # What does not vary has a variance of rounding errors.
    return float((max(means) - min(means)) / within) if within > 1e-9 * (1 + max(map(abs, means))) else 0.0


def apart_by_more_than_chance(values: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the classes' means differ by a one-way analysis of variance; arguments as for `largest_distance`, of which one is above 0."""
    return float(f_oneway(*(values[labels == label].astype(np.float64) for label in np.unique(labels))).pvalue) < APART_LEVEL


def outliers(statistics: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows whose statistics lie more than `FAR` from their class's median, the farthest first.

    Args:
        statistics: (N, F); labels: (N,).
    """
    distance = np.zeros(len(labels))
    for label in np.unique(labels):
        part = statistics[labels == label].astype(np.float64)
        apart = np.abs(part - np.median(part, axis=0))
        spread = 1.4826 * np.median(apart, axis=0)
        distance[labels == label] = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0).max(axis=1)
    far = np.flatnonzero(distance > FAR)
    return far[np.argsort(-distance[far], kind="stable")]


def find_doubts(
    frame: pd.DataFrame, names: tuple[str, ...], statistics: np.ndarray, labels: np.ndarray, *, resize: str, checked: LabelCheck | None
) -> list[Doubt]:
    """The doubts about a source, the gravest first.

    Args:
        frame: audited rows with split, source_split, group, label, width, height and full.
        names: of the F statistics.
        statistics: (N, F) of the training images; labels: (N,).
        resize: how the images were made square.
        checked: what a model says of the labels.
    """
    found = []
    shift = label_shift(frame)
    if shift is not None and shift.p_value < SHIFT_LEVEL and shift.difference >= SHIFT_LEAST:
        found.append(_shift_doubt(shift))
    shapes, classes = np.log(frame["width"].to_numpy(float) / frame["height"].to_numpy(float)), frame["label"].to_numpy()
    aspect = largest_distance(shapes, classes)
    if aspect >= LARGE and apart_by_more_than_chance(shapes, classes):
        cure = "data_config.resize=crop hides it" if resize != "crop" else "it is cut away, but what was cut may differ by class"
        found.append(Doubt(2, aspect, f"classes differ in the shape of their pictures ({aspect:.1f} SD)", f"{cure}; collect all alike"))
    columns = dict(zip(names, statistics.T, strict=True))
    distances = {name: largest_distance(column, labels) for name, column in columns.items()}
    large = sorted((name for name in names if distances[name] >= LARGE), key=lambda name: -distances[name])
    telling = [name for name in large if apart_by_more_than_chance(columns[name], labels)]
    if telling:
        listed = ", ".join(f"{name} ({distances[name]:.1f} SD)" for name in telling)
        finding = f"classes differ already in {listed}"
        advice = "look whether another device or site explains it; collect all classes with the same"
        found.append(Doubt(2, distances[telling[0]], finding, advice))
    found += _range_doubts(frame["full"][frame["full"] > 0])
    suspected = len(checked.rows) if checked else 0
    if checked and suspected:
        like = f"{suspected:,} training image{'s look' if suspected > 1 else ' looks'} like another class"
        finding = f"{like} ({suspected / checked.images:.1%} of {checked.images:,}) to a model that never saw them"
        found.append(Doubt(2, suspected / checked.images, finding, "look at the first of them below: wrong labels are to be mended"))
    far = len(outliers(statistics, labels))
    if far:
        finding = f"{far:,} training image{'s are' if far > 1 else ' is'} far from all others of the class ({far / len(labels):.1%})"
        found.append(Doubt(1, far / len(labels), finding, "look at those below: blank, covered or foreign pictures are to be removed"))
    return sorted(found, key=lambda doubt: (-doubt.gravity, -doubt.size))


def _range_doubts(full: pd.Series) -> list[Doubt]:
    """Where a few images of more than 8 bits, of which each needs a range of `full`, make all of them darker."""
    rest = full[full < full.max()]
    beyond = len(full) - len(rest)
    if rest.empty or beyond > FEW_BEYOND * len(full):
        return []
    darker = full.max() / rest.max()
    because = f"all images of more than 8 bits are read {darker:.0f} times darker because of {beyond:,} of {len(full):,}"
    finding = f"{because}: the others are within 0 to {rest.max():,}"
    return [Doubt(2, darker, finding, "look at those: hot pixels and another device's images are to be left out or converted")]


def _shift_doubt(shift: LabelShift) -> Doubt:
    whose = "the splits that the source brings" if shift.shipped else "the splits"
    (low, high) = map(percent, shift.shares)
    where = f"{shift.label} makes {low} of {shift.least} and {high} of {shift.most}"
    advice = "do not compare accuracies of different splits"
    if shift.shipped:
        advice = f"they stay as they are: {advice}; leave the split folders out of the source, and all are cut anew alike"
    finding = f"{whose} differ in their classes: {where} (chi-square over groups, p {_p(shift.p_value)})"
    return Doubt(3, shift.difference, finding, advice)


def _p(value: float) -> str:
    return "< .0001" if value < 0.0001 else f"{value:.4f}"
