"""`summary.json`: what a run found, in documented and versioned fields; an interface that scripts may rely on.

`schema_version` grows by one whenever a field changes its meaning or goes; new fields may be added without. Whatever a run's branch did
not produce is null. Accuracies are proportions with 95 % Wilson intervals.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from driftloop.evaluation.intervals import Proportion

SUMMARY_SCHEMA_VERSION = 1


class SummaryPart(BaseModel):
    """A part of the summary: closed, so that a misspelt field is an error where it is written."""

    model_config = ConfigDict(extra="forbid")


class AccuracySummary(SummaryPart):
    """Shares of correctly classified images."""

    baseline: Proportion | None = Field(None, description="plain CNN, clean test split")
    optimized: Proportion | None = Field(None, description="optimised net, clean test split")
    onnx_fp32: Proportion | None = Field(None, description="its FP32 ONNX graph, clean test split")
    onnx_int8: Proportion | None = Field(None, description="its INT8 ONNX graph, clean test split")
    retrained: Proportion | None = Field(None, description="retrained candidate as served, clean test split")
    champion_on_drifted: Proportion | None = Field(None, description="champion as served, drifted labelled hold-out")
    retrained_on_drifted: Proportion | None = Field(None, description="retrained candidate as served, drifted labelled hold-out")


class SpeedupSummary(SummaryPart):
    """Latency of PyTorch eager FP32 over that of the ONNX graph: batch 1, one thread, medians."""

    onnx_fp32: float | None = None
    onnx_int8: float | None = None


class DriftSummary(SummaryPart):
    """What the drift watch decided, and why."""

    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    p_values: dict[str, float | None] = Field(description="of the decisive window, by detector; null where no window was judged")
    reason: str


class GateSummary(SummaryPart):
    """What the validation gate decided, and why."""

    decision: str = Field(description="promote, reject or inconclusive")
    reasons: list[str]
    evidence: list[dict[str, Any]] = Field(description="one entry per criterion: name, holds, estimate, low, high, bound, n")


class ChampionSummary(SummaryPart):
    """The version that users got before and after the run."""

    before: str | None = None
    after: str | None = None


class TargetSummary(SummaryPart):
    """A figure the default run sets out to reach; `met` is null where the run's branch did not measure it."""

    goal: str
    measured: float | str | None
    met: bool | None


class ReportPaths(SummaryPart):
    """Paths of the reports, relative to the run's folder."""

    html: str | None = None
    pdf: str | None = None


class Summary(SummaryPart):
    """The whole of `summary.json`."""

    schema_version: int = SUMMARY_SCHEMA_VERSION
    pipeline: str = ""
    run_id: str = ""
    source: str | None = None
    seed: int | None = None
    seconds: float | None = Field(None, description="wall time of the whole run")
    steps: dict[str, float] = Field(default_factory=dict, description="wall time by step, in seconds")
    accuracy: AccuracySummary = AccuracySummary()
    speedup: SpeedupSummary = SpeedupSummary()
    drift: DriftSummary | None = None
    gate: GateSummary | None = None
    champion: ChampionSummary = ChampionSummary()
    targets: dict[str, TargetSummary] = {}
    report: ReportPaths = ReportPaths()
    error: str | None = Field(None, description="the one line that says why the run failed")


