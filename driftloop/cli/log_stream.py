"""Standard output of steps that run in this process: kept in the log, and read for events as it comes."""

import io
from collections.abc import Callable
from typing import TextIO

from driftloop.cli.log_events import Event, read_event


class LogStream(io.TextIOBase):
    """Takes what is printed; every whole line goes to `log`, and its event, if it is one, to `show`."""

    def __init__(self, log: TextIO, show: Callable[[Event], None]) -> None:
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
