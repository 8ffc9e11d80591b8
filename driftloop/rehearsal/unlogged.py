"""What takes the place of KFP's metrics where no pipeline runs."""


class Unlogged:
    """Takes metrics, curves and matrices, and keeps none: the facts that the steps write hold the same figures."""

    def log_metric(self, metric: str, value: float) -> None: ...

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...
