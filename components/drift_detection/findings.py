"""Everything that a watch found out: what the report shows and the evidence records.

The verdict for someone who has never heard of a p-value.
"""

from dataclasses import dataclass

import pandas as pd

from components.drift_detection.explain import ExplainedWindow
from components.drift_detection.harm import AccuracyDrop
from components.drift_detection.policy import Verdict
from components.drift_detection.window_test import LabelFreeEstimate, TestedWindow
from components.drift_detection.windows import CutRows, TestLevel, WatchHistory
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.traffic import TrafficInfo
from driftloop.settings import DriftSettings


@dataclass(frozen=True)
class WatchFindings:
    """`spotlight` is None where no window was judged, `drop` where drift is not confirmed or no random label is there.
    `labels` counts the random ones of all confirmed windows.

    `coverage` has a row for each request that a window covers: request_id, window, drifted, confirmed; `requests` the images to label.
    """

    info: TrafficInfo
    settings: DriftSettings
    level: TestLevel
    size: int
    cut: CutRows
    regimes: list[str]
    history: WatchHistory
    judged: list[TestedWindow]
    confirmed: bool
    spotlight: ExplainedWindow | None
    clean: Proportion | None
    drop: AccuracyDrop | None
    labels: int
    label_free: LabelFreeEstimate | None
    verdict: Verdict
    coverage: pd.DataFrame
    requests: pd.DataFrame


#: What a rise and a fall of each statistic look like.
RISE_AND_FALL = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "flatter in contrast"),
    "sharpness": ("sharper", "blurrier"),
    "noise": ("noisier", "smoother"),
    "entropy": ("busier", "plainer"),
    "edge_density": ("richer in edges", "poorer in edges"),
    "saturation": ("more colourful", "paler"),
    "red_ratio": ("redder", "less red"),
    "blue_ratio": ("bluer", "less blue"),
}


def in_plain_words(findings: WatchFindings) -> str:
    """One sentence: what happened to the images, what it does to the model's work, and what follows."""
    if findings.verdict.name == "stable":
        return "Nothing to do: " + (
            "the images look like those the model was accepted for."
            if findings.judged and not any(one.window.drifted for one in findings.judged)
            else "there is no confirmed change in the images."
        )
    if not findings.confirmed:
        return "Look into it: " + findings.verdict.reason[0].lower() + findings.verdict.reason[1:]
    action = {
        "alert": "no retraining starts now",
        "needs_labels": "label the images on the list, so that we know whether it matters",
        "retrain": "the model is retrained now",
    }[findings.verdict.name]
    return f"The images have changed{_how(findings)}{_harm(findings)}: {action}."


def _how(findings: WatchFindings) -> str:
    moved = findings.spotlight.explanation.moved if findings.spotlight else []
    words = [RISE_AND_FALL.get(one.name, (f"higher in {one.name}", f"lower in {one.name}"))[one.shift < 0] for one in moved[:2]]
    return f" (they are {' and '.join(words)})" if words else ""


def _harm(findings: WatchFindings) -> str:
    drop = findings.drop
    if drop is None or drop.n < findings.settings.minimum_labels:
        return ", and nobody knows yet whether the model still gets them right"
    if drop.value <= 0:
        return ", and the model gets as many right as before"
    return f", and the model gets about {100 * drop.value:.0f} in 100 fewer right"
