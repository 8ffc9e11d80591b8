"""When to use what: the variants of the model side by side, with the figures that decide."""

from typing import Any

ADVICE = {
    "pytorch": "to train further and to look inside; not to serve",
    "onnx_fp32": "to serve where every tenth of a point counts, or where INT8 lost too much",
    "onnx_int8": "to serve on CPUs: the smallest and fastest, if the gate's bound on its loss holds",
}
NAMES = {"pytorch": "PyTorch FP32 (eager)", "onnx_fp32": "ONNX FP32", "onnx_int8": "ONNX INT8"}


def variants(facts: dict[str, Any]) -> list[dict[str, object]]:
    """One row per variant: accuracy on the clean test split, speed against PyTorch, and when to take it."""
    deployed, optimized = facts.get("onnx_deployment", {}), facts.get("model_optimization", {})
    accuracies = {
        "pytorch": optimized.get("accuracy"),
        "onnx_fp32": deployed.get("accuracy_fp32"),
        "onnx_int8": deployed.get("accuracy_int8"),
    }
    served = {"model.onnx": "onnx_fp32", "model.int8.onnx": "onnx_int8"}.get(deployed.get("served", ""))
    return [
        {
            "variant": NAMES[name] + (" (served)" if name == served else ""),
            "accuracy": accuracy["value"] if accuracy else None,
            "speed": 1.0 if name == "pytorch" else deployed.get("speedup", {}).get(name),
            "take it": ADVICE[name],
        }
        for name, accuracy in accuracies.items()
    ]
