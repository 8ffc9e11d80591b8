"""How often a class is still recognised: bounds that hold at every look, from labels drawn with known probabilities."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.recalls import KnownShare, class_recalls, judged_recall, labels_to_tell, proportion_bounds
from components.drift_detection.windows import Coverage
from driftloop.evaluation.clustered import independent_images
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import ClassRecall, RecordedWindow

SETTINGS = DriftSettings()
ACCEPTED = wilson(135, 150)


def wealth(answers: np.ndarray, share: float) -> float:
    """What a gambler has who bets against `share`, label by label, by the estimate of Krichevsky and Trofimov (1981)."""
    right, capital = 0, 1.0
    for seen, answer in enumerate(answers):
        forecast = (right + 0.5) / (seen + 1)
        capital *= forecast / share if answer else (1 - forecast) / (1 - share)
        right += answer
    return capital


@pytest.mark.parametrize("answers", [[0] * 40, [1] * 40, [0] * 200 + [1] * 3, [1, 0] * 20, [1]])
@pytest.mark.parametrize("alpha", [0.04, 0.01])
def test_a_bound_is_where_a_gambler_would_have_won_one_over_alpha(answers: list[int], alpha: float) -> None:
    low, high = proportion_bounds(sum(answers), len(answers), alpha)
    for bound, open_side in ((low, sum(answers) > 0), (high, sum(answers) < len(answers))):
        if open_side:
            assert wealth(np.array(answers), float(bound)) == pytest.approx(1 / alpha, rel=1e-4)
    assert (low == 0) == (sum(answers) == 0)
    assert (high == 1) == (sum(answers) == len(answers))


def test_without_labels_nothing_is_known() -> None:
    assert [float(end) for end in proportion_bounds(0, 0, 0.04)] == [0.0, 1.0]


@pytest.mark.parametrize("share", [0.002, 0.1, 0.9])
def test_over_all_looks_a_bound_is_seldom_wrong(share: float) -> None:
    rng = np.random.default_rng(7)
    right = rng.binomial(20, share, (2000, 60)).cumsum(axis=1)
    low, high = proportion_bounds(right, 20 * np.arange(1, 61), 0.05)
    assert ((low > share) | (high < share)).any(axis=1).mean() <= 0.05
    # A bound that can fail: at one look of many, the usual 95 % interval errs far more often.
    once = stats.beta.ppf(0.05, np.maximum(right, 1e-9), 20 * np.arange(1, 61) - right + 1)
    assert (once > share).any(axis=1).mean() > 0.05


def share(rows: float, right: float, n: float) -> KnownShare:
    return KnownShare(rows, right, n, 1.0)


def rare(found: KnownShare, missed: KnownShare, accepted: Proportion | None = ACCEPTED) -> ClassRecall:
    return judged_recall("rare", found, missed, accepted, SETTINGS, critical=True)


def test_a_class_that_is_no_longer_named_is_shown_to_have_fallen_and_one_of_few_labels_is_not_known() -> None:
    unknown = rare(share(18, 4, 4), share(1982, 0, 360))
    assert unknown.low < 0.2
    assert unknown.high == 1
    assert not unknown.told
    # Nothing is named it any more, and labels name it.
    assert rare(share(0, 0, 0), share(2000, 4, 360)).fallen
    assert rare(share(2, 0, 2), share(1998, 12, 1200)).fallen
    # Hardly any of the others are it.
    kept = rare(share(180, 60, 60), share(19820, 2, 8000))
    assert kept.bounded
    assert not kept.fallen
    assert kept.low > 0.6


def test_labels_drawn_among_those_named_so_tell_how_many_are_it_and_only_random_ones_how_many_are_missed() -> None:
    few, more = (rare(share(1000, right, right), share(19000, 0, 3000)) for right in (3, 60))
    assert more.low > few.low + 0.1
    assert rare(share(1000, 60, 60), share(19000, 0, 300)).low < more.low - 0.2


def test_a_recall_that_was_never_measured_is_taken_as_whole_and_shows_no_fall() -> None:
    assert rare(share(180, 100, 100), share(19820, 0, 50_000), None).bounded
    assert not rare(share(0, 0, 0), share(2000, 40, 360), None).told


def test_where_labels_show_none_of_the_class_nothing_is_told() -> None:
    assert not rare(share(0, 0, 0), share(2000, 0, 100_000)).told


@pytest.mark.parametrize(("found", "missed"), [((18, 4, 4), (1982, 0, 360)), ((20, 1, 10), (1980, 1, 360)), ((60, 9, 10), (1940, 1, 340))])
def test_about_so_many_labels_tell_four_times_in_five(found: tuple, missed: tuple) -> None:
    one, other = share(*found), share(*missed)
    needed = labels_to_tell(one, other, ACCEPTED, SETTINGS)
    assert needed is not None
    rng = np.random.default_rng(3)
    told = []
    for truth in rng.beta(other.right + 0.5, other.n - other.right + 0.5, 400):
        of_it = needed * one.rows / (one.rows + other.rows)
        precision = (one.right + 0.5) / (one.n + 1)
        missed_then = share(other.rows, other.right + rng.binomial(round(needed - of_it), truth), other.n + needed - of_it)
        told.append(rare(share(one.rows, one.right + precision * of_it, one.n + of_it), missed_then).told)
    assert np.mean(told) == pytest.approx(0.8, abs=0.08)


def of_one_window(predicted: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> ClassRecall:
    """What random labels of all requests of a window say of the rare class."""
    time = "2025-03-01T00:00:00+00:00"
    counts = {str(name): int(count) for name, count in zip(*np.unique(predicted, return_counts=True), strict=True)}
    window = RecordedWindow(first=time, last=time, rows=len(labels), drifted=True, predicted=counts)
    every = np.ones(len(labels), bool)
    (found,) = class_recalls(
        pd.DataFrame({"predicted": predicted, "label": labels, "label_origin": "random", "group": groups}, dtype=object),
        Coverage(every, np.zeros(len(labels), int), every, every),
        WindowPlaces([window], [(1, 0)], 0, 1),
        np.ones(1, bool),
        {"rare": {"reference": ACCEPTED}},
        SETTINGS,
        judging=~every,
        critical=["rare"],
        classes=["rare"],
        gate_share=0.45,
    )
    return found


def test_all_labels_of_a_patient_count_over_their_design_effect() -> None:
    # Of 200 patients with one image of the class each all are found; of ten with 40 each hardly any.
    groups = np.concatenate([np.arange(200), np.repeat(np.arange(200, 210), 40)])
    predicted = np.where((groups < 200) | (np.arange(600) % 10 == 0), "rare", "common")
    found = of_one_window(predicted, np.full(600, "rare"), groups.astype(str))
    assert (found.labels, found.cases) == (240, 600)
    missed = np.ones(360, bool)
    worth = independent_images(missed, groups[predicted == "common"])
    assert worth < 10
    low, high = proportion_bounds([240, worth], [240, worth], 0.02)
    assert found.low == pytest.approx(240 * low[0] / (240 * low[0] + 360 * high[1]), abs=0.005)
    assert found.high < 0.75, "a label a patient would have it that 9 of 10 are found"
    alone = of_one_window(predicted, np.full(600, "rare"), np.full(600, None))
    assert alone.low < found.low + 0.2
    assert alone.high < found.high


def test_bounds_hold_where_25_patients_have_40_images_each_and_a_lost_class_is_shown_more_often() -> None:
    groups, rng = np.repeat(np.arange(25), 40), np.random.default_rng(5)

    def alike(mean: float) -> np.ndarray:
        """A probability for each image, correlated by .2 within patients."""
        return rng.beta(4 * mean, 4 * (1 - mean), 25)[groups]

    wrong, fallen, one_each = [], {0.9: [], 0.3: []}, []
    for recall in (0.9, 0.3, 0.3) * 12:
        of_it = rng.random(1000) < alike(0.2)
        named = rng.random(1000) < np.where(of_it, alike(recall), alike(0.03))
        predicted, labels = np.where(named, "rare", "common"), np.where(of_it, "rare", "common")
        found = of_one_window(predicted, labels, groups.astype(str))
        wrong.append(not found.low <= recall <= found.high)
        fallen[recall].append(found.fallen)
        if recall < 0.9:
            firsts = np.arange(0, 1000, 40)
            one_each.append(of_one_window(predicted[firsts], labels[firsts], groups[firsts].astype(str)).fallen)
    assert np.mean(wrong) <= 0.05
    assert not any(fallen[0.9])
    assert np.mean(fallen[0.3]) > 0.9 > np.mean(one_each) + 0.1


def test_the_labels_of_a_drift_are_told_apart_by_how_they_were_drawn() -> None:
    count = 400
    predicted = np.where(np.arange(count) % 40 == 0, "rare", "common")
    rows = pd.DataFrame({"predicted": predicted, "label": None, "label_origin": None, "group": None}, dtype=object)
    rows.loc[rows.index[:100], ["label", "label_origin"]] = ["common", "random"]
    rows.loc[0, "label"] = "rare"
    rows.loc[7, "label"] = "rare"
    rows.loc[[120, 160, 200], ["label", "label_origin"]] = ["rare", "by_class"]
    # Chosen labels, those kept for the gate and those of other windows have no say.
    rows.loc[240, ["label", "label_origin"]] = ["common", "ranked"]
    rows.loc[280, ["label", "label_origin"]] = ["common", "by_class"]
    judging = np.arange(count) == 280
    windows = [
        RecordedWindow(
            first="2025-03-01T00:00:00+00:00",
            last="2025-03-01T01:00:00+00:00",
            rows=200,
            drifted=True,
            predicted={"rare": 5, "common": 195},
        )
    ] * 2
    places = WindowPlaces(windows, [(1, 0), (1, 1)], 0, 2)
    at = np.arange(count) // 200
    coverage = Coverage(np.ones(count, bool), at, np.ones(count, bool), np.ones(count, bool))
    accepted = {"rare": {"reference": ACCEPTED}, "common": {"reference": wilson(1200, 1300)}}
    asked = {"judging": judging, "critical": ["rare"], "classes": ["common", "rare"], "gate_share": 0.45}
    found, common = class_recalls(rows, coverage, places, np.ones(2, bool), accepted, SETTINGS, **asked)
    assert (found.name, found.critical, found.requests, found.labels, found.cases) == ("rare", True, 10, 6, 2)
    # Of 100 random labels three are named rare, of which one is; with those by class four of six. One in 97 others is missed.
    low, high = proportion_bounds([4, 1], [6, 97], 0.02)
    assert found.low == pytest.approx(10 * low[0] / (10 * low[0] + 390 * high[1]))
    assert found.high == pytest.approx(10 * high[0] / (10 * high[0] + 390 * low[1]))
    assert found.accepted == pytest.approx(0.9)
    assert (common.name, common.critical, common.accepted) == ("common", False, pytest.approx(1200 / 1300))
    assert found.labels_to_tell is None or found.labels_to_tell > 100 / 0.55
    assert class_recalls(rows, coverage, places, np.zeros(2, bool), accepted, SETTINGS, **asked) == []
