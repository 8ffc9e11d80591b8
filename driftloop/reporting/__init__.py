"""Reports that people read: HTML in one file, plots in one style."""

from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import PALETTE, axes

__all__ = ["PALETTE", "Page", "axes"]
