"""2 of 3 windows, at a level that keeps to the budget."""

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from components.drift_detection.windows import (
    CutWindow,
    drift_is_confirmed,
    effective_alpha,
    expected_in_90_days,
    level_of,
    permutations_for,
)
from driftloop.contracts import POOLED_WINDOWS
from driftloop.drifts import windows_of_newest_drift, windows_of_open_drift, windows_that_confirm
from driftloop.errors import SettingError
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedWindow, WatchRecord


@pytest.mark.parametrize(("windows", "alpha", "permutations"), [(90, 0.05, 999), (2160, 0.015215, 2999), (10, 0.05, 999)])
def test_daily_and_hourly_watches_have_the_published_levels(windows: int, alpha: float, permutations: int) -> None:
    level = effective_alpha(0.05, budget=1, windows=windows)
    assert level == pytest.approx(alpha, abs=1e-6)
    assert permutations_for(level, at_least=999) == permutations


def test_permutations_are_never_fewer_than_forty_over_alpha_nor_than_asked_for() -> None:
    for alpha in np.geomspace(1e-4, 0.5, 40):
        for least in (99, 999, 1000, 5000):
            permutations = permutations_for(alpha, at_least=least)
            assert permutations >= max(least, 40 / alpha) > permutations - 1000
            assert (permutations + 1) % 1000 == 0


def test_a_busy_log_lowers_the_level_by_its_own_count_of_windows() -> None:
    settings = DriftSettings()
    assert level_of(0.05, settings, windows=10).alpha == 0.05
    # Half of the budget is for windows taken together: 0.0152 / sqrt(2).
    assert level_of(0.05, settings, windows=2160).alpha == pytest.approx(0.0108, abs=1e-4)
    assert level_of(0.001, settings, windows=10).alpha == 0.001


@pytest.mark.parametrize(("windows", "looks", "share"), [(100, 80, 1.0), (2000, 300, 0.5), (0.1, 0, 0.02)])
def test_a_level_says_what_it_was_made_from(windows: float, looks: float, share: float) -> None:
    """Half of the budget b, the share of three false alarms, makes alpha = sqrt(b / (2 W)), and the other b / (k L) for each of k pools."""
    settings = DriftSettings(false_alarms_per_90_days=3, windows_per_90_days=0.5)
    level = level_of(0.2, settings, windows=windows, looks=looks, share=share)
    half, counted = 3 * share / 2, max(windows, 0.5)
    assert (level.asked, level.windows_per_90_days, level.budget) == (0.2, counted, 3 * share)
    assert level.alpha == pytest.approx(min(0.2, (half / (2 * counted)) ** 0.5))
    assert level.pooled_alpha == pytest.approx(min(level.alpha, half / (len(POOLED_WINDOWS) * max(looks, 0.5))))
    assert level.permutations == permutations_for(level.alpha, at_least=999)
    assert level.pooled_permutations == permutations_for(level.pooled_alpha, at_least=999)


@pytest.mark.parametrize("alpha", [0, 9e-5, 0.21, 1, 1.5, float("nan")])
def test_a_level_outside_the_range_of_the_parameter_is_refused(alpha: float) -> None:
    with pytest.raises(SettingError, match="drift_alpha"):
        level_of(alpha, DriftSettings(), windows=1)


START = datetime(2025, 1, 1, tzinfo=UTC)


def record_of(number: int, hours: list[float]) -> WatchRecord:
    """A record with a window of an hour that ends at each of these, counted from the start."""
    windows = [
        RecordedWindow(
            first=(START + timedelta(hours=hour - 1)).isoformat(), last=(START + timedelta(hours=hour)).isoformat(), rows=9, drifted=False
        )
        for hour in hours
    ]
    until = (START + timedelta(hours=hours[-1])).isoformat()
    return WatchRecord(
        sequence=number,
        run_id="r",
        since="",
        until=until,
        champion_version="1",
        rows=9,
        windows=windows,
        confirmed=False,
        verdict="stable",
        reason="",
    )


