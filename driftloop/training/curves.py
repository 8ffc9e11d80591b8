"""Learning curves: a figure for the reports, and events for TensorBoard (`tensorboard --logdir <model>/events`)."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from driftloop.reporting import plot_style
from driftloop.reporting.tensorboard import publish_events
from driftloop.training.loop import TrainingHistory

#: Where the events lie in a bundle.
EVENTS_FOLDER = "events"


def learning_curves(history: TrainingHistory) -> Figure:
    """Loss, accuracy and learning rate by epoch; the epoch whose weights were kept is marked."""
    figure, (losses, accuracies, rates) = plot_style.axes(width=9.6, height=2.8, columns=3)
    epochs = [record.epoch for record in history.epochs]
    for axis, train, val, title in (
        (losses, [record.loss for record in history.epochs], [record.val_loss for record in history.epochs], "loss"),
        (accuracies, [record.accuracy for record in history.epochs], [record.val_accuracy for record in history.epochs], "accuracy"),
    ):
        axis.plot(epochs, train, color=plot_style.PALETTE[0], label="train", marker=_marker(epochs))
        axis.plot(epochs, val, color=plot_style.PALETTE[1], label="validation", marker=_marker(epochs))
        axis.axvline(history.best_epoch, color=plot_style.MUTED, linestyle=":", label="kept")
        axis.set(xlabel="epoch", ylabel=title)
        axis.legend()
    rates.plot(epochs, [record.learning_rate for record in history.epochs], color=plot_style.PALETTE[2], marker=_marker(epochs))
    rates.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    for axis in (losses, accuracies, rates):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _marker(epochs: list[int]) -> str:
    return "o" if len(epochs) < 3 else ""


class TrainingEvents:
    """A context manager: curves by epoch, in `<bundle>/events/`; leaving it without an error publishes them.

    Args:
        bundle: directory of the bundle to be written.
        store: the model's home.
        step: the component's name.
    """

    def __init__(self, bundle: str | Path, store: str, step: str) -> None:
        self._folder, self._store, self._step = Path(bundle, EVENTS_FOLDER), store, step.replace("_", "-")
        self._writer = SummaryWriter(str(self._folder))

    def epoch(self, number: int, curves: Mapping[str, float | Mapping[str, float]]) -> None:
        """Write one epoch: by name a value, or several values that are shown in one chart."""
        for name, value in curves.items():
            if isinstance(value, Mapping):
                self._writer.add_scalars(name, dict(value), number)
            else:
                self._writer.add_scalar(name, value, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        if kind is None:
            publish_events(self._folder, self._store, self._step)
