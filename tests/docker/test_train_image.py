"""The train image: torch and onnxruntime in one process, and onnxruntime's CUDA provider beside torch's CUDA libraries."""

from tests.docker.engine import python


def test_the_steps_that_train_can_be_loaded_in_it(train_image: str) -> None:
    steps = ("data_analysis", "baseline_training", "model_optimization", "onnx_deployment", "automated_retraining")
    imports = "\n".join(f"import components.{step}.step" for step in steps)
    assert python(train_image, f"import kfp.dsl.executor_main\n{imports}\nprint('loaded')").splitlines()[-1] == "loaded"


def test_the_cuda_provider_misses_nothing_but_the_driver(train_image: str) -> None:
    program = """
import subprocess
from pathlib import Path
import onnxruntime
assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
provider = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
linked = subprocess.run(["ldd", provider], capture_output=True, text=True, check=True).stdout
print([line.split()[0] for line in linked.splitlines() if "not found" in line])
"""
    assert python(train_image, program) in ("['libcuda.so.1']", "[]")