def summarise(
    facts: Mapping[str, Any], *, candidate: Mapping[str, Any] | None = None, before: str | None = None, after: str | None = None
) -> Summary:
    """Turn the facts that a run's directories carry into its summary; the caller adds `run_id`, `seconds` and `steps`.

    Args:
        facts: of the champion's training, the window and the drift evidence, by step name.
        candidate: the gate's facts (`validation_gate` of the evidence), where this run judged a candidate.
        before: the champion when the run's last stage began.
        after: the champion at its end.
    """
    data, baseline, optimized = (facts.get(step, {}) for step in ("data_analysis", "baseline_training", "model_optimization"))
    deployed, drift = facts.get("onnx_deployment", {}), facts.get("drift_detection")
    judged = (candidate or {}).get("accuracy", {})
    compared = judged.get("champion_clean") is not None
    summary = Summary(
        source=data.get("source"),
        seed=data.get("seed"),
        accuracy=AccuracySummary(
            baseline=baseline.get("accuracy"),
            optimized=optimized.get("accuracy"),
            onnx_fp32=deployed.get("accuracy_fp32"),
            onnx_int8=deployed.get("accuracy_int8"),
            retrained=judged.get("candidate_clean") if compared else None,
            champion_on_drifted=judged.get("champion_drifted"),
            retrained_on_drifted=judged.get("candidate_drifted"),
        ),
        speedup=SpeedupSummary(**deployed.get("speedup", {})),
        drift=DriftSummary(**{name: drift[name] for name in DriftSummary.model_fields}) if drift else None,
        gate=GateSummary(decision=candidate["decision"], reasons=candidate["reasons"], evidence=candidate["criteria"])
        if candidate
        else None,
        champion=ChampionSummary(before=before, after=after),
    )
    return summary.model_copy(update={"targets": target_summaries(summary, facts, candidate)})


def target_summaries(summary: Summary, facts: Mapping[str, Any], candidate: Mapping[str, Any] | None) -> dict[str, TargetSummary]:
    """The default run's targets held against what was measured."""
    accuracy = summary.accuracy
    served = facts.get("onnx_deployment", {}).get("served", "")
    int8_drop = _difference(accuracy.onnx_fp32, accuracy.onnx_int8)
    gain = _difference(accuracy.optimized, accuracy.baseline)
    criteria = {one["name"]: one for one in (candidate or {}).get("criteria", [])}
    clean = criteria.get("clean test") if accuracy.retrained else None
    champion_clean = (candidate or {}).get("accuracy", {}).get("champion_clean")
    recovered = _recovered(champion_clean, accuracy)
    return {
        "baseline": _above(accuracy.baseline, 0.70),
        "optimized": _above(accuracy.optimized, 0.80),
        "optimized_over_baseline": TargetSummary(goal="> 0", measured=gain, met=None if gain is None else gain > 0),
        "int8_drop": TargetSummary(
            goal="< 0.01, else FP32 is served",
            measured=int8_drop,
            met=None if int8_drop is None else int8_drop < 0.01 or not served.endswith("int8.onnx"),
        ),
        "drift_confirmed": TargetSummary(
            goal="drift confirmed",
            measured=summary.drift.verdict if summary.drift else None,
            met=facts["drift_detection"]["confirmed"] if summary.drift else None,
        ),
        "drift_recovered": TargetSummary(
            goal=">= 0.5 of what drift took", measured=recovered, met=None if recovered is None else recovered >= 0.5
        ),
        "clean_non_inferior": TargetSummary(
            goal="lower bound > -0.02", measured=clean["low"] if clean else None, met=clean["low"] > -0.02 if clean else None
        ),
    }


def _above(measured: Proportion | None, goal: float) -> TargetSummary:
    return TargetSummary(
        goal=f"> {goal:.2f}", measured=measured.value if measured else None, met=measured.value > goal if measured else None
    )


def _difference(first: Proportion | None, second: Proportion | None) -> float | None:
    return first.value - second.value if first and second else None


def _recovered(champion_clean: Mapping[str, float] | None, accuracy: AccuracySummary) -> float | None:
    """The share of the accuracy lost to drift that the retrained model wins back; None where nothing was lost or compared."""
    if champion_clean is None or accuracy.champion_on_drifted is None or accuracy.retrained_on_drifted is None:
        return None
    lost = champion_clean["value"] - accuracy.champion_on_drifted.value
    return (accuracy.retrained_on_drifted.value - accuracy.champion_on_drifted.value) / lost if lost > 0 else None
