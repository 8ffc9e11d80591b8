"""What a running step tells the person who waits: plain lines in its log, which the command line turns into a progress bar.

On a cluster the same lines read as they are in the pod's log.

What a step needs of KFP's artifact objects, so that steps do not import kfp.

The two container images, named by the release: components carry these names, `submit` pins them by content.
"""

from typing import Protocol

from driftloop import __version__

PROGRESS_MARK = "progress"


METRICS_MARK = "figures"


def progress(fraction: float, text: str = "") -> None:
    """Say how much of the step is done: `fraction` in [0, 1]."""
    print(f"[driftloop {PROGRESS_MARK}] {fraction:.3f} {text}".rstrip(), flush=True)


def report_metrics(text: str) -> None:
    """Say the figures that matter at the end of a step, in one short line."""
    print(f"[driftloop {METRICS_MARK}] {text}", flush=True)


class MetricsLog(Protocol):
    """KFP's `Metrics`: named numbers that its UI lists and compares between runs."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationLog(Protocol):
    """KFP's `ClassificationMetrics`: the ROC curve and the confusion matrix that its UI draws."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


#: torch, CUDA libraries, onnx: the steps that read images in bulk, train and export.
TRAIN_IMAGE = f"driftloop-train:{__version__}"


#: no torch: source resolution, replay, monitoring, drift, gate, promotion, report.
WATCH_IMAGE = f"driftloop-watch:{__version__}"
