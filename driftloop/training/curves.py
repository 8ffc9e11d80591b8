"""Learning curves, for the reports."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from driftloop.reporting import plots
from driftloop.training.fit import History


def learning_curves(history: History) -> Figure:
    """Loss, accuracy and learning rate by epoch; the epoch whose weights were kept is marked."""
    figure, (losses, accuracies, rates) = plots.axes(width=9.6, height=2.8, columns=3)
    epochs = [record.epoch for record in history.epochs]
    for axis, train, val, title in (
        (losses, [record.loss for record in history.epochs], [record.val_loss for record in history.epochs], "loss"),
        (accuracies, [record.accuracy for record in history.epochs], [record.val_accuracy for record in history.epochs], "accuracy"),
    ):
        axis.plot(epochs, train, color=plots.PALETTE[0], label="train", marker=_marker(epochs))
        axis.plot(epochs, val, color=plots.PALETTE[1], label="validation", marker=_marker(epochs))
        axis.axvline(history.best_epoch, color=plots.MUTED, linestyle=":", label="kept")
        axis.set(xlabel="epoch", ylabel=title)
        axis.legend()
    rates.plot(epochs, [record.learning_rate for record in history.epochs], color=plots.PALETTE[2], marker=_marker(epochs))
    rates.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    for axis in (losses, accuracies, rates):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _marker(epochs: list[int]) -> str:
    return "o" if len(epochs) < 3 else ""
