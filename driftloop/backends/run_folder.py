"""A run's folder, `runs/<id>`: log, artifacts, summary, reports, deliverables; and `runs/latest`, which names the newest."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from driftloop.contracts import BENCHMARK, DRIFT_REPORT, GATE_EVIDENCE, GATE_PAGE, LABEL_REQUESTS, LABELLING_SHEET, PRODUCTION_LOGS, SUMMARY

RUNS = Path("runs")
#: The newest run's folder, and its store where that is in a folder.
LATEST = RUNS / "latest"
LATEST_STORE = LATEST / "store"

#: What users of the course look for, and where a run's artifacts have it: name -> glob below the artifacts, the last match counting.
DELIVERABLES = {
    "data_report.html": "data-analysis/report",
    "baseline_metrics.pt": "data-analysis/dataset/baseline_metrics.pt",
    "best_model.pth": "baseline-training/model/model.pth",
    "baseline_card.md": "baseline-training/card",
    "baseline_curves.html": "baseline-training/curves",
    "optimized_best.pth": "model-optimization/model/model.pth",
    "optimization_report.html": "model-optimization/report",
    "lr_finder.png": "model-optimization/model/plots/lr_finder.png",
    "ablation.csv": "model-optimization/model/plots/ablation.csv",
    "deployment_report.html": "onnx-deployment/report",
    PRODUCTION_LOGS: f"production-monitoring/traffic/{PRODUCTION_LOGS}",
    "alerts.json": "production-monitoring/traffic/alerts.json",
    "dashboard.html": "production-monitoring/dashboard",
    DRIFT_REPORT: f"drift-detection/evidence/{DRIFT_REPORT}",
    "drift_report.html": "drift-detection/report",
    LABEL_REQUESTS: f"drift-detection/evidence/{LABEL_REQUESTS}",
    LABELLING_SHEET: "drift-detection/sheet",
    "model_retrained.pth": "automated-retraining/model/model.pth",
    GATE_EVIDENCE: f"validation-gate*/evidence/{GATE_EVIDENCE}",
    "gate.md": "validation-gate*/summary",
    GATE_PAGE: f"validation-gate*/evidence/{GATE_PAGE}",
    "report.html": "synthesis-report*/html",
    "report.pdf": "synthesis-report*/pdf",
}
#: The report in both forms, in the run's folder and among its deliverables.
REPORTS = ("report.html", "report.pdf")
#: Those of the model that serves after the run, whoever made it; `delivered_models` copies them from the champion.
CHAMPION_FILES = ("model.onnx", "model.int8.onnx", BENCHMARK, "reference.npz")

#: The directories of the steps that make a champion, and of those that watch it, the ones that say most last.
MAKING_DIRECTORIES = ("data-analysis/dataset", "baseline-training/model", "model-optimization/model", "onnx-deployment/candidate")
WATCHING_DIRECTORIES = ("production-monitoring/traffic", "drift-detection/evidence")
#: Their facts together hold all that a run found, for runs that did not come to the report.
FACT_DIRECTORIES = (*MAKING_DIRECTORIES, *WATCHING_DIRECTORIES)
#: Beside those that the summary is made of: what a run on a cluster has to fetch for its report.
REPORTED = ("production-monitoring/champion", "automated-retraining/model", "onnx-deployment*/candidate", "validation-gate*/evidence")


class RunFolder:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.log = path / "run.log"
        self.artifacts = path / "artifacts"
        self.summary = path / SUMMARY
        self.parameters = path / "parameters.json"
        self.store = path / "store"
        self.deliverables = path / "deliverables"

    @classmethod
    def create(cls, pipeline: str, runs: Path = RUNS) -> "RunFolder":
        """A new folder named by time and pipeline; two runs started in the same second get different ones."""
        runs.mkdir(parents=True, exist_ok=True)
        stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{pipeline}"
        for attempt in range(1, 1000):
            path = runs / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return cls(path)
        raise FileExistsError(f"{runs / stamp}: 999 runs started in one second")

    def point_latest(self) -> None:
        """Make `runs/latest` name this run, in one step."""
        link = self.path.parent / "latest"
        fresh = link.with_name(f".latest.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path.name)
        fresh.replace(link)

    def link_store(self, store: Path) -> None:
        """Name the local store this run worked on `store` here too, so that `runs/latest/store` goes on naming it."""
        if store.resolve() != self.store.absolute():
            self.store.symlink_to(os.path.relpath(store.resolve(), self.path.resolve()))

    def find(self, pattern: str) -> Path | None:
        """The newest artifact of this run that matches `pattern` below the pipeline's artifacts."""
        matches = sorted(self.artifacts.glob(f"*/{pattern}"), key=lambda path: path.stat().st_mtime)
        return matches[-1] if matches else None

    def collect_deliverables(self) -> list[str]:
        """Copy what the run made to `deliverables/` under the names people know; the names that were there to copy."""
        self.deliverables.mkdir(exist_ok=True)
        copied = []
        for name, pattern in DELIVERABLES.items():
            source = self.find(pattern)
            if source is not None and source.is_file():
                shutil.copyfile(source, self.deliverables / name)
                copied.append(name)
        for report in REPORTS:
            if report in copied:
                shutil.copyfile(self.deliverables / report, self.path / report)
        return copied
