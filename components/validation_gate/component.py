"""The KFP component of the validation gate."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def validation_gate(
    dataset: Input[Dataset],
    candidate: Input[Model],
    margin: float,
    critical_classes: str,
    config: dict,
    evidence: Output[Artifact],
    summary: Output[Markdown],
    champion: Input[Model] = None,
    traffic: Input[Dataset] = None,
) -> str:
    """Decide whether a candidate may replace the champion: promote, reject or inconclusive.

    Args:
        dataset: the clean test split, and the drifted hold-out where the candidate was retrained for a drift.
        candidate: the exported bundle in question; what is judged is the graph that would be served.
        margin: clean accuracy that may be lost at most, as a share (0.02 for two points).
        critical_classes: classes that must be shown not to be lost, separated by commas.
        config: overrides of the gate's other settings.
        evidence: gate.json with every criterion, bound and reason.
        summary: the decision for people.
        champion: the bundle that serves now, or a link to it; without it, the one that the dataset's home store names, if any.
        traffic: what the watch read that the retraining answers to, with the records of earlier watches.
    """
    from components.validation_gate.step import run

    return run(
        dataset.path,
        candidate.path,
        evidence.path,
        summary.path,
        margin=margin,
        critical_classes=critical_classes,
        config=config,
        champion=champion.path if champion else None,
        traffic=traffic.path if traffic else None,
    )
