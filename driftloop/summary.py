"""`summary.json`: the results of a run, in documented and versioned fields; an interface that scripts may rely on.

`schema_version` grows by one whenever a field changes its meaning or goes; new fields may be added without that. Whatever a run's branch
did not produce is null. Accuracies are proportions with 95 % Wilson intervals, widened where several images are of
one patient or lot.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from driftloop.bundle import ONNX_INT8
from driftloop.contracts import (
    BASELINE_TARGET,
    BASELINE_TRAINING,
    CLEAN_LOSS_TARGET,
    CLEAN_TEST,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    INT8_DROP_TARGET,
    MODEL_OPTIMIZATION,
    ONNX_DEPLOYMENT,
    OPTIMIZED_TARGET,
    RECOVERED_TARGET,
)
from driftloop.evaluation.intervals import Proportion
from driftloop.next_steps import steps_after_watch
from driftloop.watch_record import AskedLabels

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

    onnx_fp32: float | None = Field(None, description="of the FP32 graph")
    onnx_int8: float | None = Field(None, description="of the INT8 graph")


class DriftSummary(SummaryPart):
    """What the drift watch decided, and why."""

    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    p_values: dict[str, float | None] = Field(description="of the decisive window, by detector; null where no window was judged")
    reason: str = Field(description="of the verdict, in one sentence")
    next_steps: list[str] = Field([], description="what a person does now, a sentence or two each")


class GateSummary(SummaryPart):
    """What the validation gate decided, and why."""

    decision: str = Field(description="promote, reject or inconclusive")
    reasons: list[str] = Field(description="of the decision, a sentence each")
    evidence: list[dict[str, Any]] = Field(description="one entry per criterion: name, holds, estimate, low, high, bound, n")


class ChampionSummary(SummaryPart):
    """The version that users got before and after the run."""

    before: str | None = Field(None, description="before the run; null where there was none")
    after: str | None = Field(None, description="after the run; null where nothing was promoted yet")


class TargetSummary(SummaryPart):
    """What the default run sets out to reach, and whether it did."""

    goal: str = Field(description="the target in words")
    measured: float | str | None = Field(description="null where the run's branch did not measure it")
    met: bool | None = Field(description="null where the run's branch did not measure it, or where it could not be reached")


class ReportPaths(SummaryPart):
    """Paths of the reports, relative to the run's folder."""

    html: str | None = Field(None, description="the report for the web")
    pdf: str | None = Field(None, description="the same report for print")


class Summary(SummaryPart):
    """The whole of `summary.json`."""

    schema_version: int = Field(SUMMARY_SCHEMA_VERSION, description="of these fields")
    pipeline: str = Field("", description="name of the pipeline that ran")
    run_id: str = Field("", description="name of the run's folder")
    source: str | None = Field(None, description="where the images came from")
    seed: int | None = Field(None, description="of every random choice of the run")
    seconds: float | None = Field(None, description="wall time of the whole run")
    steps: dict[str, float] = Field(default_factory=dict, description="wall time by step, in seconds")
    accuracy: AccuracySummary = Field(AccuracySummary(), description="of every model that the run measured")
    speedup: SpeedupSummary = Field(SpeedupSummary(), description="of the exported graphs")
    drift: DriftSummary | None = Field(None, description="where production was watched")
    gate: GateSummary | None = Field(None, description="where a candidate was judged")
    champion: ChampionSummary = Field(ChampionSummary(), description="the version that users get")
    targets: dict[str, TargetSummary] = Field({}, description="of the default run, by name")
    report: ReportPaths = Field(ReportPaths(), description="where the run's reports lie")
    error: str | None = Field(None, description="the one line that says why the run failed")


def summarise(
    facts: Mapping[str, Any], *, candidate: Mapping[str, Any] | None = None, before: str | None = None, after: str | None = None
) -> Summary:
    """Turn the facts that a run's directories carry into its summary; the caller adds `run_id`, `seconds` and `steps`.

    Args:
        facts: of the champion's training, the traffic and the drift evidence, by step name.
        candidate: the gate's facts (`validation_gate` of the evidence), where this run judged a candidate.
        before: the champion when the run's last stage began.
        after: the champion at its end.
    """
    data, baseline, optimized = (facts.get(step, {}) for step in (DATA_ANALYSIS, BASELINE_TRAINING, MODEL_OPTIMIZATION))
    deployed, drift = facts.get(ONNX_DEPLOYMENT, {}), facts.get(DRIFT_DETECTION)
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
        drift=_drift_summary(drift, candidate, before, after) if drift else None,
        gate=GateSummary(decision=candidate["decision"], reasons=candidate["reasons"], evidence=candidate["criteria"])
        if candidate
        else None,
        champion=ChampionSummary(before=before, after=after),
    )
    return summary.model_copy(update={"targets": target_summaries(summary, facts, candidate)})


