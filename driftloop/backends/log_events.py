"""What lines of a log say: which step runs, how far it is, what it found, why it failed.

The lines are KFP's local runner's and those that steps print (`driftloop.runtime`). They come from a child process or from a pod, or,
where the steps run in this process, from its own standard output.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

from driftloop.runtime import METRICS_MARK, PROGRESS_MARK

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
ENDED = re.compile(r"Task '([^']+)' finished with status (SUCCESS|FAILURE)")
PROGRESS = re.compile(rf"\[driftloop {PROGRESS_MARK}\] ([0-9.]+) ?(.*)")
SHOWN = re.compile(rf"\[driftloop {METRICS_MARK}\] (.*)")
#: The last line of the traceback of an error of driftloop's own, and of any other.
OUR_ERROR = re.compile(r"^driftloop\.\w+: (.*)")
OTHER_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Killed|Interrupt)): ?(.*)")


@dataclass(frozen=True)
class LogEvent:
    """What a line of a log says."""

    kind: Literal["started", "succeeded", "failed", "progress", "figures", "our_error", "other_error"]
    """What happened."""
    step: str = ""
    """The component's name, for starts and ends."""
    text: str = ""
    """What is being done, the figures, or the error."""
    fraction: float = 0.0
    """How much of the step is done, in [0, 1]."""


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
