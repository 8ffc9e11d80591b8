"""How far a classifier's confidence is from its accuracy, in bins of equally many images."""

import numpy as np

BINS = 10
#: The name of the error among a model's measures. Chance can only raise it, and draws raise it once more: it has no interval, as all of a
#: calibrated model's would lie above the truth.
CALIBRATION_ERROR = "calibration_error_on_test"


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and number of images in 10 bins of equally many images, by rising confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), BINS) if len(part)]
    return (
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: the mean distance of confidence from accuracy over the bins of `reliability_bins`."""
    confidence, accuracy, count = reliability_bins(probabilities, labels)
    return float((np.abs(confidence - accuracy) * count).sum() / count.sum())
