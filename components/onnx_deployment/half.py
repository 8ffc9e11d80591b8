"""FP16: the exported graph in half precision, for GPUs; half the size, and on tensor cores."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

#: Stays in float32: probabilities near 1 would be rounded to steps of 1/2048, and small ones to nothing.
KEPT = ["Softmax"]


def write_half(fp32: Path, fp16: Path) -> None:
    """Write the FP16 graph of `fp32` to `fp16`; it takes and gives what the FP32 graph does.

    Args:
        fp32: the exported graph.
        fp16: where the converted one goes.
    """
    converted = convert_float_to_float16(onnx.load(fp32), keep_io_types=True, op_block_list=KEPT)
    # The converter leaves its casts at the end, and float32 in the notes on some tensors that are no longer.
    OnnxModel(converted).topological_sort()
    del converted.graph.value_info[:]
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, fp16)
