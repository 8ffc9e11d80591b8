"""What a run teaches: sentences and tables made of its own numbers, and only of those that it measured.

`lesson_texts` are sentences, one a theme. `variant_rows` say when to use which variant of the model, `practice_rows` what this run has
to show for each best practice, `maturity_rows` where it stands on the MLOps maturity levels and what the next one asks for.
"""

from typing import Any

from driftloop.bundle import ONNX_FP16, ONNX_FP32, ONNX_INT8
from driftloop.contracts import CONFIRMED_BY, DATA_ANALYSIS, DRIFT_DETECTION, MODEL_OPTIMIZATION, ONNX_DEPLOYMENT, TEST
from driftloop.summary import Summary

VARIANT_NAMES = {"pytorch": "PyTorch FP32 (eager)", "onnx_fp32": "ONNX FP32", "onnx_int8": "ONNX INT8", "onnx_fp16": "ONNX FP16"}
SERVED_NAMES = {ONNX_FP32: "onnx_fp32", ONNX_INT8: "onnx_int8", ONNX_FP16: "onnx_fp16"}
VARIANT_ADVICE = {
    "pytorch": "to train further and to look inside; not to serve",
    "onnx_fp32": "to serve where every tenth of a point counts, or where INT8 lost too much",
    "onnx_int8": "to serve on CPUs: the smallest and fastest, if the gate's bound on its loss holds",
    "onnx_fp16": "to serve many images at a time on GPUs; one at a time, FP32 may be as fast",
}


def lesson_texts(summary: Summary, facts: dict[str, Any], candidate: dict[str, Any] | None) -> list[str]:
    """What this run teaches, in the order of the themes."""
    parts = [
        _optimisation_lesson(summary),
        _ablation_lesson(facts),
        _quantisation_lesson(facts),
        _drift_lesson(facts),
        _retraining_lesson(summary, candidate),
    ]
    return [part for part in parts if part]


def _optimisation_lesson(summary: Summary) -> str:
    first, second = summary.accuracy.baseline, summary.accuracy.optimized
    if first is None or second is None:
        return ""
    points = 100 * (second.value - first.value)
    apart = "their intervals do not overlap" if second.low > first.high else "their intervals overlap"
    return f"Optimisation moved the test accuracy by {points:+.1f} points, from {first.value:.3f} to {second.value:.3f}; {apart}."


def _ablation_lesson(facts: dict[str, Any]) -> str:
    rows = facts.get(MODEL_OPTIMIZATION, {}).get("ablation") or []
    if len(rows) < 2:
        return ""
    steps = [f"{row['name']} {row['val_accuracy']:.3f}" for row in rows]
    return (
        f"The run's own ablation, on the validation split and with shorter trainings: {', '.join(steps)}. "
        "Differences of a few points are noise at this size."
    )


def _quantisation_lesson(facts: dict[str, Any]) -> str:
    deployed = facts.get(ONNX_DEPLOYMENT, {})
    drop, speed = deployed.get("int8_drop"), deployed.get("speedup")
    if not drop or not speed:
        return ""
    return (
        f"INT8 changes the test accuracy by {-100 * drop['value']:+.2f} points "
        f"({-100 * drop['high']:+.2f} to {-100 * drop['low']:+.2f}) and is "
        f"{speed['onnx_int8']:.1f} times as fast as PyTorch; ONNX alone is {speed['onnx_fp32']:.1f} times as fast. "
        f"{deployed.get('served_reason', '')}"
    )


def _drift_lesson(facts: dict[str, Any]) -> str:
    drift = facts.get(DRIFT_DETECTION)
    if not drift or not drift.get("windows"):
        return ""
    drifted = sum(window["drifted"] for window in drift["windows"])
    return (
        f"{drifted} of {len(drift['windows'])} windows drifted; drift is confirmed by {CONFIRMED_BY}, so that one unlucky window "
        "retrains nothing."
    )


def _retraining_lesson(summary: Summary, candidate: dict[str, Any] | None) -> str:
    champion, retrained, clean = summary.accuracy.champion_on_drifted, summary.accuracy.retrained_on_drifted, summary.accuracy.retrained
    before = (candidate or {}).get("accuracy", {}).get("champion_clean")
    if champion is None or retrained is None or clean is None or before is None:
        return ""
    share = summary.targets["drift_recovered"].measured
    recovered = f" It won back {100 * share:.0f} % of what drift took." if isinstance(share, float) else ""
    return (
        f"On drifted images the champion reached {champion.value:.3f} and the retrained model {retrained.value:.3f}; "
        f"on clean images they reach {before['value']:.3f} and {clean.value:.3f}.{recovered}"
    )


