"""How often a class is still recognised: bounds that hold at every look, from labels drawn with known probabilities."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.recalls import (
    KnownShare,
    class_recalls,
    judged_recall,
    labels_to_tell,
    proportion_bounds,
    recall_bounds,
)
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


@pytest.mark.parametrize("answers", [[0] * 40, [1] * 40, [0] * 200 + [1] * 3, [0] + [1] * 39, [1, 0] * 20, [1]])
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


def test_a_recall_is_what_is_found_of_all_that_is_there() -> None:
    found, missed = (np.array([0.5]), np.array([0.6])), (np.array([0.2]), np.array([0.25]))
    low, high = recall_bounds(found, missed, (1.0, 1.0))
    assert (low, high) == (pytest.approx(0.5 / 0.75), pytest.approx(0.6 / 0.8))
    assert recall_bounds(found, missed, (0.0, 0.0)) == (0.0, 1.0), "where there are no requests nothing is known"
    # 900 are found and 540 missed: .625 of what was .9; of 100 missed ones it is as it was.
    fallen, kept = (rare(share(1000, 900, 1000), share(9000, 1000 * part / 9000, 1000)) for part in (540, 100))
    assert (fallen.fallen, fallen.bounded) == (True, False)
    assert not kept.fallen
    # A fifth of a request, of those of long ago, shows a fall as well as any.
    assert rare(share(0.1, 0, 0), share(0.2, 1000, 1000)).fallen


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
    for truth in rng.beta(other.right + 0.5, other.n - other.right + 1000 / one.rows - 0.5, 400):
        of_it = needed * one.rows / (one.rows + other.rows)
        precision = (one.right + 0.5) / (one.n + 1)
        missed_then = share(other.rows, other.right + rng.binomial(round(needed - of_it), truth), other.n + needed - of_it)
        told.append(rare(share(one.rows, one.right + precision * of_it, one.n + of_it), missed_then).told)
    assert np.mean(told) == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("labels", [1, 3, 10])
def test_after_the_first_labels_already_about_so_many_tell_of_a_rare_class(labels: int) -> None:
    # Of 4,000 requests 2 % are of the class; of the others one in a hundred is named as it.
    rng, told = np.random.default_rng(labels), []
    for recall in np.repeat([0.9, 0.6, 0.2], 25):
        named = 0.02 * recall + 0.98 * 0.01
        precision, missing = 0.02 * recall / named, 0.02 * (1 - recall) / (1 - named)

        known, needed = np.zeros(4), labels
        for further in (True, False):
            among = rng.binomial(needed, named)
            known += np.array([rng.binomial(among, precision), among, rng.binomial(needed - among, missing), needed - among])
            shares = share(4000 * named, *known[:2]), share(4000 * (1 - named), *known[2:])
            needed = labels_to_tell(*shares, ACCEPTED, SETTINGS) if further else 0
            assert needed is not None
        told.append(rare(*shares).told)
    assert np.mean(told) > 0.7


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


@pytest.mark.parametrize(("found", "missed"), [((20, 1, 10), (1980, 1, 360)), ((30, 0, 0), (1970, 0, 0))])
def test_it_is_the_least_number_at_which_four_in_five_of_the_cases_are_told(found: tuple, missed: tuple) -> None:
    """Cases: twenty quantiles of the share that is missed, whose mean without labels is the share that is named, and of how labels fall."""
    one, other, levels = share(*found), share(*missed), (np.arange(20) + 0.5) / 20
    needed = labels_to_tell(one, other, ACCEPTED, SETTINGS)
    assert needed is not None

    def told(more: int) -> float:
        of_it = more * one.rows / 2000
        others, right = more - of_it, one.right + (one.right + 0.5) / (one.n + 1) * of_it
        cases = []
        for missing in stats.beta.ppf(levels, other.right + 0.5, other.n - other.right + (1000 / one.rows - 0.5 if one.rows else 0.5)):
            for fresh in stats.norm.ppf(levels, missing * others, np.sqrt(missing * (1 - missing) * others)):
                then = share(other.rows, other.right + min(max(fresh, 0), others), other.n + others)
                cases.append(rare(share(one.rows, right, one.n + of_it), then).told)
        return float(np.mean(cases))

    assert told(needed) >= 0.8 > told(needed - max(1, needed // 50) - 1)


def test_with_more_labels_old_ones_that_faded_are_a_smaller_part() -> None:
    assert KnownShare(100, 30, 40, 1.5).with_more(6, 20) == (36, 60, pytest.approx((1.5 * 40 + 20) / 60))
    assert KnownShare(100, 0, 0, 1.0).with_more(0, 0) == (0, 0, 1.0)


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


def window(rows: int, predicted: dict[str, int], *, hour: int = 0, mixture: dict[str, float] | None = None) -> RecordedWindow:
    last = f"2025-03-{1 + hour // 24:02d}T{hour % 24:02d}:00:00+00:00"
    return RecordedWindow(first=last, last=last, rows=rows, drifted=True, predicted=predicted, mixture=mixture or {})


def recalled(
    windows: list[RecordedWindow],
    rows: list[tuple[int, str, str | None, str | None, str | None]],
    classes: list[str],
    *,
    accepted: dict[str, dict[str, Proportion]] | None = None,
    critical: list[str] | None = None,
    past: int = 0,
    gate_share: float = 0.0,
) -> list[ClassRecall]:
    """What rows say, given as window (-1: none), predicted, label, origin of the label and group."""
    table = pd.DataFrame(rows, columns=["at", "predicted", "label", "label_origin", "group"]).astype(object)
    at = table.pop("at").to_numpy(dtype=np.int64)
    covered = at >= 0
    places = WindowPlaces(windows, [(1, number) for number in range(len(windows))], past, len(windows))
    return class_recalls(
        table,
        Coverage(covered, at - past, covered, covered),
        places,
        np.ones(len(windows), bool),
        accepted or {},
        SETTINGS,
        judging=np.zeros(len(table), bool),
        critical=critical or [],
        classes=classes,
        gate_share=gate_share,
    )


def test_of_many_classes_the_critical_ones_and_then_the_rarest_are_looked_at() -> None:
    names = [f"c{number:02d}" for number in range(14)]
    predicted = {name: 10 + number // 2 for number, name in enumerate(names) if number != 7}
    found = recalled([window(400, predicted), window(400, predicted)], [], names[::-1], critical=["c13", "c12"])
    assert [recall.name for recall in found] == ["c12", "c13", "c07", *names[:7]]
    assert [recall.critical for recall in found] == [True, True, *[False] * 8]
    assert [recall.requests for recall in found[:4]] == [32, 32, 0, 20], "of both windows, and none where nothing was named so"
    assert len(recalled([window(400, predicted)], [], names, critical=names[:12])) == 12


def test_windows_that_did_not_count_their_predictions_and_rows_outside_windows_take_no_part() -> None:
    windows = [window(100, {}), window(100, {"rare": 4})]
    rows = [(0, "rare", "rare", "random", None), (1, "rare", "rare", "random", None), (-1, "rare", "rare", "random", None)]
    for past in (0, 1):
        (found,) = recalled(windows, rows, ["rare"], past=past)
        assert (found.requests, found.labels, found.cases) == (4, 1, 1)
    assert recalled(windows[:1], rows[:1], ["rare"]) == []


def test_a_class_that_nothing_is_named_as_is_found_in_no_request() -> None:
    (found,) = recalled([window(100, {"common": 100})], [(0, "common", "rare", "random", None)] * 5, ["rare"])
    assert (found.requests, found.low, found.high) == (0, 0.0, 0.0)


def test_of_a_class_without_labels_nothing_is_known() -> None:
    (found,) = recalled([window(2000, {"rare": 30})], [], ["rare"], accepted={"rare": {"reference": ACCEPTED}})
    assert (found.low, found.high, found.told) == (0.0, 1.0, False)
    assert found.labels_to_tell is None, "nor how many would tell: 22 now, 4,394 after the first ten"


def test_a_window_of_a_half_life_ago_weighs_half() -> None:
    half_life = round(24 * SETTINGS.harm_half_life_days)
    windows = [window(100, {"rare": 100}), window(100, {"rare": 100}, hour=half_life)]
    rows = [(number, "rare", "rare" if number else "other", "random", f"{number}/{row}") for number in range(2) for row in range(40)]
    (found,) = recalled(windows, rows, ["rare"])
    assert (found.low, found.high) == (pytest.approx(1.0), 1.0), "all requests are named so: nothing can be missed"
    rows += [(number, "common", "rare", "random", f"c{number}/{row}") for number in range(2) for row in range(40)]
    windows = [window(200, {"rare": 100}), window(400, {"rare": 100}, hour=half_life)]
    (found,) = recalled(windows, rows, ["rare"])
    # Kish: 72 of the 80 labels of those named so, of which two thirds are right; a part of the error for each stretch of faded ones.
    low, high = proportion_bounds(48, 72, 0.02 / (80 / 72))
    weights = np.array([50.0, 300.0])
    effective = weights.sum() ** 2 / (weights**2 / 40).sum()
    least, most = proportion_bounds(effective, effective, 0.02 / (80 / effective))
    assert found.low == pytest.approx(150 * low / (150 * low + 350 * most))
    assert found.high == pytest.approx(150 * high / (150 * high + 350 * least))


def test_what_was_accepted_is_that_of_the_regimes_that_the_windows_are_nearest_to() -> None:
    accepted = {"rare": {"reference": wilson(90, 100), "regime-1": wilson(60, 100)}, "other": {"regime-1": wilson(6, 10)}}
    mixed = {"reference": 0.25, "regime-1": 0.75}
    rows = [(0, "common", "common", "random", None)] * 30
    rare_one, other = recalled([window(100, {"rare": 10, "other": 20}, mixture=mixed)], rows, ["rare", "other"], accepted=accepted)
    assert rare_one.accepted == pytest.approx(0.675)
    assert other.accepted is None, "the clean one is not known"
    (unlabelled,) = recalled([window(100, {"rare": 10}, mixture=mixed)], [], ["rare"], accepted=accepted)
    assert unlabelled.accepted == 0.9, "of which windows labels are is not known yet"


def test_the_recall_that_a_few_patients_tell_stays_what_the_gate_measured() -> None:
    measured = Proportion(value=0.638, low=0.271, high=0.893, n=196, effective_n=3.74, groups=6)
    (found,) = recalled([window(2000, {"rare": 30})], [], ["rare"], accepted={"rare": {"reference": measured}})
    assert found.accepted == pytest.approx(0.638)


def test_the_accepted_recall_of_a_rare_class_in_groups_is_the_one_of_the_test_split() -> None:
    measured = Proportion(value=16 / 34, low=0.277, high=0.674, n=34, effective_n=20.4, groups=23)
    (found,) = recalled([window(2000, {"rare": 30})], [], ["rare"], accepted={"rare": {"reference": measured}})
    assert found.accepted == pytest.approx(16 / 34), "not 9 of 20, which is two points less"


def test_about_how_many_labels_would_tell_counts_those_there_and_those_kept_for_the_gate() -> None:
    rows = [(0, "rare", "rare", "random", None)] * 4 + [(0, "common", "common", "random", None)] * 360
    given = {"accepted": {"rare": {"reference": ACCEPTED}}, "critical": ["rare"]}
    (alone,), (beside) = (recalled([window(2000, {"rare": 18})], rows, ["rare"], gate_share=part, **given) for part in (0.0, 0.45))
    more = labels_to_tell(share(18, 4, 4), share(1982, 0, 360), wilson(135, 150, confidence=0.92), SETTINGS)
    assert more is not None
    assert not alone.told
    assert alone.labels_to_tell == 364 + more
    assert beside[0].labels_to_tell == round((364 + more) / 0.55)
    told = [(0, "common", "rare", "random", None)] * 40
    (fallen,) = recalled([window(2000, {"rare": 18})], rows + told, ["rare"], **given)
    assert fallen.fallen
    assert fallen.labels_to_tell is None, "nothing is open"


def test_no_number_of_labels_is_named_where_none_would_tell() -> None:
    assert labels_to_tell(share(0, 0, 0), share(0, 0, 0), ACCEPTED, SETTINGS) is None
    # Just the loss that matters: neither can be shown.
    at_the_bound = ACCEPTED.value - SETTINGS.class_drop
    found, missed = share(1000, 500 * at_the_bound, 500), share(1000, 500 * (1 - at_the_bound), 500)
    assert labels_to_tell(found, missed, wilson(9, 10), SETTINGS) is None


def test_a_recall_that_no_number_of_labels_tells_does_not_ask_for_more() -> None:
    rows = [(0, "rare", "rare", "random", None)] * 20 + [(0, "common", "common", "random", None)] * 194
    rows += [(0, "common", "rare", "random", None)] * 6
    of_ten = Proportion(value=0.9, low=0.6, high=0.98, n=10, effective_n=10)
    for accepted, in_vain in ((of_ten, True), (ACCEPTED, False)):
        (found,) = recalled([window(2000, {"rare": 200})], rows, ["rare"], accepted={"rare": {"reference": accepted}}, critical=["rare"])
        assert not found.told
        assert found.in_vain is in_vain
        assert ("no number of random labels is likely to tell" in found.sentence()) is in_vain
    (unlabelled,) = recalled([window(2000, {"rare": 200})], [], ["rare"], accepted={"rare": {"reference": of_ten}}, critical=["rare"])
    assert not unlabelled.in_vain
    assert "more random labels are needed" in unlabelled.sentence()
