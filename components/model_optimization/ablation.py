"""Which ingredient brought what: the plan with one ingredient taken away at a time, on the validation split, in short trainings."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components.model_optimization.training_plan import TrainingPlan
from driftloop.contracts import VAL
from driftloop.evaluation.paired import compare
from driftloop.training.architectures import PLAIN_CNN, RESIDUAL, of_width, share_of_width, whole_width
from driftloop.training.task import Task

FULL = "all ingredients"


@dataclass(frozen=True)
class AblationRow:
    """A short training, and its paired difference to the one with all ingredients.

    The interval (Tango 1998) is over the images, those of one patient counting as fewer; it says nothing of what another seed would give.
    """

    name: str
    """Which ingredient was left out."""
    val_accuracy: float
    """On the validation split, of its best epoch."""
    images_per_second: float
    """Median over its epochs."""
    change: float | None = None
    """Its validation accuracy minus that of all ingredients; None for the latter."""
    low: float | None = None
    """Lower end of the 95 % interval of `change`."""
    high: float | None = None
    """Upper end."""
    val_balanced: float | None = None
    """Balanced accuracy on the validation split, where it chose the epoch; `change` is of the plain one."""

    @property
    def decided(self) -> bool:
        """Whether the interval of the change leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def described(self) -> dict[str, Any]:
        """The row as JSON takes it."""
        return {
            "name": self.name,
            "val_accuracy": self.val_accuracy,
            "val_balanced": self.val_balanced,
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "images_per_second": self.images_per_second,
        }


@dataclass(frozen=True)
class Ablation:
    """All short trainings."""

    rows: list[AblationRow]
    """The runs there was time for, the one with all ingredients first."""
    left_out: list[str]
    """Names of the runs there was no time for."""
    epochs: int
    """Of each run."""


def plan_variants(plan: TrainingPlan) -> dict[str, TrainingPlan]:
    """The plan, and the plan without each ingredient that it has; the ones that matter most come first."""
    variants = {FULL: plan}
    if plan.augmentation:
        variants["without augmentation"] = replace(plan, augmentation=None)
    if plan.mixes:
        variants["without mixed images"] = replace(plan, mixup=0.0, cutmix=0.0)
    if plan.recipe.one_cycle:
        # Half the peak is about the mean rate of the cycle; the peak itself, held all along, would be a straw man.
        constant = replace(plan.recipe, one_cycle=False, learning_rate=plan.recipe.learning_rate / 2)
        variants["without OneCycle"] = replace(plan, recipe=constant)
    if plan.pretrained:
        fresh = replace(plan.recipe, layer_decay=1.0, keep_statistics=False)
        variants["without pretrained weights"] = replace(plan, pretrained=None, recipe=fresh)
    if plan.recipe.layer_decay != 1:
        variants["without layer-wise rates"] = replace(plan, recipe=replace(plan.recipe, layer_decay=1.0))
    if whole_width(plan.architecture) == RESIDUAL:
        variants["without residual blocks"] = replace(plan, architecture=of_width(PLAIN_CNN, share_of_width(plan.architecture)))
    if plan.recipe.label_smoothing:
        variants["without label smoothing"] = replace(plan, recipe=replace(plan.recipe, label_smoothing=0.0))
    if plan.recipe.weight_decay:
        variants["without weight decay"] = replace(plan, recipe=replace(plan.recipe, weight_decay=0.0))
    if plan.recipe.precision != "float32":
        variants["without mixed precision"] = replace(plan, recipe=replace(plan.recipe, precision="float32"))
    return variants


def ablate(
    plan: TrainingPlan,
    task: Task,
    *,
    seed: int,
    epochs: int,
    seconds: float,
    expected: float,
    on_run: Callable[[float, str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Ablation:
    """Train each variant of `plan` for `epochs`; the test split is not looked at.

    A run is started only when one as long as expected, or as the longest so far, still fits into `seconds`: where time is short, rows are
    missing, all of them where it does not suffice for one.
    Every variant starts from the same seed.

    Args:
        plan: with all ingredients.
        task: what is learnt.
        seed: of every run.
        epochs: of every run; 0 for no ablation.
        seconds: for all of them together.
        expected: seconds that a run is expected to take, before one has shown it.
        on_run: called after each run with the share of the runs done and the name of the last.
        clock: seconds, from any start.
    """
    variants = plan_variants(plan)
    rows: list[AblationRow] = []
    reference: np.ndarray | None = None
    began, longest = clock(), expected
    groups = task.groups(VAL)
    for number, (name, variant) in enumerate(variants.items() if epochs else (), start=1):
        started = clock()
        if started - began + longest > seconds:
            break
        shortened = replace(variant, recipe=replace(variant.recipe, epochs=epochs))
        network, history = shortened.train(task, seed)
        right = task.predict(network, VAL).right
        speed = float(np.median([record.images_per_second for record in history.epochs]))
        reference = right if reference is None else reference
        row = _row(name, right, reference, groups, speed)
        rows.append(replace(row, val_balanced=history.best.val_balanced) if plan.recipe.class_weights else row)
        longest = max(longest, clock() - started)
        on_run(number / len(variants), name)
    return Ablation(rows, list(variants)[len(rows) :], epochs)


def summarise(ablation: Ablation) -> str:
    """What the table shows in sentences, and no more than it shows."""
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


def _row(name: str, right: np.ndarray, reference: np.ndarray, groups: np.ndarray, speed: float) -> AblationRow:
    accuracy = float(right.mean())
    if right is reference:
        return AblationRow(name, accuracy, speed)
    difference = compare(right, reference, confidence=0.975, groups=groups)
    return AblationRow(name, accuracy, speed, difference.estimate, difference.low, difference.high)
