"""Black-box shift detection: what the classifier's own outputs say (Lipton et al. 2018; Rabanser et al. 2019). Explains, never decides."""

import numpy as np

from components.drift_detection.ks import KSResult, ks_test


def bbsd_test(reference: np.ndarray, window: np.ndarray) -> KSResult:
    """Kolmogorov-Smirnov over the softmax outputs, with Holm's correction over the classes.

    With two classes the second output is one minus the first and says nothing new, so only the first is tested.

    Args:
        reference: probabilities (N, K).
        window: probabilities (M, K).

    Raises:
        ValueError: fewer than 2 rows on a side, different K, or a value that is not finite (the message says where).
    """
    if reference.ndim == window.ndim == 2 and reference.shape[1] == window.shape[1] == 2:
        reference, window = reference[:, :1], window[:, :1]
    return ks_test(reference, window)
