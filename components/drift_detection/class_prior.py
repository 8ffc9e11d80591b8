"""Have the shares of the predicted classes moved? Explains, never decides."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Cohen's (1988) reading of w: below the first negligible, then small, medium, large.
SMALL, MEDIUM, LARGE = 0.1, 0.3, 0.5


@dataclass(frozen=True)
class ClassPriorResult:
    """Shares are (K,) and sum to one; `effect_size` is Cohen's w; `total_variation` half the sum of the shares' differences."""

    reference_shares: np.ndarray
    window_shares: np.ndarray
    p_value: float
    effect_size: float
    total_variation: float

    @property
    def reading(self) -> str:
        return ("negligible", "small", "medium", "large")[int(np.searchsorted([SMALL, MEDIUM, LARGE], self.effect_size, side="right"))]


def class_prior_test(reference: np.ndarray, window: np.ndarray) -> ClassPriorResult:
    """Chi-square test of homogeneity over class counts, with Cohen's w = sqrt(sum((q - p)^2 / p)).

    Pearson's statistic without continuity correction. For w, p are the reference's shares; where the window holds a class that the
    reference lacks, half a case is added to each count of the reference.

    Args:
        reference: counts (K,) of the predicted classes.
        window: counts (K,).

    Raises:
        ValueError: different lengths, a negative or non-finite count, or a side without cases.
    """
    reference, window = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    if reference.ndim != 1 or reference.shape != window.shape:
        raise ValueError(f"class counts must be two vectors of the same length, got shapes {reference.shape} and {window.shape}")
    for name, counts in (("reference", reference), ("window", window)):
        if not np.isfinite(counts).all() or (counts < 0).any() or counts.sum() == 0:
            raise ValueError(f"{name}: class counts must be finite, not negative and not all zero, got {counts.tolist()}")
    seen = reference + window > 0
    table = np.stack([reference[seen], window[seen]])
    p_value = float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
    p, q = reference[seen] / reference.sum(), window[seen] / window.sum()
    basis = p if (p > 0).all() else (reference[seen] + 0.5) / (reference[seen] + 0.5).sum()
    return ClassPriorResult(
        reference_shares=reference / reference.sum(),
        window_shares=window / window.sum(),
        p_value=p_value,
        effect_size=float(np.sqrt(np.sum((q - basis) ** 2 / basis))),
        total_variation=float(np.abs(p - q).sum() / 2),
    )
