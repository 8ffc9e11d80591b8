"""All that a watch has found, which the report shows and the evidence records; and its verdict for someone who knows no p-value."""

from dataclasses import dataclass

import pandas as pd

from components.drift_detection.explain import ExplainedWindow
from components.drift_detection.harm import AccuracyDrop
from components.drift_detection.judged_harm import JudgedHarm
from components.drift_detection.policy import Verdict
from components.drift_detection.pooled import PooledTest
from components.drift_detection.tags import TagFindings, TagLevel
from components.drift_detection.unlabelled import LabelFreeEstimate
from components.drift_detection.window_test import TestedWindow
from components.drift_detection.windows import AlarmLevel, CutRows, WatchHistory
from driftloop.contracts import GATE
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.traffic import TrafficInfo
from driftloop.next_steps import steps_after_watch
from driftloop.settings import DriftSettings
from driftloop.watch_record import AskedLabels, ClassRecall, StandingAcceptance

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


@dataclass(frozen=True)
class WatchFindings:
    """All that a watch has found."""

    info: TrafficInfo
    """What it covered."""
    settings: DriftSettings
    """The settings in force."""
    level: AlarmLevel
    """The level of each window's test."""
    size: int
    """Groups in a window."""
    cut: CutRows
    """How the rows were cut."""
    regimes: list[str]
    """Names of the accepted regimes."""
    history: WatchHistory
    """What earlier watches said."""
    tested: list[TestedWindow]
    """This watch's windows, oldest first."""
    confirmed: bool
    """Whether drift is confirmed."""
    pooled: PooledTest | None
    """The latest windows together, where only so they confirm it."""
    explained: ExplainedWindow | None
    """The decisive window; None where no window was tested."""
    clean: Proportion | None
    """The champion's accuracy on the clean test split, where it is known."""
    accuracies: dict[str, Proportion]
    """The champion's accuracy by accepted regime; empty where it is not known."""
    harm: JudgedHarm
    """What the random labels say: of all requests, or of the level of a tag that the verdict is about."""
    harms: list[JudgedHarm]
    """Of all requests, then of each level of a tag whose drift is confirmed."""
    levels: list[TagLevel]
    """The levels of tags in the traffic."""
    tags: list[TagFindings]
    """Those that can be tested."""
    recalls: list[ClassRecall]
    """What labels say of critical and rare classes under a confirmed drift of all requests."""
    label_free: LabelFreeEstimate | None
    """The estimate without labels."""
    verdict: Verdict
    """What follows."""
    coverage: pd.DataFrame
    """A row for each request that a window covers: request_id, window, drifted, confirmed."""
    requests: pd.DataFrame
    """The images to label."""
    asked: AskedLabels
    """How far their labels can decide."""
    acceptances: list[StandingAcceptance]
    """Of the drifts that were accepted, of all requests and of levels."""

    @property
    def drop(self) -> AccuracyDrop | None:
        """The accuracy drop that the verdict stands on; None where drift is not confirmed or no random label is there."""
        return self.harm.judged

    @property
    def next_steps(self) -> list[str]:
        """What a person does now."""
        return steps_after_watch(self.verdict.name, self.info.store, self.asked, harmless=self.verdict.harmless, concept=self.harm.concept)

    @property
    def labels(self) -> int:
        """Random labels of the images that a retraining would learn from."""
        return self.harm.labels

    @property
    def drifted_windows(self) -> int:
        """How many of this watch's windows drifted."""
        return sum(window.record.drifted for window in self.tested)


def in_plain_words(findings: WatchFindings) -> str:
    """A sentence: what happened to the images, what it does to the model's work, and what follows."""
    if findings.harm.tag:
        return f"The images of {findings.harm.tag} have changed{_harm(findings)} there: {_action(findings)}."
    if findings.verdict.name == "stable" and findings.confirmed:
        return "Nothing to do: the images have changed, which was accepted as harmless, and labels say nothing else."
    if findings.verdict.name == "stable":
        return "Nothing to do: " + (
            "the images look like those the model was accepted for."
            if findings.tested and not findings.drifted_windows
            else "there is no confirmed change in the images."
        )
    if findings.harm.concept:
        return f"The images look as before, but the right answers have changed{_harm(findings)}: {_action(findings)}."
    if findings.verdict.nothing_to_win:
        return "The images do the model's work no harm that is known, and the calendar asks for a retraining: the model is retrained now."
    if not findings.confirmed:
        return "Look into it: " + findings.verdict.reason[0].lower() + findings.verdict.reason[1:]
    changed = "The images have changed a little, which only many of them show" if findings.pooled else "The images have changed"
    return f"{changed}{_how(findings)}{_harm(findings)}: {_action(findings)}."


def _action(findings: WatchFindings) -> str:
    wanted = "so that a retraining can begin" if findings.verdict.purpose == GATE else "so that we know whether it matters"
    label = f"label the images on the list, {wanted}"
    if findings.asked.in_vain:
        label = "no number of labels will tell whether it matters"
    elif not findings.asked.images:
        label = "all images that can be labelled are, and the next windows bring more"
    return {
        "alert": "no retraining starts now",
        "needs_labels": label,
        "retrain": "the model is retrained now",
    }[findings.verdict.name]


def _how(findings: WatchFindings) -> str:
    moved = findings.explained.explanation.moved if findings.explained else []
    if any(shift.name == "noise" and shift.shift > 0 for shift in moved):
        # Noise inflates what sharpness is measured by: such images are grainier, and may be blurred at the same time.
        moved = [shift for shift in moved if not (shift.name == "sharpness" and shift.shift > 0)]
    words = [RISE_AND_FALL.get(shift.name, (f"higher in {shift.name}", f"lower in {shift.name}"))[shift.shift < 0] for shift in moved[:2]]
    return f" (they are {' and '.join(words)})" if words else ""


def _harm(findings: WatchFindings) -> str:
    drop = findings.drop
    if drop is None or drop.n < findings.settings.harm_labels:
        return ", and nobody knows yet whether the model still gets them right"
    if drop.value <= 0:
        return ", and the model gets as many right as before"
    return f", and the model gets about {100 * drop.value:.0f} in 100 fewer right"
