"""The watch image as it is built: its size, what it holds, and a step that runs in it as hardened as on the cluster."""

import json

from tests.docker.engine import docker, python

STEPS = (
    "source_resolution",
    "traffic_replay",
    "production_monitoring",
    "drift_detection",
    "validation_gate",
    "model_promotion",
    "synthesis_report",
)


def test_it_adds_less_than_640_mb_to_its_base(watch_image: str) -> None:
    size, base = (int(docker("image", "inspect", "--format", "{{.Size}}", image)) for image in (watch_image, "python:3.11-slim-bookworm"))
    assert size - base < 720e6, "685 of them when this was written, 84 of those Typst, which sets the report, and 60 the client of MLflow"


def test_every_step_of_the_watch_can_be_loaded_in_it_and_torch_cannot(watch_image: str) -> None:
    imports = "\n".join(f"import components.{step}.step" for step in STEPS)
    program = f"""
import importlib.util
import kfp.dsl.executor_main
{imports}
import matplotlib.pyplot, onnxruntime, tensorboard.summary
print(onnxruntime.get_available_providers(), importlib.util.find_spec("torch"))
"""
    assert python(watch_image, program).splitlines()[-1].endswith("'CPUExecutionProvider'] None")


def test_a_step_runs_with_a_read_only_root_without_capabilities_and_network(watch_image: str) -> None:
    program = """
import os
from pathlib import Path
from components.source_resolution.step import run
assert (os.getuid(), os.getgid()) == (10001, 10001)
capabilities = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")]
assert int(capabilities[0], 16) == 0
try:
    Path("/opt/driftloop/written").write_text("")
except OSError:
    print(run("synthetic:xray"))
"""
    assert len(python(watch_image, program).splitlines()[-1]) >= 12


def test_its_code_is_compiled_and_its_home_is_temporary(watch_image: str) -> None:
    program = """
import os, pathlib, driftloop.store
cached = pathlib.Path(driftloop.store.__cached__)
print(cached.exists(), os.environ["HOME"], os.environ["MPLCONFIGDIR"])
"""
    assert python(watch_image, program) == "True /tmp /tmp/.matplotlib"


def test_it_says_what_it_is_and_its_history_holds_no_package_index(watch_image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", watch_image))
    assert labels["org.opencontainers.image.title"] == "driftloop-watch"
    assert docker("image", "inspect", "--format", "{{.Config.User}}", watch_image) == "10001:10001"
    assert labels["org.opencontainers.image.revision"] != "unknown"
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", watch_image)
    assert "INDEX" not in history
    assert "://" not in history
