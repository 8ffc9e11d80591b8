"""One look for every plot: no pyplot state, no display, one palette."""

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE = "#1f2933", "#5f6b78", "#e4e7eb"
#: What a page in dark colours replaces by its own: black is what matplotlib draws text in where nothing is said.
THEME_COLOURS = {INK: "--ink", MUTED: "--muted", LINE: "--line", "#000000": "--ink"}
#: Blue, orange, green, red, violet, grey: distinguishable for colour-blind readers (after Okabe and Ito 2008).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#9467bd", "#7b8794")

PLOT_STYLE = {
    "axes.edgecolor": MUTED,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
}
# For the whole process: legends and ticks read the style when they are drawn, long after a context would have ended.
rcParams.update(PLOT_STYLE)  # type: ignore[arg-type]


def axes(width: float = 6.0, height: float = 3.2, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `columns` axes side by side, in inches and in the reports' style."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, index + 1) for index in range(columns)]
