"""Lessons of a run: sentences made of its own figures, and only of those it measured."""

from typing import Any

from driftloop.summary import Summary


def lessons(summary: Summary, facts: dict[str, Any], candidate: dict[str, Any] | None) -> list[str]:
    """What this run teaches, in the order of the themes."""
    parts = [_optimisation(summary), _ablation(facts), _quantisation(facts), _drift(facts), _retraining(summary, candidate)]
    return [part for part in parts if part]


def _optimisation(summary: Summary) -> str:
    first, second = summary.accuracy.baseline, summary.accuracy.optimized
    if first is None or second is None:
        return ""
    points = 100 * (second.value - first.value)
    apart = "their intervals do not overlap" if second.low > first.high else "their intervals overlap"
    return f"Optimisation moved the test accuracy by {points:+.1f} points, from {first.value:.3f} to {second.value:.3f}; {apart}."


def _ablation(facts: dict[str, Any]) -> str:
    rows = facts.get("model_optimization", {}).get("ablation") or []
    if len(rows) < 2:
        return ""
    steps = [f"{row['name']} {row['val_accuracy']:.3f}" for row in rows]
    return (
        f"The run's own ablation, on the validation split and with shorter trainings: {', '.join(steps)}. "
        "Differences of a few points are noise at this size."
    )


def _quantisation(facts: dict[str, Any]) -> str:
    deployed = facts.get("onnx_deployment", {})
    drop, speed = deployed.get("int8_drop"), deployed.get("speedup")
    if not drop or not speed:
        return ""
    return (
        f"INT8 costs {100 * drop['value']:.2f} points ({100 * drop['low']:.2f} to {100 * drop['high']:.2f}) and is "
        f"{speed['onnx_int8']:.1f} times as fast as PyTorch; ONNX alone is {speed['onnx_fp32']:.1f} times as fast. "
        f"{deployed.get('served_reason', '')}"
    )


def _drift(facts: dict[str, Any]) -> str:
    drift = facts.get("drift_detection")
    if not drift or not drift.get("windows"):
        return ""
    drifted = sum(one["drifted"] for one in drift["windows"])
    return (
        f"{drifted} of {len(drift['windows'])} windows drifted; drift is confirmed by two of three, so that one unlucky window "
        "retrains nothing."
    )


def _retraining(summary: Summary, candidate: dict[str, Any] | None) -> str:
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
