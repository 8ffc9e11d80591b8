"""What a person sees while a run goes: one line a step, with a progress bar while it runs and the figures that matter when it is done."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from driftloop.backends.log_events import LogEvent

WIDTH = 16


class StepDisplay:
    """Turns events into lines; on a terminal the running step has a live bar, elsewhere only finished steps are printed."""

    def __init__(self, console: Console, titles: Mapping[str, str]) -> None:
        self.console = console
        self.titles = titles
        self.seconds: dict[str, float] = {}
        self.failed = ""
        self._began = 0.0
        self._figures = ""
        self._progress = Progress(
            TextColumn("  [bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = None if not console.is_terminal else self._progress.add_task("starting".ljust(WIDTH), total=1.0, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, event: LogEvent) -> None:
        """Take in one event of the log."""
        if event.kind == "started":
            self._start(event.step)
        elif event.kind == "progress" and self._bar is not None:
            self._progress.update(self._bar, completed=event.fraction, text=event.text)
        elif event.kind == "figures":
            self._figures = event.text
        elif event.kind in ("succeeded", "failed"):
            self._end(event.step, good=event.kind == "succeeded")

    def _title(self, step: str) -> str:
        return self.titles.get(step, step)

    def _start(self, step: str) -> None:
        self._began, self._figures = time.monotonic(), ""
        if self._bar is not None:
            self._progress.reset(self._bar, description=self._title(step).ljust(WIDTH), total=1.0, completed=0, text="")

    def _end(self, step: str, *, good: bool) -> None:
        seconds = time.monotonic() - self._began
        self.seconds[step] = round(self.seconds.get(step, 0.0) + seconds, 2)
        self.failed = self.failed or ("" if good else step)
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        self.console.print(
            f"{mark} [bold]{self._title(step).ljust(WIDTH)}[/] [dim]{seconds:5.1f} s[/]  {escape(self._figures)}", soft_wrap=True
        )
