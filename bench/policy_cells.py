"""The cells of the policy world: what happens in a history, how many windows come a day, and when labels do."""

from dataclasses import dataclass

import numpy as np

DAYS, ONSET = 120, 20
WINDOWS_A_DAY, TURNAROUNDS = (1, 3, 24, 200), (0, 4, 14)
#: Drops from which a drift looks so strong.
STRENGTHS = ((0.12, "blur+noise:0.6"), (0.07, "blur+noise:0.3"), (0.04, "blur+noise:0.2"), (0.01, "blur+noise:0.1"))
#: Drops in points by kind; a tenth of the traffic cannot lose 8 points for all of it.
DROPS = {
    "none": (0,),
    "harmless": (0,),
    "abrupt": (2, 5, 8, 15),
    "gradual": (5, 8, 15),
    "subgroup 10 %": (2, 5),
    "label shift": (0, 5, 8),
    "seasonal": (5, 15),
}


@dataclass(frozen=True)
class Cell:
    """One setting of the world."""

    kind: str
    drop: float
    windows: int
    """A day."""
    turnaround: int
    """Days until a label comes."""

    def drops(self) -> np.ndarray:
        """What the first champion loses on each day's traffic, as a share: (DAYS,)."""
        day = np.arange(DAYS) - ONSET
        if self.kind == "gradual":
            return self.drop * np.clip((day + 1) / 30, 0, 1)
        if self.kind == "seasonal":
            return np.where((day >= 0) & (day // 25 % 2 == 0), self.drop, 0.0)
        return np.where(day >= 0, self.drop, 0.0)

    def looks(self) -> list[str]:
        """Which windows of the quantiles each day's are like."""
        fixed = {"none": "clean", "harmless": "brightness:0.5", "subgroup 10 %": "subgroup"}
        fixed["label shift"] = "prior:0.2" if self.drop >= 0.08 else "prior:0.1"
        if self.kind in fixed:
            return ["clean" if day < ONSET else fixed[self.kind] for day in range(DAYS)]
        return [next((name for least, name in STRENGTHS if drop >= least), "clean") for drop in self.drops()]


def design() -> list[Cell]:
    """Every kind with each of its drops at each rate of windows, the turnarounds in turn."""
    cells = []
    for row, (kind, drop) in enumerate((kind, drop) for kind, drops in DROPS.items() for drop in drops):
        for column, windows in enumerate(WINDOWS_A_DAY):
            cells.append(Cell(kind, drop / 100, windows, TURNAROUNDS[(row + column) % len(TURNAROUNDS)]))
    return cells
