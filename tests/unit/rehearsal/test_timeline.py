"""Which drift is played when, and the simulated days of a rehearsal."""

from datetime import UTC, datetime, timedelta

import pytest

from driftloop.errors import InputError
from driftloop.rehearsal.timeline import Calendar, first_drift, images_needed, plan_timeline


def played(drift: str, **numbers: int) -> list[str]:
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
    ],
)
def test_what_does_not_fit_together_is_refused(drift: str, numbers: dict[str, int], message: str):
    with pytest.raises(InputError, match=message):
        plan_timeline(drift, **numbers)


TODAY = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


def test_the_last_day_is_yesterday_and_the_days_follow_each_other():
    calendar = Calendar(3, TODAY)
    assert [calendar.noon(day).isoformat() for day in (1, 2, 3)] == [f"2026-03-0{day}T12:00:00+00:00" for day in (7, 8, 9)]


def test_a_clock_starts_at_noon_of_its_day_and_goes_on():
    calendar = Calendar(3, TODAY)
    clock = calendar.clock(2)
    first, second = clock(), clock()
    assert calendar.noon(2) <= first <= second < calendar.noon(2) + timedelta(hours=1)
