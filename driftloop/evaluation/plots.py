"""Pictures of an evaluation."""

import numpy as np
from matplotlib.figure import Figure

from driftloop.evaluation.classification import condensed
from driftloop.evaluation.roc import RocCurve
from driftloop.reporting import plot_style

#: Letters of a class's name that have room under the columns of so few classes; longer names are turned.
WIDEST_UPRIGHT = 11


def confusion_and_roc(confusion: np.ndarray, classes: list[str], roc: RocCurve | None) -> Figure:
    """The confusion matrix, shaded by the share of its row and condensed where it has many, beside the ROC curve where there is one."""
    confusion, names = condensed(confusion, classes)
    side = min(6.0, 2.4 + 0.35 * len(names))
    figure, axes = plot_style.axes(width=3.4 + side if roc else side, height=side, columns=2 if roc else 1)
    matrix = axes[0]
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    matrix.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(confusion.shape):
        colour = "white" if shares[row, column] > 0.6 else plot_style.INK
        matrix.text(column, row, f"{confusion[row, column]}", ha="center", va="center", color=colour, fontsize=9)
    upright = len(names) < 4 and max(len(name) for name in names) <= WIDEST_UPRIGHT
    matrix.set_xticks(range(len(names)), names, rotation=0 if upright else 60)
    matrix.set_yticks(range(len(names)), names)
    matrix.set(xlabel="predicted", ylabel="true")
    matrix.grid(False)
    if roc:
        name = "micro-average" if roc.micro_average else f"positive: {classes[1]}"
        axes[1].plot(roc.fpr, roc.tpr, color=plot_style.PALETTE[0], label=f"{name}, area {roc.area:.3f}")
        axes[1].plot([0, 1], [0, 1], color=plot_style.MUTED, linestyle=":", label="chance")
        axes[1].set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes[1].legend(loc="lower right")
    return figure
