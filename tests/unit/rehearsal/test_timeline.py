"""Which drift is played when, and the simulated days of a rehearsal."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from driftloop.errors import InputError
from driftloop.rehearsal.timeline import Calendar, first_drift, images_needed, plan_timeline


def played(drift: str, **numbers: Any) -> list[str]:
    return [str(scenario) for scenario in plan_timeline(drift, **numbers)]


def test_one_drift_lasts_from_its_window_to_the_end():
    assert played("blur+noise:1.0", windows=5, drift_at=3) == ["none", "none", *["blur+noise:1"] * 3]


def test_without_a_number_the_drift_sets_in_at_the_middle():
    assert first_drift(plan_timeline("blur:1", windows=40)) == 20


def test_drifts_of_a_list_come_one_after_the_other_and_the_last_one_stays():
    assert played("blur:1,none,blur:1", windows=8, drift_at=2, phase=2) == ["none", "blur:1", "blur:1", "none", "none", *["blur:1"] * 3]


def test_without_a_phase_a_list_is_cut_into_equal_parts():
    assert played("blur:1,noise:1", windows=6, drift_at=3) == ["none", "none", "blur:1", "blur:1", "noise:1", "noise:1"]


def test_a_gradual_drift_grows_from_window_to_window():
    severities = [scenario.severity for scenario in plan_timeline("gradual:blur:0.8", windows=5, drift_at=2)]
    assert severities == [0, 0.1, 0.3, 0.5, 0.7]


def test_a_recurring_drift_goes_and_comes_back():
    there, gone = ["blur:1"] * 2, ["none"] * 2
    assert played("recurring:blur:1", windows=9, drift_at=2) == ["none", *there, *gone, *there, *gone]


def test_without_drift_there_is_no_first_drift():
    assert first_drift(plan_timeline("none", windows=3)) is None


def test_a_prior_shift_needs_more_images_of_one_class():
    assert images_needed(plan_timeline("blur:1", windows=4, drift_at=3), 100) == 400
    assert images_needed(plan_timeline("prior:0.2", windows=4, drift_at=3), 100) == 480


@pytest.mark.parametrize(
    ("drift", "numbers", "message"),
    [
        ("blur:1", {"windows": 0}, "at least one window"),
        ("blur:1", {"windows": 5, "drift_at": 6}, "between 1 and 5"),
        ("blurr:1", {"windows": 5}, "did you mean blur"),
        ("blur:1,noise:1", {"windows": 10, "drift_at": 5, "phase": 6}, "--phase 6: 2 drifts from window 5 on need 16 windows"),
        ("blur:1,noise:1,jpeg:1", {"windows": 4, "drift_at": 3}, "at least 3 windows from 3 on"),
        ("blur:1", {"windows": 5, "subgroup": 0.0}, "--subgroup 0: must be a share"),
    ],
)
def test_what_does_not_fit_together_is_refused(drift: str, numbers: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        plan_timeline(drift, **numbers)


TODAY = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


def test_the_last_day_is_yesterday_and_the_days_follow_each_other():
    calendar = Calendar(3, today=TODAY)
    assert [calendar.start(window).isoformat() for window in (1, 2, 3)] == [f"2026-03-0{day}T12:00:00+00:00" for day in (7, 8, 9)]


def test_windows_of_a_day_lie_in_the_middle_of_its_parts_and_the_last_before_today():
    calendar = Calendar(5, per_day=3, today=TODAY)
    assert [f"{calendar.start(window):%d %H:%M}" for window in range(1, 6)] == ["08 04:00", "08 12:00", "08 20:00", "09 04:00", "09 12:00"]


@pytest.mark.parametrize("per_day", [1, 3, 7, 24, 1000])
def test_windows_never_overlap_even_where_a_day_has_many(per_day: int):
    calendar = Calendar(50, per_day, TODAY)
    for window in range(1, 50):
        clock = calendar.clock(window)
        times = [clock() for _ in range(1000)]
        assert calendar.start(window) == times[0]
        assert all(one < next_one for one, next_one in pairwise(times))
        assert times[-1] < calendar.start(window + 1)


def test_what_is_begun_after_a_window_is_never_there_too_soon_and_no_window_later_than_need_be():
    rng = np.random.default_rng(11)
    for per_day, days in zip(rng.integers(1, 1001, 300).tolist(), rng.choice([0, 0.1, 0.5, 1, 4, 14, 1 / 3, 0.7003], 300), strict=True):
        calendar = Calendar(20_000, per_day, TODAY)
        waiting, window = calendar.windows_in(float(days)), int(rng.integers(1, 5000))
        assert calendar.start(window + waiting) - calendar.start(window) >= timedelta(days=float(days))
        if waiting > 1:
            sooner = calendar.start(window + waiting - 1) - calendar.start(window)
            assert sooner < timedelta(days=float(days)) + timedelta(microseconds=2)


def test_a_subgroup_is_a_share_of_every_drift_that_names_none():
    assert played("blur:1,none,noise:1@0.5", windows=3, drift_at=1, subgroup=0.1) == ["blur:1@0.1", "none", "noise:1@0.5"]
