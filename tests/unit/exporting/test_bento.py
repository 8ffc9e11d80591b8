"""The Bento: what it decodes with is driftloop's own, and needs nothing that its requirements do not name.

It was run by BentoML in an environment of its own (docs/serving.md says how); here BentoML is not installed.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import driftloop
from tests.unit.exporting.conftest import Export


def test_it_holds_what_it_needs_and_nothing_else(export: Export) -> None:
    folder = export("bentoml")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    decoding = {"driftloop/__init__.py", "driftloop/contracts.py", "driftloop/dataset/__init__.py", "driftloop/dataset/decoding.py"}
    assert files == {"README.md", "bentofile.yaml", "model.json", "model.onnx", "requirements.txt", "service.py"} | decoding
    assert json.loads((folder / "model.json").read_text()) | {"store": ""} == {
        "version": "2",
        "naming_shares": [1.0],
        "classes": ["bright", "dark"],
        "image_size": 32,
        "channels": 1,
        "resize": "stretch",
        "deep_range": 0,
        "store": "",
    }


def test_its_requirements_are_pinned_to_what_runs_here(export: Export) -> None:
    lines = (export("bentoml") / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z]+==[\d.]+", line) for line in lines)
    assert {f"numpy=={version('numpy')}", f"pillow=={version('pillow')}"} <= set(lines)
    assert [line.partition("==")[0] for line in lines] == ["bentoml", "numpy", "onnxruntime", "pillow"]


def test_it_decodes_with_our_bytes_and_needs_numpy_and_pillow_alone(export: Export) -> None:
    folder, package = export("bentoml"), Path(driftloop.__file__).parent
    for name in ("contracts.py", "dataset/decoding.py"):
        assert (folder / "driftloop" / name).read_bytes() == (package / name).read_bytes()
    program = f"""
import sys
sys.path.insert(0, {str(folder)!r})
before = set(sys.modules)
import driftloop.dataset.decoding as decoding
assert decoding.__file__.startswith({str(folder)!r})
new = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
print(sorted(name for name in new if not name.startswith("_")))
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.replace("'", '"'))) - {"defusedxml", "cython_runtime"} == {"PIL", "driftloop", "numpy"}
