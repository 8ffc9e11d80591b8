"""What a step needs of KFP's artifact objects, so that steps do not import kfp."""

from typing import Protocol


class MetricsLog(Protocol):
    """KFP's `Metrics`: named numbers that its UI lists and compares between runs."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationLog(Protocol):
    """KFP's `ClassificationMetrics`: the ROC curve and the confusion matrix that its UI draws."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...