def _drift_summary(drift: Mapping[str, Any], candidate: Mapping[str, Any] | None, before: str | None, after: str | None) -> DriftSummary:
    summary = DriftSummary(**{name: drift[name] for name in ("verdict", "p_values", "reason")})
    if "store" not in drift:  # facts of an earlier release
        return summary
    steps = steps_after_watch(
        drift["verdict"],
        drift["store"],
        AskedLabels(**drift["asked"]),
        decision=candidate["decision"] if candidate else None,
        promoted=after if after and after != before else None,
        harmless=drift["harmless"],
        concept=drift.get("concept", False),
    )
    return summary.model_copy(update={"next_steps": steps})


def target_summaries(summary: Summary, facts: Mapping[str, Any], candidate: Mapping[str, Any] | None) -> dict[str, TargetSummary]:
    """The default run's targets held against what was measured."""
    accuracy = summary.accuracy
    served = facts.get(ONNX_DEPLOYMENT, {}).get("served", "")
    int8_drop = _difference(accuracy.onnx_fp32, accuracy.onnx_int8)
    gain = _difference(accuracy.optimized, accuracy.baseline)
    criteria = {criterion["name"]: criterion for criterion in (candidate or {}).get("criteria", [])}
    clean = criteria.get(CLEAN_TEST) if accuracy.retrained else None
    champion_clean = (candidate or {}).get("accuracy", {}).get("champion_clean")
    recovered = _recovered(champion_clean, accuracy)
    return {
        "baseline": _above(accuracy.baseline, BASELINE_TARGET),
        "optimized": _above(accuracy.optimized, OPTIMIZED_TARGET),
        "optimized_over_baseline": _gained(gain, accuracy.baseline),
        "int8_drop": TargetSummary(
            goal=f"< {INT8_DROP_TARGET:g}, else FP32 is served",
            measured=int8_drop,
            met=None if int8_drop is None else int8_drop < INT8_DROP_TARGET or served != ONNX_INT8,
        ),
        "drift_confirmed": TargetSummary(
            goal="drift confirmed",
            measured=summary.drift.verdict if summary.drift else None,
            met=facts[DRIFT_DETECTION]["confirmed"] if summary.drift else None,
        ),
        "drift_recovered": TargetSummary(
            goal=f">= {RECOVERED_TARGET:g} of what drift took",
            measured=recovered,
            met=None if recovered is None else recovered >= RECOVERED_TARGET,
        ),
        "clean_non_inferior": TargetSummary(
            goal=f"lower bound > {-CLEAN_LOSS_TARGET:g}",
            measured=clean["low"] if clean else None,
            met=clean["low"] > -CLEAN_LOSS_TARGET if clean else None,
        ),
    }


def _above(measured: Proportion | None, goal: float) -> TargetSummary:
    return TargetSummary(
        goal=f"> {goal:.2f}", measured=measured.value if measured else None, met=measured.value > goal if measured else None
    )


def _gained(gain: float | None, baseline: Proportion | None) -> TargetSummary:
    """Neither met nor missed where the baseline has every image right already, and so has what follows it."""
    if gain == 0 and baseline is not None and baseline.value == 1:
        return TargetSummary(goal="> 0", measured="nothing left to gain", met=None)
    return TargetSummary(goal="> 0", measured=gain, met=None if gain is None else gain > 0)


def _difference(first: Proportion | None, second: Proportion | None) -> float | None:
    return first.value - second.value if first and second else None


def _recovered(champion_clean: Mapping[str, float] | None, accuracy: AccuracySummary) -> float | None:
    """The share of the accuracy lost to drift that the retrained model wins back; None where nothing was lost or compared."""
    if champion_clean is None or accuracy.champion_on_drifted is None or accuracy.retrained_on_drifted is None:
        return None
    lost = champion_clean["value"] - accuracy.champion_on_drifted.value
    return (accuracy.retrained_on_drifted.value - accuracy.champion_on_drifted.value) / lost if lost > 0 else None
