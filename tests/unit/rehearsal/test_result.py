"""What the figures of a history mean."""

from typing import Any

import pytest

from driftloop.rehearsal.comparison import build_comparison, comparison_table
from driftloop.rehearsal.report import describe_events, plot_history
from driftloop.rehearsal.result import AcceptedDrifts, Comparison, PolicyResult, Rehearsal, WindowRecord, conclude


def record(number: int, **changes: Any) -> WindowRecord:
    same = {
        "day": "2026-01-01",
        "until": "2026-01-01T12:00:01+00:00",
        "drift": "none",
        "accepted": True,
        "version": "1",
        "requests": 100,
        "correct": 90,
        "accuracy": 0.9,
    }
    calm = {"drifted": False, "p_value": 0.5, "confirmed": False, "verdict": "stable", "reason": "", "decision": None, "promoted": None}
    usual: dict[str, Any] = {"window": number, "labels": 0, "events": [], **same, **calm}
    return WindowRecord(**usual | changes)


def history(*windows: dict[str, Any]) -> Rehearsal:
    world = {"windows_per_day": 3, "labels_after": 2.0, "ranked_labels": True, "labels_per_window": 0, "subgroup": 0.1}
    about: dict[str, Any] = {"seed": 1, "source": "digits", "drift": "blur:1", "rollbacks": 0, "notes": [], "seconds": 1.0, **world}
    return conclude([record(number, **window) for number, window in enumerate(windows, 1)], **about)


NEW: dict[str, Any] = {"drift": "blur:1", "accepted": False, "drifted": True, "correct": 70}


def test_a_drift_that_was_found_learned_and_accepted():
    result = history(
        {},
        {"correct": 94},
        NEW,
        NEW | {"confirmed": True, "verdict": "needs_labels"},
        NEW | {"confirmed": True, "verdict": "retrain", "decision": "promote", "promoted": "2", "labels": 200, "correct": 76},
        {"drift": "blur:1", "version": "2", "correct": 88},
    )
    assert (result.first_drift, result.detection_delay) == (3, 2)
    assert (result.retrainings, result.promotions, result.false_alarms, result.labels) == (1, 1, 0, 200)
    assert (result.accuracy_before, result.accuracy_in_drift, result.accuracy_after) == (0.92, 0.72, 0.88)
    assert (result.accuracy, result.accuracy_since_drift) == (0.8133, 0.76)


def test_alarms_count_only_where_the_champion_was_accepted():
    result = history({"drifted": True}, {}, {"drifted": True, "confirmed": True, "verdict": "needs_labels"}, NEW | {"confirmed": True})
    assert (result.false_alarms, result.single_alarms) == (1, 2)


def test_a_drift_that_is_gone_still_echoes_in_the_confirmation_and_that_is_no_false_alarm():
    gone = {"confirmed": True, "verdict": "alert"}
    result = history(NEW, NEW | gone, gone)
    assert result.false_alarms == 0


def test_without_drift_and_promotion_there_is_nothing_to_say_about_them():
    result = history({}, {})
    assert (result.first_drift, result.detection_delay, result.accuracy_in_drift, result.accuracy_after) == (None, None, None, None)
    assert result.accuracy_before == 0.9


def test_a_champion_is_accepted_for_what_its_last_four_promotions_learned():
    accepted = AcceptedDrifts()
    assert "none" in accepted
    assert "blur:1" not in accepted
    for drift in ("blur:1", "noise:1", "jpeg:1", "contrast:1"):
        accepted.promote([drift, drift])
    assert "blur:1" in accepted
    accepted.promote(["rotation:1", "rotation:1"])
    assert "blur:1" not in accepted
    assert "noise:1" in accepted


def test_every_step_of_a_gradual_drift_is_learned_and_a_kind_seen_once_is_not():
    accepted = AcceptedDrifts()
    accepted.promote(["blur:0.2", "blur:0.4", "noise:1"])
    assert "blur:0.2" in accepted
    assert "blur:0.6" not in accepted
    assert "noise:1" not in accepted


def test_events_tell_what_changed_and_a_growing_drift_sets_in_once():
    first, second, last = record(1), record(2, drift="blur:0.2", drifted=True, accepted=False), record(3, drift="blur:0.4", accepted=False)
    assert describe_events(second, first, handed_in=0, job=None, failure=None) == ["blur:0.2 sets in"]
    assert describe_events(last, second, handed_in=20, job=None, failure="too few") == ["20 labels arrive", "retraining failed: too few"]
    assert describe_events(record(4), last, handed_in=0, job=None, failure=None) == ["the drift is gone"]


def test_the_page_of_a_comparison_names_the_best_and_what_each_policy_sets():
    drifted = [{}, {}, NEW | {"confirmed": True, "verdict": "retrain", "decision": "promote", "promoted": "2"}]
    ours, never = history(*drifted, NEW | {"version": "2", "correct": 88}), history({}, {}, NEW, NEW)
    policies = [
        PolicyResult(name="ours", changes={}, rehearsal=ours),
        PolicyResult(name="never", changes={"drift_config": {"suggest_only": True}}, rehearsal=never),
    ]
    page = build_comparison(Comparison(policies=policies))
    assert "The highest accuracy had ours: 0.790 with 1 training; never 0.700 with 0 trainings." in page.chapter.lead
    assert "other seeds may order them otherwise" in page.chapter.lead
    text = page.html()
    assert "drift_config.suggest_only = True" in text
    assert "nothing: the defaults" in text
    assert "hand it in after 2 days" in text
    rows = comparison_table(Comparison(policies=policies))
    assert [(row["policy"], row["trainings"], row["since the drift"]) for row in rows] == [("ours", 1, 0.79), ("never", 0, 0.7)]


def test_a_rehearsal_without_a_drift_is_compared_by_all_of_its_windows():
    calm = PolicyResult(name="calm", changes={}, rehearsal=history({}, {"correct": 94}))
    assert calm.accuracy == 0.92
    assert "over all windows" in build_comparison(Comparison(policies=[calm, calm])).html()


def test_the_picture_of_three_windows_a_day_counts_days():
    windows = history(*[{}] * 60).windows
    figure = plot_history(windows, 3)
    (axis,) = figure.axes
    assert axis.get_xlabel() == "day (3 windows each)"
    assert axis.get_xlim()[1] == pytest.approx(20.5, abs=0.1)
    assert figure.get_size_inches()[0] == 7.5
