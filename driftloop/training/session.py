"""What surrounds a training within a step: its checkpoint, its TensorBoard events and its lines of progress."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from driftloop.training.checkpoint import checkpoint_for
from driftloop.training.curves import TrainingEvents
from driftloop.training.loop import EpochRecord
from driftloop.training.task import Task


class TrainingSession:
    """A context manager around a training; leaving it without an error publishes the events.

    Killed and run again, it goes on after the last finished epoch, whatever the number of threads.

    Args:
        bundle: directory of the bundle to be written, which the events go into.
        task: what is learnt.
        step: the component's name.
        identity: what determines the training beside step, dataset, seed, settings and kind of device; another identity is another
            checkpoint.
        seed: of everything random.
        progress: called after each epoch with the share of the training that is done and a short text.
    """

    def __init__(
        self, bundle: str, task: Task, *, step: str, identity: dict[str, Any], seed: int, progress: Callable[[float, str], None]
    ) -> None:
        self._epochs, self._progress = identity["epochs"], progress
        settings = task.settings
        whole = {"step": step, "seed": seed, "device": task.device.type} | identity | settings.model_dump()
        self.checkpoint = checkpoint_for(settings.checkpoints, task.description, whole)
        self._events = TrainingEvents(bundle, task.description.store, step)

    def on_epoch(self, record: EpochRecord) -> None:
        """Report an epoch; for `fit`."""
        curves: dict[str, float | dict[str, float]] = {
            "loss": {"train": record.loss, "validation": record.val_loss},
            "accuracy": {"train": record.accuracy, "validation": record.val_accuracy},
            "learning_rate": record.learning_rate,
            "images_per_second": record.images_per_second,
        }
        self._events.epoch(record.epoch, curves)
        self._progress(record.epoch / self._epochs, f"epoch {record.epoch}: validation {record.val_accuracy:.3f}")

    def finish(self) -> None:
        """Remove the checkpoint, once everything that the step makes is written."""
        self.checkpoint.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._events.__exit__(kind, error, trace)
