"""When a schedule fires: an interval, or a cron of six fields, as KFP takes them."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from driftloop.cli.duration import parse_duration, say_duration
from driftloop.errors import InputError

SHORTEST = timedelta(minutes=1)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
#: Name, smallest and largest value, and the names that stand for values from the smallest on.
FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
EXAMPLE = "'0 0 */6 * * *' is every six hours"


@dataclass(frozen=True)
class Trigger:
    """Either `every` or `cron`."""

    every: timedelta | None = None
    cron: str = ""

    @classmethod
    def parse(cls, every: str | None, cron: str | None) -> Self:
        """The trigger that `--every` or `--cron` asks for.

        Raises:
            InputError: both or neither, an interval below a minute, or no cron of six fields.
        """
        if bool(every) == bool(cron):
            raise InputError("give either --every, such as --every 6h, or --cron, such as --cron '0 0 */6 * * *'")
        if every:
            return cls(every=parse_duration(every, option="--every", least=SHORTEST))
        return cls(cron=_checked(cron or ""))

    @classmethod
    def from_api(cls, trigger: dict[str, Any]) -> Self:
        """The trigger of a recurring run as KFP gives it."""
        if "periodic_schedule" in trigger:
            return cls(every=timedelta(seconds=int(trigger["periodic_schedule"].get("interval_second", 0))))
        return cls(cron=trigger.get("cron_schedule", {}).get("cron", ""))

    def to_api(self) -> dict[str, Any]:
        """As KFP takes it."""
        if self.every is not None:
            return {"periodic_schedule": {"interval_second": str(int(self.every.total_seconds()))}}
        return {"cron_schedule": {"cron": self.cron}}

    def __str__(self) -> str:
        return f"every {say_duration(self.every)}" if self.every is not None else f"cron {self.cron}"


def _checked(cron: str) -> str:
    fields = cron.split()
    if len(fields) == 5:
        raise InputError(f"--cron {cron!r}: KFP's cron has six fields, the first one seconds; write '0 {cron}'")
    if len(fields) != len(FIELDS):
        raise InputError(f"--cron {cron!r}: not the six fields second, minute, hour, day, month, weekday; {EXAMPLE}")
    if not fields[0].isdigit():
        raise InputError(f"--cron {cron!r}: would fire more than once a minute; begin with one number of seconds, such as 0")
    for text, (name, low, high, names) in zip(fields, FIELDS, strict=True):
        if not all(_is_part(part, low, high, names) for part in text.split(",")):
            raise InputError(f"--cron {cron!r}: {text!r} is no {name} ({low}-{high}, with * , - and /); {EXAMPLE}")
    return " ".join(fields)


def _is_part(text: str, low: int, high: int, names: list[str]) -> bool:
    """Whether `text` is *, a value, or a range, with or without a step."""
    values, slash, step = text.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]*", step):
        return False
    if values in ("*", "?"):
        return True
    numbers = [_number(value, low, names) for value in values.split("-")]
    return len(numbers) <= 2 and all(number is not None and low <= number <= high for number in numbers) and numbers == sorted(numbers)  # type: ignore[type-var]


def _number(text: str, low: int, names: list[str]) -> int | None:
    if text.upper() in names:
        return low + names.index(text.upper())
    return int(text) if re.fullmatch(r"[0-9]+", text) else None
