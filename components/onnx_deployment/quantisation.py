"""INT8: static quantisation of the convolutions, per channel, with ranges from training images.

Rounding moves a quantised network's embeddings in one direction on average; the head's bias takes that back.
"""

import contextlib
import io
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from driftloop.errors import RunFailed
from driftloop.inference.provider import CPU
from driftloop.inference.served_model import EMBEDDING, INPUT, PROBABILITIES, open_session
from driftloop.runtime import available_threads

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}
#: Tried by "auto"; entropy is left out: it takes longest and chose minmax's ranges on the nets at hand.
AUTOMATIC = ("minmax", "percentile")
#: Where the time goes. The head stays in floats: it costs next to nothing, and probabilities in 256 steps could not be calibrated.
QUANTISED = ["Conv", "Relu", "Clip", "Add", "MaxPool"]
#: The first convolution stays in floats with the normalisation before it: its rounding errors pass through the whole network.
STEM = "Conv"
#: Images that pass through a graph together, with so many pixels at most: for ranges, all that a network computes of a batch is kept.
CALIBRATION_BATCH, CALIBRATION_PIXELS = 32, 2**19


@dataclass(frozen=True)
class Quantisation:
    """How the ranges were set."""

    method: str
    """The method taken."""
    divergence: dict[str, float]
    """How far each method tried moved the probabilities: mean Kullback-Leibler divergence from FP32, in nats."""


def quantise(fp32: Path, int8: Path, calibration: np.ndarray, comparison: np.ndarray, method: str = "auto") -> Quantisation:
    """Write the INT8 graph of `fp32` to `int8`.

    Args:
        fp32: the exported graph.
        int8: where the quantised one goes.
        calibration: uint8 (N, H, W, C) training images whose activations set the ranges.
        comparison: other training images, on which methods are compared; no labels are needed.
        method: minmax, percentile, entropy, or auto for the closer of the first two.
    """
    expected, _ = _run(fp32, comparison)
    _, embedding = _run(fp32, calibration)
    with tempfile.TemporaryDirectory(prefix="driftloop-int8-") as folder:
        prepared = Path(folder, "prepared.onnx")
        # Shapes must be known before quantisation: without them it leaves operators in floats. Symbolic inference adds nothing here.
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        divergence = {}
        for name in AUTOMATIC if method == "auto" else (method,):
            quantised = Path(folder, f"{name}.onnx")
            _quantise_static(prepared, quantised, calibration, name)
            correct_head(quantised, (embedding - _run(quantised, calibration)[1]).mean(axis=0))
            divergence[name] = mean_divergence(expected, _run(quantised, comparison)[0])
        best = min(divergence, key=lambda name: divergence[name])
        shutil.copyfile(Path(folder, f"{best}.onnx"), int8)
    return Quantisation(best, divergence)


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


def mean_divergence(expected: np.ndarray, quantised: np.ndarray) -> float:
    """The mean Kullback-Leibler divergence of `quantised` from `expected`, both probabilities (N, K), in nats."""
    floor = 1e-9
    return float((expected * (np.log(expected + floor) - np.log(quantised + floor))).sum(axis=1).mean())


class ImageReader(CalibrationDataReader):
    """Hands calibration images to onnxruntime, which asks for a range of batches at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.batches: Iterator[np.ndarray] = iter(())

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(len(self.images) / _batch_size(self.images))

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these batches next."""
        size = _batch_size(self.images)
        self.batches = _batches(self.images[start_index * size : end_index * size])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}


def _quantise_static(prepared: Path, target: Path, images: np.ndarray, method: str) -> None:
    # The histogram calibrators print their stages to stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(prepared),
            str(target),
            ImageReader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # 7-bit weights: x86 without VNNI adds pairs of products in 16 bits, which 8-bit weights overflow silently.
            reduce_range=True,
            calibrate_method=METHODS[method],
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=_stem(prepared),
            # For every method, whatever its name: ranges are brought together batch by batch. Else onnxruntime keeps what the network
            # computes of all images: 17.5 GB of 256 images of 224 pixels in EfficientNet-Lite0.
            extra_options={"CalibStridedMinMax": 1},
        )


def _stem(graph: Path) -> list[str]:
    """The names of the operators up to the first convolution; ONNX keeps them in the order of computation."""
    nodes = onnx.load(graph).graph.node
    first = next((index for index, node in enumerate(nodes) if node.op_type == STEM), -1)
    return [node.name for node in nodes[: first + 1]]


def _run(path: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and embeddings (N, D) of a graph."""
    session = open_session(path, threads=available_threads(), provider=CPU)
    answers = [session.run([PROBABILITIES, EMBEDDING], {INPUT: batch}) for batch in _batches(images)]
    return np.concatenate([batch[0] for batch in answers]), np.concatenate([batch[1] for batch in answers])


def _batch_size(images: np.ndarray) -> int:
    return max(1, min(CALIBRATION_BATCH, CALIBRATION_PIXELS // (images.shape[1] * images.shape[2])))


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    size = _batch_size(images)
    for start in range(0, len(images), size):
        yield np.ascontiguousarray(images[start : start + size])
