"""What a running step needs of the place it runs in: the lines by which it reports, KFP's metrics, and its container image.

Reports are plain lines in the step's log. The command line turns them into a progress bar; on a cluster they read as they are in the
pod's log. KFP's artifact objects are described as protocols, so that steps do not import kfp. Components carry the images by the
names that the release gives them; a run on a cluster pins them by content.
"""

from typing import Protocol

from driftloop import __version__

#: By these words in a line of the log it is known for a report: `[driftloop progress] ...`.
PROGRESS_MARK, METRICS_MARK = "progress", "figures"

#: The image with torch, CUDA libraries and onnx: for the steps that read images in bulk, train and export.
TRAIN_IMAGE = f"driftloop-train:{__version__}"
#: The image without torch: source resolution, replay, monitoring, drift, gate, promotion, report.
WATCH_IMAGE = f"driftloop-watch:{__version__}"


def progress(fraction: float, text: str = "") -> None:
    """Report how much of the step is done: `fraction` in [0, 1]."""
    print(f"[driftloop {PROGRESS_MARK}] {fraction:.3f} {text}".rstrip(), flush=True)


def report_metrics(text: str) -> None:
    """Report the metrics that matter at the end of a step, in one short line."""
    print(f"[driftloop {METRICS_MARK}] {text}", flush=True)


class MetricsLog(Protocol):
    """KFP's `Metrics`: named numbers that its UI lists and compares between runs."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationLog(Protocol):
    """KFP's `ClassificationMetrics`: the ROC curve and the confusion matrix that its UI draws."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...
