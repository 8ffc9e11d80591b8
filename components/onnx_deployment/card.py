"""The deployment's part of the model card; the rest is the training's."""

import re
from pathlib import Path
from typing import Any

from driftloop.bundle import ModelDescription
from driftloop.evaluation.intervals import Proportion

HEADING = "## Deployment"


def with_deployment(card: Path, model: ModelDescription, findings: dict[str, Any]) -> str:
    """The card of the trained bundle (or a short one, where it has none) with a Deployment section in place of any older one."""
    before = (
        card.read_text(encoding="utf-8")
        if card.exists()
        else f"# Model card\n\n{model.architecture}, classes {', '.join(model.classes)}.\n"
    )
    kept = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", before, flags=re.MULTILINE | re.DOTALL).rstrip()
    return f"{kept}\n\n{deployment(model, findings)}"


def deployment(model: ModelDescription, findings: dict[str, Any]) -> str:
    """The section, as Markdown."""
    drop, fit = findings["int8_drop"], findings["calibration"]
    interval = f"95 % interval {-100 * drop['high']:+.2f} to {-100 * drop['low']:+.2f}"
    lines = [
        HEADING,
        "",
        f"- Input: uint8 images (N, {model.image_size}, {model.image_size}, {model.channels}); scaling, normalisation, temperature "
        "and softmax are inside the graph. Output: probabilities and embedding.",
        f"- Served: `{model.served}`. {findings['served_reason']}.",
        f"- Temperature {model.temperature:.3f}: expected calibration error {fit['ece_before']:.3f} before, {fit['ece_after']:.3f} after, "
        "on the images of the fit.",
        f"- INT8 against FP32 on the clean test split: {-100 * drop['value']:+.2f} points of accuracy ({interval}).",
        f"- Drift reference: {', '.join(f'{name} ({count:,} images)' for name, count in findings['regimes'].items())}.",
        "",
        "| graph | accuracy, clean test | batch 1, p50 ms | speed-up |",
        "|---|---|---|---|",
    ]
    for variant, key in (("model.onnx", "accuracy_fp32"), ("model.int8.onnx", "accuracy_int8")):
        row = next(row for row in findings["benchmark"] if row["variant"] == variant and row["batch"] == 1)
        lines.append(f"| `{variant}` | {Proportion(**findings[key])} | {row['p50_ms']:.2f} | {row['speedup']:.1f}x |")
    return "\n".join(lines) + "\n\nSpeed-up over PyTorch eager FP32, one thread, on the machine that exported the model.\n"
