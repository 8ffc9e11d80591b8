"""Stand-ins for KFP's artifacts of metrics."""

import numpy as np


class MetricsFile:
    """Collects metrics as KFP's artifact does."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def log_metric(self, metric: str, value: float) -> None:
        self.values[metric] = value


class RocFile:
    """Collects what KFP's ClassificationMetrics takes, and refuses what it cannot store."""

    def __init__(self) -> None:
        self.curve: tuple[list[float], list[float], list[float]] | None = None
        self.categories: list[str] = []
        self.matrix: list[list[int]] = []

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        assert len(fpr) == len(tpr) == len(threshold)
        assert np.isfinite([fpr, tpr, threshold]).all()
        self.curve = (fpr, tpr, threshold)

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        self.categories, self.matrix = categories, matrix
