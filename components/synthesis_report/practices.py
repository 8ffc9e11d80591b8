"""Best practices of machine learning operations, each with what this run has to show for it."""

from typing import Any

from driftloop.summary import Summary


def practices(summary: Summary, facts: dict[str, Any]) -> list[dict[str, object]]:
    """One row per practice: what it guards against, and this run's evidence (a dash where its branch has none)."""
    data, drift = facts.get("data_analysis", {}), facts.get("drift_detection", {})
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
            "guards against": "figures that only look good",
            "evidence": f"{counts['test']:,} test images" if counts.get("test") else None,
        },
        {
            "practice": "Intervals beside every accuracy",
            "guards against": "celebrating noise",
            "evidence": str(summary.accuracy.optimized) if summary.accuracy.optimized else None,
        },
        {
            "practice": "Compare what is served",
            "guards against": "a graph that behaves unlike the training code",
            "evidence": f"{facts['onnx_deployment']['served']} is judged and served" if facts.get("onnx_deployment") else None,
        },
        {
            "practice": "Tests with a known error rate",
            "guards against": "thresholds that alarm on clean weeks",
            "evidence": f"alpha {drift['alpha']:.3g} a window, confirmed by 2 of 3" if drift.get("alpha") else None,
        },
        {
            "practice": "A gate before promotion",
            "guards against": "replacing a good model by a worse one",
            "evidence": f"{sum(bool(one['holds']) for one in gate.evidence)} of {len(gate.evidence)} criteria hold" if gate else None,
        },
        {
            "practice": "Versions that never change, one pointer",
            "guards against": "not being able to go back",
            "evidence": f"version {summary.champion.after} serves; `driftloop models rollback` undoes it"
            if summary.champion.after
            else None,
        },
    ]
