"""Every measure against scikit-learn's, its interval against what it should cover, and thresholds that know nothing of the test split."""

import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics

from driftloop.evaluation import measures
from driftloop.evaluation.calibration import expected_calibration_error, reliability_bins
from driftloop.evaluation.measures import LEAST_GROUPS, MEASURES, Measure, Measured, measure_classifier, thresholds_of


def answers(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=np.arange(classes, 0, -1) / (classes * (classes + 1) / 2))
    raw = rng.exponential(size=(n, classes)) + 0.8 * np.eye(classes)[labels]
    return raw / raw.sum(1, keepdims=True), labels


def measure(n: int, classes: int, *, seed: int = 0, per_group: int = 1, intervals: bool = True) -> Measured:
    probabilities, labels = answers(n, classes, seed)
    names = [f"class {index}" for index in range(classes)]
    thresholds = thresholds_of(*answers(2000, classes, 99))
    return measure_classifier(probabilities, labels, names, thresholds=thresholds, groups=np.arange(n) // per_group, intervals=intervals)


@pytest.mark.parametrize("classes", [2, 4])
def test_each_measure_is_scikit_learn_s(classes: int) -> None:
    probabilities, labels = answers(300, classes)
    found = measure(300, classes, intervals=False)
    overall = {name: one.value for name, one in found.overall.items()}
    predicted, truth = probabilities.argmax(1), np.eye(classes)[labels]
    positive = list(range(1, 2) if classes == 2 else range(classes))
    assert list(overall) == list(MEASURES)
    assert overall["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert overall["f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert overall["auroc"] == pytest.approx(metrics.roc_auc_score(truth[:, positive], probabilities[:, positive], average="macro"))
    assert overall["auprc"] == pytest.approx(
        np.mean([metrics.average_precision_score(truth[:, index], probabilities[:, index]) for index in positive])
    )
    assert overall["brier"] == pytest.approx(np.square(probabilities - truth).sum(1).mean() / 2)
    for index in range(classes):
        own = {name: one.value for name, one in found.classes[f"class {index}"].items()}
        assert own["f1"] == pytest.approx(metrics.f1_score(labels == index, predicted == index))
        named = probabilities[:, index] >= thresholds_of(*answers(2000, classes, 99))["95"][index]
        assert own["sensitivity_at_95"] == pytest.approx(metrics.recall_score(labels == index, named))
        assert own["specificity_at_95"] == pytest.approx(metrics.recall_score(labels == index, named, pos_label=False))
    assert json.loads(json.dumps(found.described()))["groups"] == 300


def test_a_threshold_keeps_the_share_that_it_promises_and_no_lower_one_does() -> None:
    probabilities, labels = answers(203, 3)
    for name, share in (("90", 0.9), ("95", 0.95)):
        for index, threshold in enumerate(thresholds_of(probabilities, labels)[name]):
            others = probabilities[labels != index, index]
            assert (others < threshold).mean() >= share > (others < np.nextafter(threshold, 0)).mean()


def test_an_interval_is_as_wide_as_the_formula_of_hanley_and_mcneil() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 60)
    scores = norm.cdf(labels + rng.normal(size=120))
    area = metrics.roc_auc_score(labels, scores)
    spread = area * (1 - area) + 59 * (area / (2 - area) - area**2) + 59 * (2 * area**2 / (1 + area) - area**2)
    found = intervals_of(scores, labels, np.arange(120))
    assert found.low is not None
    assert found.high is not None
    assert found.low < area < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(spread) / 60, rel=0.25)


def test_copies_of_a_patient_s_images_do_not_pass_for_more_patients() -> None:
    """Drawn one by one, ten copies would make the interval a third as wide."""
    probabilities, labels = answers(60, 2)
    once = intervals_of(probabilities[:, 1], labels, np.arange(60))
    copied = intervals_of(np.repeat(probabilities[:, 1], 10), np.repeat(labels, 10), np.repeat(np.arange(60), 10))
    assert (copied.low, copied.high) == (pytest.approx(once.low), pytest.approx(once.high))


def intervals_of(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Measure:
    """The area of a two-class model."""
    probabilities = np.stack([1 - scores, scores], 1)
    measured = measure_classifier(probabilities, labels, ["a", "b"], thresholds=thresholds_of(probabilities, labels), groups=groups)
    return measured.overall["auroc"]


def test_few_groups_and_many_classes_have_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "RESAMPLES", 5)
    assert measure(70, 2, per_group=10).overall["auroc"].low is None
    assert measure(10 * LEAST_GROUPS, 2, per_group=10).overall["auroc"].low is not None
    assert measure(500, 101).overall["f1"].low is None


