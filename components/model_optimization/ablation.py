"""Which ingredient brought what: the plan with one ingredient taken away at a time, on the validation split, in short trainings."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.model_optimization.plan import TrainingPlan
from driftloop.evaluation.paired import tango_interval
from driftloop.training.architectures import PLAIN_CNN
from driftloop.training.task import Task

FULL = "all ingredients"


@dataclass(frozen=True)
class AblationRow:
    """One short training: what it was, what it reached, and the paired difference to the one with all ingredients.

    `change` is this run's validation accuracy minus that of all ingredients; `low` and `high` its 95 % interval (Tango 1998) over the
    images, which says nothing of what another seed would give.
    """

    name: str
    val_accuracy: float
    images_per_second: float
    change: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def decided(self) -> bool:
        """Whether the interval of the change leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def described(self) -> dict[str, Any]:
        """The row as JSON takes it."""
        return {
            "name": self.name,
            "val_accuracy": self.val_accuracy,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "images_per_second": self.images_per_second,
        }


@dataclass(frozen=True)
class Ablation:
    """The runs there was time for, the ones with all ingredients first, and the names of those there was not."""

    rows: list[AblationRow]
    left_out: list[str]
    epochs: int


def plan_variants(plan: TrainingPlan) -> dict[str, TrainingPlan]:
    """The plan, and the plan without each ingredient that it has; the ones that matter most come first."""
    found = {FULL: plan}
    if plan.augmentation:
        found["without augmentation"] = replace(plan, augmentation=None)
    if plan.recipe.one_cycle:
        # Half the peak is about the mean rate of the cycle; the peak itself, held all along, would be a straw man.
        constant = replace(plan.recipe, one_cycle=False, learning_rate=plan.recipe.learning_rate / 2)
        found["without OneCycle"] = replace(plan, recipe=constant)
    if plan.architecture != PLAIN_CNN:
        found["without residual blocks"] = replace(plan, architecture=PLAIN_CNN)
    if plan.recipe.label_smoothing:
        found["without label smoothing"] = replace(plan, recipe=replace(plan.recipe, label_smoothing=0.0))
    if plan.recipe.weight_decay:
        found["without weight decay"] = replace(plan, recipe=replace(plan.recipe, weight_decay=0.0))
    if plan.recipe.precision != "float32":
        found["without mixed precision"] = replace(plan, recipe=replace(plan.recipe, precision="float32"))
    return found


def ablate(
    plan: TrainingPlan,
    task: Task,
    *,
    seed: int,
    epochs: int,
    seconds: float,
    on_run: Callable[[float, str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Ablation:
    """Train each variant of `plan` for `epochs`; the test split is not looked at.

    A run is started only when one as long as the longest so far still fits into `seconds`, so the time is kept, and what it costs is
    rows of the table. Every variant starts from the same seed.

    Args:
        plan: with all ingredients.
        task: what is learnt.
        seed: of every run.
        epochs: of every run; 0 for no ablation.
        seconds: for all of them together.
        on_run: told the share of the runs done and the last one's name.
        clock: seconds, from any start.
    """
    names = plan_variants(plan)
    rows: list[AblationRow] = []
    reference: np.ndarray | None = None
    began, longest = clock(), 0.0
    for number, (name, variant) in enumerate(names.items() if epochs else (), start=1):
        started = clock()
        if started - began + longest > seconds:
            break
        short = replace(variant, recipe=replace(variant.recipe, epochs=epochs))
        network, history = short.train(task, seed)
        right = task.predict(network, "val").right
        speed = float(np.median([record.images_per_second for record in history.epochs]))
        reference = right if reference is None else reference
        rows.append(_row(name, right, reference, speed))
        longest = max(longest, clock() - started)
        on_run(number / len(names), name)
    return Ablation(rows, list(names)[len(rows) :], epochs)


def in_words(ablation: Ablation) -> str:
    """What the table says, and no more than it says."""
    if len(ablation.rows) < 2:
        return "No ablation was run: no time or no epochs were given to it."
    helped = [row for row in ablation.rows[1:] if row.decided and row.change is not None and row.change < 0]
    harmed = [row for row in ablation.rows[1:] if row.decided and row.change is not None and row.change > 0]
    parts = []
    if helped:
        parts.append("Taking one away cost accuracy beyond chance: " + ", ".join(map(_change, helped)) + ".")
    if harmed:
        parts.append("At this length these do harm: " + ", ".join(map(_change, harmed)) + ".")
    unclear = [row.name for row in ablation.rows[1:] if not row.decided]
    if unclear:
        parts.append(f"Not to be told from chance: {', '.join(unclear)}.")
    return " ".join(parts)


def _change(row: AblationRow) -> str:
    return f"{row.name} ({100 * (row.change or 0):+.1f} points)"


def _row(name: str, right: np.ndarray, reference: np.ndarray, speed: float) -> AblationRow:
    accuracy = float(right.mean())
    if right is reference:
        return AblationRow(name, accuracy, speed)
    gained, lost = int((right & ~reference).sum()), int((reference & ~right).sum())
    low, high = tango_interval(gained, lost, len(right))
    return AblationRow(name, accuracy, speed, (gained - lost) / len(right), low, high)
