"""What a watch covers: from the end of the last committed record to its own end."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from driftloop.errors import InputError
from driftloop.watch_record import WatchRecord


@dataclass(frozen=True)
class Span:
    """Rows with `since` < time <= `until` are this watch's; `since` is None for the first watch of a store."""

    sequence: int
    since: datetime | None
    until: datetime


def next_span(records: list[WatchRecord], until: str, *, settle_seconds: float) -> Span:
    """The span after the last of `records`.

    Args:
        records: oldest first.
        until: ISO 8601, taken as UTC where it names no zone; empty means `settle_seconds` before now. An end before the last
            record's is moved to it: the window is then empty, because an earlier watch has covered it.
        settle_seconds: how long rows may take from their request to the log.

    Raises:
        InputError: `until` is no time.
    """
    end = parse_time(until) if until.strip() else datetime.now(UTC) - timedelta(seconds=settle_seconds)
    if not records:
        return Span(1, None, end)
    since = parse_time(records[-1].until)
    return Span(records[-1].sequence + 1, since, max(end, since))


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, in UTC; one without a zone is taken as UTC.

    Raises:
        InputError: it cannot be read.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"until: {text!r} is not a time; write it like 2025-03-31T12:00:00+00:00, or leave it empty for now") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
