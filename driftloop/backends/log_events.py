"""Reading a local run's log as it grows: which step runs, how far it is, what it found, why it failed.

Standard output of steps that run in this process: kept in the log, and read for events as it comes.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

from driftloop.runtime import FIGURES, FRACTION

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


STARTED = re.compile(r"Executing task '([^']+)'")


ENDED = re.compile(r"Task '([^']+)' finished with status (SUCCESS|FAILURE)")


PROGRESS = re.compile(rf"\[driftloop {FRACTION}\] ([0-9.]+) ?(.*)")


SHOWN = re.compile(rf"\[driftloop {FIGURES}\] (.*)")


OUR_ERROR = re.compile(r"^driftloop\.\w+: (.*)")


OTHER_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Killed|Interrupt)): ?(.*)")


@dataclass(frozen=True)
class LogEvent:
    """One thing that a log line says: `step` for starts and ends, `fraction` for progress, `text` for the rest."""

    kind: Literal["started", "succeeded", "failed", "progress", "figures", "our_error", "other_error"]
    step: str = ""
    text: str = ""
    fraction: float = 0.0


def read_event(line: str) -> LogEvent | None:
    """What a line of the log says, or None where it is just log."""
    line = COLOUR.sub("", line).strip()
    if match := STARTED.search(line):
        return LogEvent("started", step=match[1])
    if match := ENDED.search(line):
        return LogEvent("succeeded" if match[2] == "SUCCESS" else "failed", step=match[1])
    if match := PROGRESS.match(line):
        return LogEvent("progress", fraction=min(1.0, float(match[1])), text=match[2])
    if match := SHOWN.match(line):
        return LogEvent("figures", text=match[1])
    if match := OUR_ERROR.match(line):
        return LogEvent("our_error", text=match[1])
    if match := OTHER_ERROR.match(line):
        return LogEvent("other_error", text=f"{match[1]}: {match[2]}".rstrip(": "))
    return None


class LogStream(io.TextIOBase):
    """Takes what is printed; every whole line goes to `log`, and its event, if it is one, to `show`."""

    def __init__(self, log: TextIO, show: Callable[[LogEvent], None]) -> None:
        self._log, self._show, self._line = log, show, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            event = read_event(line)
            if event is not None and event.kind in ("progress", "figures"):
                self._show(event)
        return len(text)

    def flush(self) -> None:
        self._log.flush()