def variant_rows(facts: dict[str, Any]) -> list[dict[str, object]]:
    """One row per variant: accuracy on the clean test split, speed against PyTorch, and when to take it."""
    deployed, optimized = facts.get(ONNX_DEPLOYMENT, {}), facts.get(MODEL_OPTIMIZATION, {})
    accuracies = {
        "pytorch": optimized.get("accuracy"),
        "onnx_fp32": deployed.get("accuracy_fp32"),
        "onnx_int8": deployed.get("accuracy_int8"),
    } | ({"onnx_fp16": deployed["accuracy_fp16"]} if deployed.get("accuracy_fp16") else {})
    served = SERVED_NAMES.get(deployed.get("served", ""))
    return [
        {
            "variant": VARIANT_NAMES[name] + (" (served)" if name == served else ""),
            "accuracy": accuracy["value"] if accuracy else None,
            "speed": 1.0 if name == "pytorch" else deployed.get("speedup", {}).get(name),
            "take it": VARIANT_ADVICE[name],
        }
        for name, accuracy in accuracies.items()
    ]


def practice_rows(summary: Summary, facts: dict[str, Any]) -> list[dict[str, object]]:
    """One row per practice: what it guards against, and this run's evidence (a dash where its branch has none)."""
    data, drift = facts.get(DATA_ANALYSIS, {}), facts.get(DRIFT_DETECTION, {})
    counts = data.get("counts", {})
    gate = summary.gate
    return [
        {
            "practice": "Split by group, not by image",
            "guards against": "one patient in training and test",
            "evidence": f"{data['groups']:,} groups over {len(counts)} splits" if data.get("groups") else None,
        },
        {
            "practice": "A test split that chooses nothing",
            "guards against": "numbers that only look good",
            "evidence": f"{counts[TEST]:,} test images" if counts.get(TEST) else None,
        },
        {
            "practice": "Intervals beside every accuracy",
            "guards against": "celebrating noise",
            "evidence": str(summary.accuracy.optimized) if summary.accuracy.optimized else None,
        },
        {
            "practice": "Compare what is served",
            "guards against": "a graph that behaves unlike the training code",
            "evidence": f"{facts[ONNX_DEPLOYMENT]['served']} is judged and served" if facts.get(ONNX_DEPLOYMENT) else None,
        },
        {
            "practice": "Tests with a known error rate",
            "guards against": "thresholds that alarm on clean weeks",
            "evidence": f"alpha {drift['alpha']:.3g} a window, confirmed by {CONFIRMED_BY}" if drift.get("alpha") else None,
        },
        {
            "practice": "A gate before promotion",
            "guards against": "replacing a good model by a worse one",
            "evidence": f"{sum(bool(criterion['holds']) for criterion in gate.evidence)} of {len(gate.evidence)} criteria hold"
            if gate
            else None,
        },
        {
            "practice": "Versions that never change, one pointer",
            "guards against": "not being able to go back",
            "evidence": _way_back(summary),
        },
    ]


def _way_back(summary: Summary) -> str | None:
    before, after = summary.champion.before, summary.champion.after
    if not after:
        return None
    if before and before != after:
        return f"version {after} serves; `driftloop models rollback` brings version {before} back"
    return f"version {after} serves; the next one can be rolled back to it"


def maturity_rows(summary: Summary) -> list[dict[str, object]]:
    """The levels, each with whether this run shows it and what it takes."""
    watched, judged = summary.drift is not None, summary.gate is not None
    return [
        {
            "level": "0: manual process",
            "asks for": "a model trained and handed over by people",
            "this run": "passed",
        },
        {
            "level": "1: pipeline automation",
            "asks for": "data and model validation, monitoring, and retraining that a trigger starts",
            "this run": "shown: monitored, retrained and gated without a person"
            if judged
            else ("monitored; nothing had to be retrained" if watched else "trained only; run a drift watch on a schedule"),
        },
        {
            "level": "2: CI/CD automation",
            "asks for": "tested, versioned pipelines deployed by continuous integration, on real clusters",
            "this run": "beyond one run: compile, test and schedule the pipelines from continuous integration",
        },
    ]