def test_a_measure_that_many_draws_do_not_define_has_no_interval() -> None:
    """Of a class with two images every seventh draw has none: the mean over the classes would be of those draws alone that kept both."""
    probabilities, labels = answers(200, 3)
    names = ["a", "b", "c"]
    rare = np.where(labels == 2, 0, labels)
    rare[[3, 117]] = 2
    thresholds = thresholds_of(probabilities, labels)
    found = measure_classifier(probabilities, rare, names, thresholds=thresholds, groups=np.arange(200))
    assert found.overall["auroc"].low is found.classes["c"]["sensitivity_at_95"].low is None
    assert found.classes["a"]["auroc"].low is not None
    assert found.overall["brier"].low is not None


def test_a_hundred_classes_have_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "RESAMPLES", 5)
    assert measure(3000, 100).overall["brier"].low is not None


def test_what_a_missing_class_leaves_undefined_is_not_there() -> None:
    probabilities, _ = answers(50, 2)
    found = measure_classifier(
        probabilities, np.zeros(50, int), ["a", "b"], thresholds=thresholds_of(*answers(100, 2)), groups=np.arange(50)
    )
    assert not {"auroc", "auprc", "sensitivity_at_95"} & found.overall.keys()
    assert found.overall["balanced_accuracy"].value == (probabilities.argmax(1) == 0).mean()
    only_b = thresholds_of(probabilities, np.ones(50, int))
    assert np.isnan(only_b["95"][1])


def test_levels_of_tags_are_measured_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "RESAMPLES", 5)
    probabilities, labels = answers(200, 2)
    tags = np.array(['{"site": "A"}' if row % 4 else '{"site": "B"}' for row in range(200)])
    found = measure_classifier(
        probabilities, labels, ["a", "b"], thresholds=thresholds_of(probabilities, labels), groups=np.arange(200), tags=tags
    )
    assert list(found.tags) == ["site=A", "site=B"]
    of_b = np.arange(200) % 4 == 0
    assert found.tags["site=B"]["accuracy"].value == (probabilities.argmax(1) == labels)[of_b].mean()
    assert found.tags["site=B"]["auroc"].value == pytest.approx(metrics.roc_auc_score(labels[of_b], probabilities[of_b, 1]))


def test_the_calibration_error_equals_a_loop() -> None:
    probabilities, labels = answers(103, 3)
    ranked = sorted(range(103), key=lambda row: probabilities[row].max())
    start, error = 0, 0.0
    for size in [11, 11, 11] + [10] * 7:
        part, start = ranked[start : start + size], start + size
        confidence = np.mean([probabilities[row].max() for row in part])
        error += abs(confidence - np.mean([probabilities[row].argmax() == labels[row] for row in part])) * size / 103
    assert expected_calibration_error(probabilities, labels) == pytest.approx(error)


def test_reliability_takes_fewer_images_than_bins() -> None:
    confidence, right, count = reliability_bins(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 0]))
    assert list(confidence) == pytest.approx([0.7, 0.9])
    assert list(right) == [0, 1]
    assert list(count) == [1, 1]


def test_where_classes_count_alike_what_is_named_is_measured_and_areas_stay_what_they_are() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(400) < 0.1).astype(int)
    own = np.clip(0.1 + 0.25 * labels + rng.normal(0, 0.1, 400), 0.01, 0.99)
    probabilities, groups = np.stack([1 - own, own], axis=1), np.arange(400) // 4
    tags = np.array(['{"site": "B"}' if row % 2 else "" for row in range(400)])
    told: dict = {"classes": ["whole", "cracked"], "thresholds": thresholds_of(probabilities, labels), "groups": groups, "tags": tags}
    likeliest = measure_classifier(probabilities, labels, **told)
    alike = measure_classifier(probabilities, labels, shares=(0.9, 0.1), **told)
    named = (own / 0.1 > (1 - own) / 0.9).astype(int)
    assert alike.overall["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(labels, named))
    assert alike.overall["f1"].value == pytest.approx(metrics.f1_score(labels, named, average="macro"))
    assert alike.overall["balanced_accuracy"].value > likeliest.overall["balanced_accuracy"].value + 0.1
    assert alike.tags["site=B"]["accuracy"].value == pytest.approx(np.mean((named == labels)[tags != ""]))
    for name in ("auroc", "auprc", "brier", "calibration_error_on_test", "sensitivity_at_95"):
        assert alike.overall[name] == likeliest.overall[name]


def test_the_interval_of_the_calibration_error_is_about_its_value_though_chance_adds_to_every_draw() -> None:
    rng = np.random.default_rng(5)
    true = rng.dirichlet(np.full(3, 0.6), 750)
    labels = (true.cumsum(1) > rng.random(750)[:, None]).argmax(1)
    surer = true**3 / (true**3).sum(1, keepdims=True)
    for probabilities, spread in ((true, 0.03), (surer, 0.05)):
        found = measure_classifier(probabilities, labels, ["a", "b", "c"], thresholds={}, groups=np.arange(750))
        error = found.overall["calibration_error_on_test"]
        assert error.low is not None
        assert error.high is not None
        middle = (error.low + error.high) / 2
        assert 0 <= error.low < error.value < error.high
        assert middle == pytest.approx(error.value, abs=0.006)
        assert error.high - error.low < 2 * spread
