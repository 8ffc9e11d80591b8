"""An accuracy estimate that needs no labels: average thresholded confidence (Garg et al. 2022). Shown with its caveat.

It assumes that the model is as calibrated under the drift as before. Under noise a network can stay confident and be wrong: the
estimate may then be far too high. It may therefore ask for labels, but it never calms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.drift_detection.inputs import Accepted
from components.drift_detection.judging import Judged

CAVEAT = (
    "This estimate trusts the champion's own confidence, which some drifts (noise above all) leave high while accuracy falls. "
    "It can be far too optimistic; only random labels tell."
)


@dataclass(frozen=True)
class LabelFree:
    """Estimated accuracy without labels, and how much lower that is than the same estimate for what the champion was accepted for."""

    accuracy: float
    drop: float


def estimate_without_labels(accepted: Accepted, judged: Sequence[Judged]) -> LabelFree | None:
    """The estimate over this watch's drifted windows, or over its newest where none drifted.

    The drop is from the mixture of regimes that each window was compared with: a champion that was accepted for a hard drift is not as
    sure there as on clean images, and that is no news.

    None where no window was judged or the champion's clean accuracy is unknown.
    """
    if not judged or accepted.clean is None:
        return None
    confidences = [sample.probabilities.max(axis=1) for sample in accepted.regimes.samples]

    def estimate(of: np.ndarray) -> float:
        return thresholded_confidence(confidences[0], of, accepted.clean.value)  # type: ignore[union-attr]

    by_regime = np.array([estimate(of) for of in confidences])
    concerned = [one for one in judged if one.window.drifted] or [judged[-1]]
    sizes = [len(one.sample) for one in concerned]
    accuracy = float(np.average([estimate(one.sample.probabilities.max(axis=1)) for one in concerned], weights=sizes))
    expected = float(np.average([one.judgement.weights @ by_regime for one in concerned], weights=sizes))
    return LabelFree(accuracy, expected - accuracy)


def thresholded_confidence(reference: np.ndarray, window: np.ndarray, clean_accuracy: float) -> float:
    """Estimated accuracy on a window: the share of its confidences above the threshold that fits the clean accuracy.

    The threshold is chosen so that the same share of the clean reference lies above it as the champion gets right.

    Args:
        reference: largest class probabilities (N,) on the clean reference.
        window: the same (M,) on the window.
        clean_accuracy: of the champion as served, in [0, 1].

    Raises:
        ValueError: an empty sample, or an accuracy outside [0, 1].
    """
    if len(reference) == 0 or len(window) == 0 or not 0 <= clean_accuracy <= 1:
        sizes = f"{len(reference)} and {len(window)}"
        raise ValueError(f"thresholded confidence: needs values on both sides and an accuracy in [0, 1], got {sizes}, {clean_accuracy}")
    threshold = np.quantile(reference, 1 - clean_accuracy)
    return float(np.mean(window >= threshold))
