"""Spans of time as people write them: 90m, 6h, 30d."""

import re
from datetime import timedelta

from driftloop.errors import InputError

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str, *, option: str, least: timedelta) -> timedelta:
    """The span of time that `text` names: a whole number and m, h or d.

    Raises:
        InputError: it names none, or one shorter than `least`; the line begins with `option`.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    if found is None:
        raise InputError(f"{option}: {text!r} is not a span of time; write it like 90m, 6h or 30d")
    span = timedelta(**{UNITS[found[2]]: int(found[1])})
    if span < least:
        raise InputError(f"{option}: {text} is too short; give at least {say_duration(least)}")
    return span


def say_duration(span: timedelta) -> str:
    """A span in at most two units: 2 d 3 h, 6 h, 4 min, 12 s."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
    return " ".join(parts[:2]) if days == 0 or hours else parts[0]
