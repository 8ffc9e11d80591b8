"""The figures of the data report."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from components.data_analysis.statistics import ClassStatistics
from driftloop.reporting.plots import MUTED, PALETTE, axes

_MOST_CLASSES = 6


def balance(counts: dict[str, dict[str, int]], classes: list[str]) -> Figure:
    """Images by split, stacked by class."""
    figure, (axis,) = axes(7.4, 0.5 + 0.42 * len(counts))
    splits = list(counts)[::-1]
    left = np.zeros(len(splits))
    for number, name in enumerate(classes):
        widths = np.array([counts[split][name] for split in splits])
        colour = PALETTE[number % len(PALETTE)]
        axis.barh(splits, widths, left=left, label=name, color=colour, alpha=1 - 0.5 * (number >= len(PALETTE)), height=0.66)
        left += widths
    for row, total in enumerate(left):
        axis.annotate(f"{int(total):,}", (total, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED)
    axis.margins(x=0.1)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("images")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=1 + len(classes) // 8)
    return figure


def distributions(statistics: ClassStatistics, frame: pd.DataFrame, classes: list[str]) -> Figure:
    """Brightness and contrast of training images by class, as densities; and the sizes of the source's files."""
    figure, (brightness, contrast, size) = axes(9.6, 2.7, columns=3)
    for axis, name in ((brightness, "brightness"), (contrast, "contrast")):
        values = statistics.column(name)
        edges = np.linspace(values.min(), max(values.max(), values.min() + 1), 31).tolist()
        for number, label in enumerate(classes[:_MOST_CLASSES]):
            of_class = values[statistics.labels == number]
            axis.hist(of_class, edges, density=True, histtype="stepfilled", alpha=0.2, color=PALETTE[number])
            axis.hist(of_class, edges, density=True, histtype="step", linewidth=1.4, color=PALETTE[number], label=label)
        axis.set_xlabel(f"{name} of an image, grey levels")
        axis.set_yticks([])
    contrast.legend()
    counted = frame.groupby(["width", "height"]).size()
    width, height = (counted.index.get_level_values(level).to_numpy() for level in (0, 1))
    size.scatter(width, height, s=np.clip(300 * counted.to_numpy() / len(frame), 5, 120), color=PALETTE[0], alpha=0.4, linewidths=0)
    size.set_xlabel("width of a file, pixels")
    size.set_ylabel("height, pixels")
    return figure


def mean_images(statistics: ClassStatistics, classes: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """The mean image of each class; of two classes also their difference, stretched, with grey for none."""
    images = [np.clip(image + 0.5, 0, 255).astype(np.uint8) for image in statistics.mean_images]
    captions = list(classes)
    if len(classes) == 2:
        difference = (statistics.mean_images[1] - statistics.mean_images[0]).mean(-1)
        largest = max(float(np.abs(difference).max()), 1e-6)
        images.append((127.5 + 127.5 * difference / largest).astype(np.uint8))
        captions.append(f"{classes[1]} minus {classes[0]} (±{largest:.0f} levels)")
    return images, captions
