"""Simulated days."""

from datetime import UTC, datetime, timedelta

from driftloop.rehearsal.timeline import Calendar

TODAY = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


def test_the_last_day_is_yesterday_and_the_days_follow_each_other():
    calendar = Calendar(3, TODAY)
    assert [calendar.noon(day).isoformat() for day in (1, 2, 3)] == [f"2026-03-0{day}T12:00:00+00:00" for day in (7, 8, 9)]


def test_a_clock_starts_at_noon_of_its_day_and_goes_on():
    calendar = Calendar(3, TODAY)
    clock = calendar.clock(2)
    first, second = clock(), clock()
    assert calendar.noon(2) <= first <= second < calendar.noon(2) + timedelta(hours=1)