def expected(hours: list[float], fresh: int = 0, until: float | None = None) -> float:
    """What is expected after windows that end at these hours, the last `fresh` of them of this watch."""
    past = hours[: len(hours) - fresh]
    times = [START + timedelta(hours=hour - part) for hour in hours[len(past) :] for part in (1, 0)]
    rows = pd.DataFrame({"time": pd.to_datetime(times)})
    cut = [CutWindow(np.array([2 * number, 2 * number + 1]), np.array([2 * number]), np.array([0, -1])) for number in range(fresh)]
    end = (START + timedelta(hours=hours[-1] if until is None else until)).isoformat()
    return expected_in_90_days([record_of(1, past)] if past else [], rows, cut, end).windows


def test_the_rate_of_the_first_day_is_that_of_ninety() -> None:
    assert expected([1.0], fresh=1) == 90 * 24
    assert expected([float(hour) for hour in range(1, 25)]) == 90 * 24
    assert expected([float(hour) for hour in range(1, 25)], fresh=3) == 90 * 24
    assert expected([24.0], fresh=1, until=24) == 90 * 24
    assert expected([1.0], fresh=1, until=24) == 90


def test_windows_of_a_few_minutes_do_not_make_a_rate_of_thousands_a_day() -> None:
    rows = pd.DataFrame({"time": pd.to_datetime([START, START + timedelta(minutes=1)])})
    cut = [CutWindow(np.array([0, 1]), np.array([0]), np.array([0, -1]))]
    assert expected_in_90_days([], rows, cut, (START + timedelta(minutes=1)).isoformat()).windows == 90 * 24


def test_a_window_is_as_old_as_its_last_request() -> None:
    times = [START - timedelta(days=days) for days in (100, 95, 94, 1)]
    rows = pd.DataFrame({"time": pd.to_datetime(times)})
    cut = [CutWindow(np.arange(4), np.arange(4), np.arange(4))]
    assert expected_in_90_days([], rows, cut, START.isoformat()).windows == 30


def test_no_windows_are_no_rate_and_those_of_long_ago_are_forgotten() -> None:
    assert expected_in_90_days([], pd.DataFrame({"time": []}), [], START.isoformat()).windows == 0
    assert expected([1.0, 2.0], until=24 * 90 + 3) == 0
    assert expected([1.0, 24.0 * 90], until=24 * 90 + 1) == 30


def test_traffic_that_grows_counts_by_its_last_days() -> None:
    daily = [24.0 * day for day in range(1, 61)]
    hourly = [24.0 * 60 + hour for hour in range(1, 24 * 3)]
    assert expected(daily) == pytest.approx(90, rel=0.02)
    assert expected([*daily, *hourly]) == pytest.approx(90 * 24, rel=0.02)


def test_confirmed_means_two_of_three_ending_at_a_fresh_window() -> None:
    for n, m in product(range(4), range(1, 5)):
        for flags in product([False, True], repeat=n + m):
            expected = any(sum(flags[max(0, end - 2) : end + 1]) >= 2 for end in range(n, n + m))
            assert drift_is_confirmed(flags[:n], flags[n:]) == expected, flags


@pytest.mark.parametrize(("past", "expected"), [([], False), ([1], False), ([1, 1], True), ([1, 1, 0], True), ([1, 1, 0, 0], False)])
def test_without_fresh_windows_the_latest_three_still_speak(past: list[int], expected: bool) -> None:
    assert drift_is_confirmed([bool(flag) for flag in past], []) is expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([1, 1], [1, 1]), ([1, 0, 1], [1, 0, 1]), ([1, 0, 0, 1], [0, 0, 0, 0]), ([0, 1, 1, 0, 1], [0, 1, 1, 0, 1]), ([], [])],
)
def test_the_windows_that_confirm_each_other(flags: list[int], expected: list[int]) -> None:
    assert windows_that_confirm([bool(flag) for flag in flags]) == [bool(flag) for flag in expected]


