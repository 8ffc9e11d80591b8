"""What the champion's own confidence says about its accuracy, without labels, and which regimes a window is nearest to.

The estimate is average thresholded confidence (Garg et al. 2022). It assumes that the model is as calibrated under the drift as before.
Under noise a network can stay confident and be wrong: the estimate may then be far too high. It may therefore ask for labels, but it
never calms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from components.drift_detection.reference import AcceptedTraffic, Sample
from components.drift_detection.window_test import TestedWindow
from driftloop.evaluation.classification import named_classes, probability_of

LABEL_FREE_CAVEAT = (
    "This estimate trusts the champion's own confidence, which some drifts (noise above all) leave high while accuracy falls. "
    "It can be far too optimistic; only random labels tell."
)


@dataclass(frozen=True)
class LabelFreeEstimate:
    """What the champion's own confidence says about its accuracy."""

    accuracy: float
    """Estimated without labels, in [0, 1]."""
    drop: float
    """How much lower that is than the same estimate for what the champion was accepted for."""


def estimate_without_labels(accepted: AcceptedTraffic, tested: Sequence[TestedWindow]) -> LabelFreeEstimate | None:
    """The estimate over this watch's drifted windows, or over its newest where none drifted.

    The drop is from the mixture of regimes that each window was compared with: a champion that was accepted for a hard drift is not as
    sure there as on clean images, and that is no news.

    None where no window was tested or the champion's clean accuracy is unknown.
    """
    estimate = _estimate(accepted)
    if not tested or estimate is None:
        return None
    concerned = [window for window in tested if window.record.drifted] or [tested[-1]]
    sizes = [len(window.sample) for window in concerned]
    estimates = [estimate(window) for window in concerned]
    return LabelFreeEstimate(
        float(np.average([found.accuracy for found in estimates], weights=sizes)),
        float(np.average([found.drop for found in estimates], weights=sizes)),
    )


def with_expectations(accepted: AcceptedTraffic, tested: Sequence[TestedWindow]) -> list[TestedWindow]:
    """The windows with what their records say, beside the test, of the nearest regimes and of the champion's confidence."""
    estimate = _estimate(accepted)
    return [
        replace(
            window,
            record=window.record.model_copy(
                update={
                    "mixture": {
                        name: float(share) for name, share in zip(accepted.regimes.names, window.test.weights, strict=True) if share > 0
                    },
                    "label_free_drop": estimate(window).drop if estimate else None,
                }
            ),
        )
        for window in tested
    ]


def _estimate(accepted: AcceptedTraffic) -> Callable[[TestedWindow], LabelFreeEstimate] | None:
    """The estimate for a window; None where the clean accuracy is not known."""
    if accepted.clean is None:
        return None
    clean, shares = accepted.clean.value, accepted.model.naming_shares

    def confidence(sample: Sample) -> np.ndarray:
        return probability_of(named_classes(sample.probabilities, shares), sample.probabilities)

    confidences = [confidence(sample) for sample in accepted.regimes.samples]
    by_regime = np.array([thresholded_confidence(confidences[0], of, clean) for of in confidences])

    def estimate(window: TestedWindow) -> LabelFreeEstimate:
        accuracy = thresholded_confidence(confidences[0], confidence(window.sample), clean)
        return LabelFreeEstimate(accuracy, float(window.test.weights @ by_regime) - accuracy)

    return estimate


def thresholded_confidence(reference: np.ndarray, window: np.ndarray, clean_accuracy: float) -> float:
    """Estimated accuracy on a window: the share of its confidences above the threshold that fits the clean accuracy.

    The threshold is chosen so that the same share of the clean reference lies above it as the champion gets right.

    Args:
        reference: probabilities of the classes that are named (N,) on the clean reference.
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
