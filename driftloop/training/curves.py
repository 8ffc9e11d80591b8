"""Learning curves: a figure for the reports, and events for TensorBoard (`tensorboard --logdir <model>/events`)."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from driftloop.reporting import plot_style
from driftloop.training.loop import EpochRecord, TrainingHistory

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
    """Losses, accuracies and the learning rate by epoch, in `<bundle>/events/`."""

    def __init__(self, bundle: str | Path) -> None:
        self.folder = Path(bundle, EVENTS_FOLDER)
        self.writer = SummaryWriter(str(self.folder))

    def epoch(self, record: EpochRecord) -> None:
        """Write one epoch."""
        self.writer.add_scalars("loss", {"train": record.loss, "validation": record.val_loss}, record.epoch)
        self.writer.add_scalars("accuracy", {"train": record.accuracy, "validation": record.val_accuracy}, record.epoch)
        self.writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
        self.writer.add_scalar("images_per_second", record.images_per_second, record.epoch)

    def close(self) -> None:
        """Write what is not yet on disk."""
        self.writer.close()
