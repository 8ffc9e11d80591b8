"""The estimate without labels, by window and by watch, beside one worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.drift_detection import window_test
from components.drift_detection.reference import AcceptedTraffic, Sample, prepare_regimes, read_champion
from components.drift_detection.unlabelled import estimate_without_labels, thresholded_confidence, with_expectations
from driftloop.evaluation.intervals import wilson
from driftloop.watch_record import RecordedWindow
from tests.factories.drift_traffic import draw_regime, write_champion_with_references


def sample(confidences: list[float]) -> Sample:
    """Images of two classes: the first is the surer one of every other image."""
    sure = np.array(confidences, np.float32)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    probabilities[::2] = probabilities[::2, ::-1]
    numbers = np.arange(2.0 * len(sure), dtype=np.float32).reshape(-1, 2)
    return Sample(numbers, numbers, probabilities)


#: Of the clean images .8 lie at or above .6, which is how many the champion gets right; of the learned regime's .5.
CLEAN, LEARNED = [0.52, 0.55, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0], [0.5, 0.6, 0.55, 0.9]


@pytest.fixture
def accepted(tmp_path: Path) -> AcceptedTraffic:
    rng = np.random.default_rng(0)
    champion = read_champion(write_champion_with_references(tmp_path, [draw_regime("reference", 40, rng)]), rng)
    regimes = prepare_regimes(["reference", "regime-1"], [sample(CLEAN), sample(LEARNED)], rng)
    return replace(champion, regimes=regimes, clean=wilson(800, 1000))


def window(confidences: list[float], weights: tuple[float, float] = (1.0, 0.0), *, drifted: bool = False) -> window_test.TestedWindow:
    record = RecordedWindow(first="a", last="b", rows=len(confidences), drifted=drifted, groups=7)
    return window_test.TestedWindow(
        record, window_test.WindowTest({}, np.array(weights), [], len(confidences), drifted), sample(confidences)
    )


def test_the_share_above_the_threshold_of_the_clean_accuracy_is_compared_with_the_same_of_the_mixture(accepted: AcceptedTraffic) -> None:
    windows = [
        window([0.5, 0.95, 0.95, 0.5]),
        window([0.5, 0.95, 0.95, 0.5], (0.25, 0.75)),
        window([0.99] * 3, (0.0, 1.0)),
    ]
    expected = with_expectations(accepted, windows)
    assert [one.record.mixture for one in expected] == [{"reference": 1.0}, {"reference": 0.25, "regime-1": 0.75}, {"regime-1": 1.0}]
    assert [one.record.label_free_drop for one in expected] == [pytest.approx(drop) for drop in (0.3, 0.25 * 0.8 + 0.75 * 0.5 - 0.5, -0.5)]
    assert [(one.test, one.sample, one.record.groups) for one in expected] == [(one.test, one.sample, 7) for one in windows]


def test_a_watch_s_estimate_is_over_its_drifted_windows_or_of_the_newest(accepted: AcceptedTraffic) -> None:
    calm, low, lower = window([0.95] * 4), window([0.95, 0.5], drifted=True), window([0.5] * 6, (0.0, 1.0), drifted=True)
    found = estimate_without_labels(accepted, [low, calm, lower, calm])
    assert found is not None
    # Two images at .5 and six at 0.
    assert found.accuracy == pytest.approx(2 * 0.5 / 8)
    assert found.drop == pytest.approx((2 * 0.3 + 6 * 0.5) / 8)
    newest = estimate_without_labels(accepted, [window([0.5] * 4), calm])
    assert newest is not None
    assert (newest.accuracy, newest.drop) == (1.0, pytest.approx(-0.2))


def test_without_windows_or_a_clean_accuracy_there_is_no_estimate(accepted: AcceptedTraffic) -> None:
    assert estimate_without_labels(accepted, []) is None
    unknown = replace(accepted, clean=None)
    assert estimate_without_labels(unknown, [window([0.9])]) is None
    (told,) = with_expectations(unknown, [window([0.9])])
    assert (told.record.label_free_drop, told.record.mixture) == (None, {"reference": 1.0})


@pytest.mark.parametrize(("accuracy", "share"), [(0.0, 0.25), (0.5, 0.75), (1.0, 1.0)])
def test_the_threshold_leaves_as_many_of_the_reference_above_it_as_are_right(accuracy: float, share: float) -> None:
    reference = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    assert thresholded_confidence(reference, np.array([0.5, 0.7, 0.8, 0.9]), accuracy) == share


@pytest.mark.parametrize(
    ("reference", "window_of", "accuracy", "said"),
    [
        ([], [0.9], 0.5, "0 and 1, 0.5"),
        ([0.9], [], 0.5, "1 and 0, 0.5"),
        ([0.9], [0.9], 1.01, "1 and 1, 1.01"),
        ([0.9], [0.9], -0.01, "-0.01"),
    ],
)
def test_nonsense_is_refused_with_what_was_given(reference: list[float], window_of: list[float], accuracy: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"got .*{said}"):
        thresholded_confidence(np.array(reference), np.array(window_of), accuracy)


def test_the_confidence_is_that_of_the_class_that_is_named(accepted: AcceptedTraffic) -> None:
    """Where classes count alike and the first is rare, it is named at .3, which is how sure the champion is of it: of the clean images are
    then .15, .25, .4, .48, .55, .7, .8, .9, .95 and 1, of which .8 lie above .37, and of the window .3, .7 and .95."""
    alike = replace(accepted, model=accepted.model.model_copy(update={"class_shares": [0.1, 0.9]}))
    found = [estimate_without_labels(of, [window([0.7, 0.7, 0.95])]) for of in (accepted, alike)]
    assert [one.accuracy for one in found if one] == [1.0, pytest.approx(2 / 3)]
