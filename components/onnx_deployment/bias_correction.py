"""Bias correction: rounding moves a quantised network's embeddings in one direction on average; its head takes that back."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from driftloop.errors import RunFailed
from driftloop.inference.served import EMBEDDING


def correct_head(graph: Path, shift: np.ndarray) -> None:
    """Add `shift` to what the head of the graph sees, by way of its bias: W (e + shift) + b = W e + (b + W shift).

    With the shift being the mean difference of the FP32 embeddings from the quantised ones, this is the bias correction of Nagel et al.
    (2019), applied to the last layer only: it takes away what would favour one class, and costs nothing when serving.

    Args:
        graph: a file whose head is a fully connected layer on the output `embedding`; it is rewritten.
        shift: (D,).

    Raises:
        RunFailed: no such head.
    """
    model = onnx.load(graph)
    head = next((node for node in model.graph.node if node.op_type == "Gemm" and node.input[0] == EMBEDDING), None)
    constants = {constant.name: constant for constant in model.graph.initializer}
    if head is None or len(head.input) < 3 or not {head.input[1], head.input[2]} <= constants.keys():
        raise RunFailed(f"{graph}: no fully connected head on `{EMBEDDING}`; quantisation cannot correct its bias")
    weights = numpy_helper.to_array(constants[head.input[1]])
    transposed = any(attribute.name == "transB" and attribute.i for attribute in head.attribute)
    bias = numpy_helper.to_array(constants[head.input[2]]) + (weights @ shift if transposed else shift @ weights)
    constants[head.input[2]].CopyFrom(numpy_helper.from_array(bias.astype(np.float32), head.input[2]))
    onnx.save(model, graph)
