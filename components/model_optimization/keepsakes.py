"""The range test's plot and the ablation's table as files of their own, beside the weights: people paste them into their reports."""

import csv
from pathlib import Path

from components.model_optimization.report import OptimizationFindings
from driftloop.training import lr_finder

#: Below the bundle's top level, which SHA256SUMS covers and the store takes: these stay with the run.
FOLDER = "plots"


def write_keepsakes(model: str, findings: OptimizationFindings) -> None:
    """Write `plots/lr_finder.png` and `plots/ablation.csv` into the bundle's directory."""
    folder = Path(model, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    lr_finder.plot(findings.range_test, findings.plan.recipe.learning_rate).savefig(folder / "lr_finder.png", dpi=144)
    rows = [row.described() for row in findings.ablation.rows]
    with open(folder / "ablation.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["name"])
        table.writeheader()
        table.writerows(rows)
