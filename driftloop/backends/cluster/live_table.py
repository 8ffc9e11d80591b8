"""What a person sees while a run goes on a cluster: all its steps from the start, in the look of a local run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from driftloop.backends.compiled_pipeline import Branch, Step, branches_of
from driftloop.backends.step_display import WIDTH

StepState = Literal["waiting", "running", "done", "cached", "failed", "not taken"]
MARKS: dict[StepState, str] = {
    "waiting": "[dim]·[/]",
    "running": "[cyan]▸[/]",
    "done": "[green]✓[/]",
    "cached": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "not taken": "[dim]–[/]",
}


@dataclass(frozen=True)
class StepProgress:
    """How far a step or a branch is."""

    state: StepState = "waiting"
    """A branch is `running` once it is taken."""
    seconds: float = 0.0
    """Since its beginning, or until its end."""
    text: str = ""
    """What it found, or what it is doing."""
    waits: str = ""
    """Why its pod does not run yet."""


class LiveTable:
    """A line a step: all at once on a terminal, elsewhere as each begins, waits for another reason, or ends.

    A branch is one line until it is taken.

    Args:
        console: where to print.
        steps: of the pipeline, in their order.
    """

    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self.console = console
        self.steps = steps
        self.titles = {step.name: step.title for step in steps}
        self.seconds: dict[str, float] = {}
        self.failed = ""
        self._progress: dict[str, StepProgress] = {}
        #: Without a terminal: the state that each row was last printed in, and why it has waited in it, the last at the end.
        self._printed: dict[str, tuple[StepState, list[str]]] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            # The table goes; its last state stays, with lines as long as they are.
            for row in self._rows():
                self.console.print(self._line(row), soft_wrap=True)

    def show(self, progress: Mapping[str, StepProgress]) -> None:
        """Take in how far every step and branch is, by KFP's name of the task; those that are left out wait."""
        self._progress = dict(progress)
        for step in self.steps:
            now = self._of(step.name)
            if now.state in ("done", "cached", "failed"):
                self.seconds[step.name] = round(now.seconds, 2)
            if now.state == "failed":
                self.failed = self.failed or step.name
        rows = self._rows()
        if self._live is not None:
            self._live.update(Text("\n", no_wrap=True, overflow="ellipsis").join(self._line(row) for row in rows), refresh=True)
            return
        for row in rows:
            now = self._of(row.name)
            state, reasons = self._printed.get(row.name, ("waiting", []))
            # Kubernetes reports an image that it cannot pull by two names in turn, for ever: each is told once, and that it is over.
            over = not now.waits and any(reasons[-1:])
            if now.state != state or (now.state != "waiting" and (now.waits not in reasons or over)):
                self._printed[row.name] = (now.state, [*(reasons if now.state == state else []), now.waits])
                self.console.print(self._line(row), soft_wrap=True)

    def _of(self, name: str) -> StepProgress:
        return self._progress.get(name, StepProgress())

    def _rows(self) -> list[Step | Branch]:
        """The steps, with one row for a branch that is not taken, or not yet."""
        rows: list[Step | Branch] = []
        for step in self.steps:
            closed = next((branch for branch in branches_of(step) if self._of(branch.name).state in ("waiting", "not taken")), None)
            row = closed or step
            if row not in rows:
                rows.append(row)
        return rows

    def _line(self, row: Step | Branch) -> Text:
        now = self._of(row.name)
        title = escape(row.title.ljust(WIDTH))
        if now.state in ("waiting", "not taken"):
            text = "        not taken" if now.state == "not taken" else ""
            return Text.from_markup(f"{MARKS[now.state]} [dim]{title}{text}[/]")
        note = "cached  " if now.state == "cached" else ""
        return Text.from_markup(f"{MARKS[now.state]} [bold]{title}[/] [dim]{now.seconds:5.1f} s  {note}[/]{escape(now.text)}")
