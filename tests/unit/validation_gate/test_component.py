"""The wrapper, and what it may import."""

import inspect
import subprocess
import sys

from components.validation_gate.component import validation_gate


def test_the_signature_is_the_one_the_pipelines_use() -> None:
    spec = validation_gate.component_spec
    assert set(spec.inputs or {}) == {"dataset", "candidate", "margin", "critical_classes", "config", "champion", "traffic"}
    assert set(spec.outputs or {}) == {"evidence", "summary", "Output"}
    assert "margin: clean accuracy that may be lost at most" in (inspect.getdoc(validation_gate.python_func) or "")


def test_the_step_needs_neither_torch_nor_kfp() -> None:
    code = "import sys, components.validation_gate.step; sys.exit(any(name in sys.modules for name in ('torch', 'kfp')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
