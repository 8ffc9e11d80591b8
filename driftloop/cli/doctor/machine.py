"""`driftloop doctor`, this machine: Python, the packages, where graphs and training run, free disk space."""

import importlib.metadata
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from driftloop.cli.doctor.check import Check, failed, not_checked, ok

PYTHONS = ((3, 11), (3, 12), (3, 13))
#: A full loop writes about 0.15 GB, and torch's and KFP's temporary files come on top.
LEAST_FREE_GB = 2.0
INSTALL = "run `make setup`, or pip install 'driftloop[{}]' into a new environment"


def check_machine(extra: str) -> list[Check]:
    """Everything that needs nobody else.

    Args:
        extra: which optional dependencies have to be there: train, docker, or "".
    """
    return [check_python(), check_packages(extra), *([check_torch()] if extra == "train" else []), check_onnxruntime(), *check_disk()]


def check_python() -> Check:
    """The version of Python that the requirements are locked for."""
    version = platform.python_version()
    if sys.version_info[:2] not in PYTHONS:
        return failed("Python", f"is {version}", "use Python 3.11, 3.12 or 3.13: `make setup PYTHON=/path/to/python3`")
    return ok("Python", version)


def check_packages(extra: str) -> Check:
    """Every package that driftloop asks for is installed, in a version that it takes."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("driftloop") or []]
    except importlib.metadata.PackageNotFoundError:
        return not_checked("packages", "driftloop runs from its sources and is not installed; `make setup` installs it")
    extras = ("", extra)
    wanted = [item for item in wanted if item.marker is None or any(item.marker.evaluate({"extra": name}) for name in extras)]
    wrong = []
    for requirement in wanted:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
        else:
            if not requirement.specifier.contains(version, prereleases=True):
                wrong.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if wrong:
        return failed("packages", ", ".join(wrong), INSTALL.format(extra or "docker"))
    return ok("packages", f"all {len(wanted)} in versions that fit, kfp {importlib.metadata.version('kfp')}")


def check_torch() -> Check:
    """Training: whether torch loads, and whether it sees a GPU."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return failed("training", f"torch does not load ({_first_line(error)})", INSTALL.format("train"))
    if torch.cuda.is_available():
        return ok("training", f"torch {torch.__version__} on {torch.cuda.get_device_name()}")
    return ok("training", f"torch {torch.__version__} on the CPU: it sees no GPU")


def check_onnxruntime() -> Check:
    """Inference: whether onnxruntime loads, and which provider an FP32 graph gets on this machine. INT8 graphs run on the CPU anyway."""
    try:
        import onnxruntime

        from driftloop.inference.provider import CUDA, choose_provider, cuda_device_visible
    except (ImportError, OSError) as error:
        return failed("inference", f"onnxruntime does not load ({_first_line(error)})", INSTALL.format("train"))
    version = f"onnxruntime {onnxruntime.__version__}"
    if not cuda_device_visible():
        return ok("inference", f"{version} on the CPU: no NVIDIA device is visible")
    if choose_provider("model.onnx") != CUDA:
        return ok("inference", f"{version} on the CPU: it was built without CUDA; onnxruntime-gpu uses the GPU that is here")
    return _check_cuda(version)


def _check_cuda(version: str) -> Check:
    """Whether a graph really gets CUDA: the provider is offered even where its libraries are missing."""
    import onnxruntime

    from driftloop.inference.provider import CUDA, loading_cuda

    try:
        from onnx import TensorProto, helper
    except ImportError:
        return not_checked("inference", f"{version} offers CUDA; without the package onnx no graph was tried")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with loading_cuda():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[CUDA, "CPUExecutionProvider"])
    if session.get_providers()[0] == CUDA:
        return ok("inference", f"{version} with CUDA; INT8 graphs run on the CPU")
    return ok("inference", f"{version} falls back to the CPU: CUDA's libraries are missing; `driftloop[train]` brings them")


def check_disk() -> list[Check]:
    """Room where runs and temporary files go; one line where that is one disk."""
    places = {"runs": _existing(Path("runs")), "temporary files": Path(tempfile.gettempdir())}
    disks = {path.stat().st_dev: (name, path) for name, path in reversed(places.items())}
    return [_check_room(f"disk for {name}" if len(disks) > 1 else "disk", path) for name, path in reversed(disks.values())]


def _check_room(name: str, path: Path) -> Check:
    free = shutil.disk_usage(path).free / 1e9
    if free < LEAST_FREE_GB:
        return failed(name, f"{free:.1f} GB free at {path}", f"a run wants {LEAST_FREE_GB:.0f} GB: `driftloop prune` shows what could go")
    return ok(name, f"{free:.0f} GB free at {path}")


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
