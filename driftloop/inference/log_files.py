"""The files of the inference log by their names, and which of them watches have covered: by writer and number, never by time.

A file lies in the hour in which it was written. One that comes late, because its writer held rows back or the store was away, therefore
lies among the newest files, whatever the times of its rows, and it has a number that no watch has covered yet. Nothing here loads pandas.
"""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from driftloop.store.interface import Store

LOGS_PREFIX = "logs/"
SUFFIX, IMAGES_SUFFIX = ".parquet", ".images.npy"
#: The time in a file's name, to the microsecond: names sort by it.
STAMP = "%Y%m%dT%H%M%S%f"
_LOG_KEY = re.compile(rf"(?P<folder>{LOGS_PREFIX}dt=[0-9-]+/hour=\d\d/)(?P<writer>[^/]+?)(?:-(?P<number>\d{{6,9}}))?\.parquet")


@dataclass(frozen=True)
class LogFile:
    """A file of log rows, by its name alone."""

    key: str
    """In the store."""
    folder: str
    """The hour in which it was written: `logs/dt=YYYY-MM-DD/hour=HH/`."""
    writer: str
    """Who wrote it."""
    number: int | None
    """Which of the writer's files it is, from 1; None for a file of driftloop 0.1.0, or of somebody else's writer."""


def hour_folder(time: datetime) -> str:
    """The folder of the files that are written in that hour: `logs/dt=YYYY-MM-DD/hour=HH/`."""
    return time.astimezone(UTC).strftime(f"{LOGS_PREFIX}dt=%Y-%m-%d/hour=%H/")


def folder_hour(folder: str) -> datetime:
    """The beginning of a folder's hour."""
    return datetime.strptime(folder, f"{LOGS_PREFIX}dt=%Y-%m-%d/hour=%H/").replace(tzinfo=UTC)


def log_files(store: Store, since: str = "") -> Iterator[LogFile]:
    """The log files in the folders from `since` on, in key order; only names are read."""
    for entry in store.list(LOGS_PREFIX, after=since):
        match = _LOG_KEY.fullmatch(entry.key)
        if match:
            number = match["number"]
            yield LogFile(entry.key, match["folder"], match["writer"], int(number) if number else None)


def file_id() -> str:
    """A unique name that sorts by the time it was drawn."""
    return f"{datetime.now(UTC):{STAMP}}-{uuid.uuid4().hex[:12]}"


class LogCoverage(BaseModel):
    """The files that watches have covered so far; those in folders before `since` are done with and not named."""

    model_config = ConfigDict(frozen=True)

    since: str = Field("", description="first folder that may still hold a file to be covered: logs/dt=YYYY-MM-DD/hour=HH/")
    files: dict[str, str] = Field({}, description="numbers covered from there on, by writer: 1-37,39")
    until: str = Field("", description="rows of files without a number (driftloop 0.1.0) are covered up to this time, ISO 8601")

    @cached_property
    def _numbers(self) -> dict[str, set[int]]:
        return {writer: _parsed(ranges) for writer, ranges in self.files.items()}

    def covers(self, file: LogFile) -> bool:
        """Whether a watch has covered the file as a whole; files without a number are covered row by row."""
        return file.number is not None and file.number in self._numbers.get(file.writer, ())

    def advanced(
        self, listed: Sequence[LogFile], left: Iterable[LogFile], *, now: datetime, until: datetime, late: timedelta
    ) -> "LogCoverage":
        """The coverage after a watch that has listed the log from `since` on.

        Args:
            listed: every file in that listing.
            left: those of them that it leaves to the next watch.
            now: the watch's clock.
            until: the end of the watch, for rows in files without a number.
            late: how long after its hour a folder may still get files: clocks differ, and uploads take time.
        """
        left = set(left)
        covered = [file for file in listed if file not in left and file.number is not None]
        # Whichever is earlier: a watch whose clock is fast must not skip folders, nor one that looks at yesterday's traffic.
        newest = min(hour_folder(now), max((file.folder for file in listed), default=self.since or hour_folder(now)))
        waited_for = hour_folder(folder_hour(newest) - late)
        since = max(self.since, min([waited_for, *(file.folder for file in left)]))
        numbers: dict[str, set[int]] = defaultdict(set)
        for file in covered:
            if file.folder >= since and file.number is not None:
                numbers[file.writer].add(file.number)
        return LogCoverage(since=since, files={writer: _ranges(numbers[writer]) for writer in sorted(numbers)}, until=until.isoformat())


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers as text: 1-37,39."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _parsed(ranges: str) -> set[int]:
    numbers: set[int] = set()
    for run in filter(None, ranges.split(",")):
        first, _, last = run.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers
