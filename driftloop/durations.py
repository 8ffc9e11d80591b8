"""Durations as people write and read them: 90m, 6h, 30d; 2 d 3 h."""

import re
from datetime import timedelta

from driftloop.errors import InputError

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str, *, option: str, least: timedelta) -> timedelta:
    """The duration that `text` names: a whole number and m, h or d; seconds are understood, and refused.

    Raises:
        InputError: it names none, or one shorter than `least`; the line begins with `option`.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    if match is None:
        raise InputError(f"{option}: {text!r} is not a span of time; write it like 90m, 6h or 30d")
    duration = timedelta(**{UNITS[match[2]]: int(match[1])})
    if duration < least:
        raise InputError(f"{option}: {text} is too short; give at least {say_duration(least)}")
    if match[2] == "s":
        raise InputError(f"{option}: {text}: seconds are too fine a measure; write it like 90m, 6h or 30d")
    return duration


def say_duration(duration: timedelta) -> str:
    """A duration in at most two units: 2 d 3 h, 6 h, 4 min, 12 s."""
    seconds = int(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
    return " ".join(parts[:2]) if days == 0 or hours else parts[0]
