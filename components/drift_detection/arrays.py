"""What every detector asks of its two samples, checked once: the same columns, enough rows, only finite numbers."""

import numpy as np

#: Beyond this a float32 squared distance overflows; the kernel of such a pair is zero either way.
LARGEST = 1e15


def check_samples(reference: np.ndarray, window: np.ndarray, *, least: int = 2) -> None:
    """Refuse samples that no test can compare.

    Args:
        reference: (N, D) numbers.
        window: (M, D) numbers.
        least: rows that each side must have.

    Raises:
        ValueError: not two-dimensional, different D, D = 0, too few rows, or a value that is not finite; the message says where.
    """
    for name, sample in (("reference", reference), ("window", window)):
        if sample.ndim != 2 or sample.shape[1] == 0:
            raise ValueError(f"{name}: expected rows of numbers, shape (rows, columns), got {sample.shape}")
        if len(sample) < least:
            raise ValueError(f"{name}: {len(sample)} rows, at least {least} are needed")
        finite = np.isfinite(sample)
        if not finite.all():
            row, column = (int(index) for index in np.argwhere(~finite)[0])
            raise ValueError(f"{name}: {sample[row, column]} at row {row}, column {column}; only finite numbers can be compared")
    if reference.shape[1] != window.shape[1]:
        raise ValueError(f"reference has {reference.shape[1]} columns and window {window.shape[1]}; both must come from the same graph")
