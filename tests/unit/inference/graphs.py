"""A tiny served model, built by hand: no training, no torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from driftloop import bundle

#: The least that `data_image_size` allows.
SIDE = 32


def write_brightness_bundle(
    directory: Path, *, classes: tuple[str, ...] = ("NORMAL", "PNEUMONIA"), channels: int = 1, scale: float = 1.0
) -> Path:
    """A sealed bundle whose embedding is the image's mean per channel (times `scale`) and whose first class is the bright one."""
    directory.mkdir(parents=True, exist_ok=True)
    save_brightness_graph(directory / bundle.ONNX_FP32, classes=len(classes), channels=channels, scale=scale)
    (directory / bundle.ONNX_INT8).write_bytes((directory / bundle.ONNX_FP32).read_bytes())
    bundle.write_model(directory, brightness_description(classes, channels))
    bundle.seal(directory)
    return directory


def brightness_description(
    classes: tuple[str, ...] = ("NORMAL", "PNEUMONIA"), channels: int = 1, served: str = bundle.ONNX_FP32
) -> bundle.ModelDescription:
    return bundle.ModelDescription(
        architecture="plain_cnn",
        classes=list(classes),
        image_size=SIDE,
        channels=channels,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        dataset="0" * 8,
        seed=0,
        training={},
        metrics={},
        libraries={},
        served=served,
    )


def save_brightness_graph(
    path: Path, *, classes: int, channels: int, scale: float = 1.0, side: int = SIDE, input_name: str = "images"
) -> None:
    weights = np.zeros((channels, classes), np.float32)
    weights[:, 0] = 0.1 / scale
    bias = np.zeros(classes, np.float32)
    bias[1:] = 12.8 * channels
    nodes = [
        helper.make_node("Cast", [input_name], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"axes": np.array([1, 2]), "scale": np.float32(scale), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.UINT8, ["N", side, side, channels])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", channels]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def grey_images(levels: list[int], channels: int = 1) -> np.ndarray:
    """One flat image for each grey level."""
    return np.stack([np.full((SIDE, SIDE, channels), level, np.uint8) for level in levels])
