"""What is decided before the training, kept beside its checkpoint: the layers that learn, the range test, times, the study of the search.

They depend on the machine: computed anew on another number of threads, the rate would be another in its last digits, and with it the
training, which would start over. A killed step goes on with what it had decided; at most one trial is lost.
"""

from dataclasses import asdict, replace
from typing import Any

import optuna

from components.model_optimization.training_plan import TrainingPlan, full_plan, precision
from driftloop.contracts import MODEL_OPTIMIZATION
from driftloop.training.checkpoint import checkpoint_for, checkpoints_folder, identity_digest
from driftloop.training.choice import ALL, HEAD
from driftloop.training.lr_finder import RangeTest, find_learning_rate
from driftloop.training.study_journal import StudyPlace
from driftloop.training.task import Task

#: Their names in what is kept.
_LAYERS, _RANGE_TEST, _LATENCIES = "layers", "range_test", "latencies"
#: What the trials of a study are judged by and what they vary: counted up where that changes, so that trials of a kind are compared.
_STUDY = 2


class Decisions:
    """Of one training; empty at its first start.

    Args:
        task: what is learnt, on which kind of device.
        epochs: of the training.
        seed: of everything random.
    """

    def __init__(self, task: Task, *, epochs: int, seed: int) -> None:
        asked = task.settings.model_dump()
        # What computes in another number type, or on a GPU, is another training.
        machine = {"device": task.device.type, "precision": precision(task.settings, task.device, task.settings.architecture)}
        identity = {"step": MODEL_OPTIMIZATION, "part": "decisions", "epochs": epochs, "seed": seed} | machine | asked
        self._checkpoint = checkpoint_for(task.settings.checkpoints, task.description, identity)
        self._kept = self._checkpoint.load(task.device) or {}
        # Another version of Optuna may read a journal otherwise, and begins one of its own.
        digest = identity_digest(identity | {"optuna": optuna.__version__, "study": _STUDY})
        prefix = f"{checkpoints_folder(task.description)}{digest}.study"
        #: Where the study of the search lies, if there is a search.
        self.study = StudyPlace(task.settings.checkpoints or task.description.store, prefix)
        self._searched = task.settings.sweep_trials > 0

    @property
    def layers(self) -> tuple[str, str] | None:
        """`train_config.trained_layers` as it was decided, and the reason; None where it was not yet."""
        return tuple(self._kept[_LAYERS]) if _LAYERS in self._kept else None

    @property
    def range_test(self) -> RangeTest | None:
        """None where it was not finished."""
        return RangeTest(**self._kept[_RANGE_TEST]) if _RANGE_TEST in self._kept else None

    @property
    def latencies(self) -> dict[str, float] | None:
        """Milliseconds by network, as they were measured; None where they were not yet."""
        return self._kept.get(_LATENCIES)

    def keep_latencies(self, measured: dict[str, float]) -> None:
        self._keep(_LATENCIES, measured)

    def keep_layers(self, layers: str, reason: str) -> None:
        self._keep(_LAYERS, [layers, reason])

    def keep_range_test(self, test: RangeTest) -> None:
        self._keep(_RANGE_TEST, asdict(test))

    def clear(self) -> None:
        """The training is over and its bundle written."""
        if self._searched:
            self.study.clear()
        self._checkpoint.clear()

    def _keep(self, name: str, value: Any) -> None:
        self._kept |= {name: value}
        self._checkpoint.save(self._kept)


def decided_plan(task: Task, epochs: int, decisions: Decisions) -> TrainingPlan:
    """All ingredients; the layers that learn are those of the first start, however many cores there were then."""
    if decisions.layers:
        layers, reason = decisions.layers
        return replace(full_plan(task.settings.model_copy(update={"trained_layers": layers}), epochs, task), why=reason)
    plan = full_plan(task.settings, epochs, task)
    if plan.pretrained:
        decisions.keep_layers(HEAD if plan.head_only else ALL, plan.why)
    return plan


def with_learning_rate(plan: TrainingPlan, task: Task, seed: int, decisions: Decisions) -> tuple[TrainingPlan, RangeTest]:
    """The plan with the rate of the range test, unless the settings name a rate; the test is run and shown either way."""
    range_test = decisions.range_test
    if range_test is None:
        range_test = find_learning_rate(plan.network(task, seed), task.training_batches(), plan.recipe, seed=seed, form=plan.form)
        decisions.keep_range_test(range_test)
    rate = task.settings.learning_rate or range_test.suggestion
    return replace(plan, recipe=replace(plan.recipe, learning_rate=rate)), range_test