@pytest.mark.parametrize("alpha", [0.05, 0.0152])
def test_false_confirmed_alarms_of_a_long_clean_history_keep_to_the_formula(alpha: float) -> None:
    windows = 200_000
    drifted = np.random.default_rng(0).random(windows) < alpha
    alarms = int(np.sum(drifted[2:] & (drifted[1:-1] | drifted[:-2])))
    formula = 2 * alpha**2 * windows
    # Alarms come in small clusters, so their number varies a little more than a Poisson count.
    assert alarms <= stats.poisson.ppf(0.999, formula)
    assert alarms >= 0.85 * formula


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([1, 1, 0, 1], [1, 1, 0, 1]),
        # A false alarm of long ago does not belong to the drift of now, nor do single windows between.
        ([1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]),
        ([1, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]),
        # Until there is a newer one it is the newest.
        ([1, 0, 1, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0, 0]),
        ([0, 1, 0], [0, 0, 0]),
        ([], []),
    ],
)
def test_the_newest_confirmed_drift_ends_at_a_gap_that_would_end_a_confirmation(flags: list[int], expected: list[int]) -> None:
    daily = [START + timedelta(days=day) for day in range(len(flags))]
    assert windows_of_newest_drift([bool(flag) for flag in flags], daily) == [bool(flag) for flag in expected]


@pytest.mark.parametrize(
    ("hours", "expected"), [(0.1, [1, 1, 0, 0, 0, 0, 1, 1]), (11, [1, 1, 0, 0, 0, 0, 1, 1]), (12, [0, 0, 0, 0, 0, 0, 1, 1])]
)
def test_a_weak_drift_goes_on_where_windows_are_many(hours: float, expected: list[int]) -> None:
    ends = [START + timedelta(hours=hours * number) for number in range(8)]
    flags = [True, True, False, False, False, False, True, True]
    assert windows_of_newest_drift(flags, ends) == [bool(flag) for flag in expected]


def test_windows_that_could_confirm_each_other_are_one_drift_however_far_apart() -> None:
    ends = [START + timedelta(days=10 * number) for number in range(6)]
    flags = [True, True, False, True, False, True]
    assert windows_of_newest_drift(flags, ends) == flags


def test_windows_of_requests_that_came_late_are_of_the_drift_in_which_they_came() -> None:
    flags, hours = [True] * 4 + [False] * 3 + [True] * 2, [0, 1, -240, -239, 3, 4, 5, 6, 7]
    ends = [START + timedelta(hours=hour) for hour in hours]
    assert windows_of_newest_drift(flags, ends) == flags
    assert windows_of_open_drift(flags[:7], ends[:7]) == flags[:7]
    # They do not bring back a drift that was over before they came.
    quiet = [START + timedelta(days=day) for day in (-12.1, -12, *range(-11, -2), -10, 0, 0.1)]
    assert windows_of_newest_drift([True] * 2 + [False] * 9 + [True] * 3, quiet) == [False] * 11 + [True] * 3


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([1, 1, 0], [1, 1, 0]),
        ([1, 1, 0, 0], [1, 1, 0, 0]),  # a window of the next hours would be within the gap
        ([1, 1, 0, 0, 0], [0, 0, 0, 0, 0]),
        ([1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]),  # a next one may confirm the last
        ([1, 0, 0], [0, 0, 0]),
        ([], []),
    ],
)
def test_a_drift_is_open_until_the_next_windows_could_not_go_on_with_it(flags: list[int], expected: list[int]) -> None:
    daily = [START + timedelta(days=day) for day in range(len(flags))]
    assert windows_of_open_drift([bool(flag) for flag in flags], daily) == [bool(flag) for flag in expected]


@pytest.mark.parametrize("a_day", [1, 3, 24])
@pytest.mark.parametrize("power", [0.4, 0.8])
def test_whatever_the_next_window_confirms_was_open_before_it(a_day: int, power: float) -> None:
    flags = (np.random.default_rng(a_day).random(150) < power).tolist()
    ends = [START + timedelta(days=number / a_day) for number in range(150)]
    for count in range(1, 150):
        if drift_is_confirmed(flags[:count], [flags[count]]):
            newest = windows_of_newest_drift(flags[: count + 1], ends[: count + 1])[:count]
            still_open = windows_of_open_drift(flags[:count], ends[:count])
            assert not [at for at in range(count) if newest[at] and not still_open[at]]
