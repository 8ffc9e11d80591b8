"""The wrapper is what the pipelines call."""

import subprocess
import sys

from components.drift_detection.component import drift_detection


def test_signature_is_the_published_one() -> None:
    spec = drift_detection.component_spec
    assert list(spec.inputs) == ["traffic", "champion", "store", "alpha", "critical_classes", "config", "retrain_config"]
    assert set(spec.outputs) == {"Output", "evidence", "metrics", "report", "sheet"}
    assert spec.outputs["Output"].type == "String"


def test_each_parameter_is_described() -> None:
    assert all(
        name in (drift_detection.python_func.__doc__ or "")
        for name in ("traffic:", "champion:", "store:", "alpha:", "critical_classes:", "sheet:", "config:", "retrain_config:", "evidence:")
    )


def test_the_step_does_without_torch() -> None:
    code = "import components.drift_detection.step, sys; sys.exit('torch' in sys.modules or 'kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
