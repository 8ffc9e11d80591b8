"""Spans of time as people write and read them."""

from datetime import timedelta

import pytest

from driftloop.durations import parse_duration, say_duration
from driftloop.errors import InputError


@pytest.mark.parametrize(("text", "minutes"), [("90m", 90), ("6h", 360), (" 30d ", 43_200)])
def test_a_number_and_a_unit_are_a_span(text: str, minutes: int) -> None:
    assert parse_duration(text, option="--every", least=timedelta(minutes=1)) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "6", "h", "6 h", "-6h", "1.5h", "6H", "6ms", "9999999d"])
def test_anything_else_is_one_line_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"--every: .* is not a span of time; write it like 90m, 6h or 30d"):
        parse_duration(text, option="--every", least=timedelta(0))


@pytest.mark.parametrize("text", ["0s", "30s", "59s"])
def test_seconds_are_too_short_and_not_taken_for_a_typing_error(text: str) -> None:
    with pytest.raises(InputError, match=f"--every: {text} is too short; give at least 1 min"):
        parse_duration(text, option="--every", least=timedelta(minutes=1))


def test_many_seconds_are_to_be_written_in_another_unit() -> None:
    with pytest.raises(InputError, match="--every: 3600s: seconds are too fine a measure; write it like 90m"):
        parse_duration("3600s", option="--every", least=timedelta(minutes=1))


def test_one_that_is_too_short_names_the_least() -> None:
    with pytest.raises(InputError, match="--older-than: 23h is too short; give at least 1 d"):
        parse_duration("23h", option="--older-than", least=timedelta(days=1))


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=0.4), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=4, seconds=31), "4 min"),
        (timedelta(hours=6), "6 h"),
        (timedelta(hours=6, minutes=5), "6 h 5 min"),
        (timedelta(days=2, hours=3, minutes=4), "2 d 3 h"),
        (timedelta(days=2, minutes=4), "2 d"),
        (timedelta(days=30), "30 d"),
    ],
)
def test_a_span_is_said_in_two_units_at_most(span: timedelta, said: str) -> None:
    assert say_duration(span) == said
