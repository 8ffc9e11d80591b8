"""Real inputs of the gate, small: a local store, datasets of 8-pixel images, and ONNX graphs that read their answer from one pixel.

Each model looks at its own pixel, so that a test says image by image who is right; everything between is the real thing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from components.validation_gate.step import run
from driftloop import registry
from driftloop.bundle import ONNX_FP32, seal, write_model
from driftloop.dataset import Description, extend_dataset, write_dataset, write_description
from driftloop.inference.traffic import FRESH, Traffic, write_traffic
from driftloop.step_facts import write_json
from driftloop.store import Store, open_store
from driftloop.watch_record import WatchRecord
from tests.factories.datasets import sample_table
from tests.factories.records import CLASSES, model_description, traffic_info

SIDE = 8
#: Which pixel of the first row each model reads.
CANDIDATE, CHAMPION, EARLIER = 0, 1, 2


def images_with_answers(labels: np.ndarray, right: dict[int, np.ndarray], seed: int = 0) -> np.ndarray:
    """Images uint8 (N, 8, 8, 1) on which the model that reads pixel p is right where right[p] says so."""
    images = np.random.default_rng(seed).integers(60, 190, (len(labels), SIDE, SIDE, 1), dtype=np.uint8)
    for pixel, correct in right.items():
        images[:, 0, pixel, 0] = np.where(correct, labels, 1 - labels) * 255
    return images


def answers(n: int, *, gained: int, lost: int, wrong: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What candidate and champion have right: `gained` only the candidate, `lost` only the champion, `wrong` neither; spread evenly."""
    kinds = np.repeat([0, 1, 2, 3], [n - gained - lost - wrong, gained, lost, wrong])
    kinds = np.random.default_rng(7).permutation(kinds)
    return (kinds == 0) | (kinds == 1), (kinds == 0) | (kinds == 2)


def split_with_answers(n: int, right: dict[int, np.ndarray], name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """A split's images, labels (classes in turn) and samples."""
    labels = np.arange(n) % 2
    return images_with_answers(labels, right, seed), labels, sample_table(name, n, width=160, height=150)


def pixel_graph(
    pixel: int, *, classes: int = 2, side: int = SIDE, scale: float = 1.4, broken: bool = False, burden: int = 0
) -> onnx.ModelProto:
    """uint8 (N, side, side, 1) -> probabilities, embedding; the second class where the pixel is bright.

    `burden` adds layers of that width which change nothing but the time: about a hundred times a request's at 1,500.
    """
    weights = np.zeros((side * side, classes), np.float32)
    weights[pixel, :2] = [-scale / 255, scale / 255]
    bias = np.full(classes, -9.0, np.float32)
    bias[:2] = [np.nan if broken else scale / 2, -scale / 2]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        *idle_layers(burden, side * side, classes),
        helper.make_node("Softmax", ["embedding"], ["probabilities"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes]) for name in ("probabilities", "embedding")],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def idle_layers(width: int, pixels: int, classes: int) -> list[onnx.NodeProto]:
    """From `sum` to `embedding`: plus the outcome of three layers of zeros, which are made as the graph is loaded and take no room."""
    if not width:
        return [helper.make_node("Identity", ["sum"], ["embedding"])]
    sizes = [(pixels, width), (width, width), (width, width), (width, classes)]
    nodes = []
    for index, size in enumerate(sizes):
        shape = numpy_helper.from_array(np.array(size, np.int64))
        nodes.append(helper.make_node("Constant", [], [f"shape{index}"], value=shape))
        nodes.append(helper.make_node("ConstantOfShape", [f"shape{index}"], [f"zeros{index}"]))
        before = "flat" if index == 0 else f"layer{index - 1}"
        nodes.append(helper.make_node("MatMul", [before, f"zeros{index}"], [f"layer{index}"]))
    return [*nodes, helper.make_node("Add", ["sum", f"layer{len(sizes) - 1}"], ["embedding"])]


def write_pixel_bundle(
    directory: Path, model: onnx.ModelProto, dataset: str, *, classes: list[str] | None = None, side: int = SIDE, deep_range: int = 0
) -> Path:
    """A sealed bundle that serves `model`."""
    directory.mkdir(parents=True)
    onnx.save(model, directory / ONNX_FP32)
    description = model_description(
        architecture="plain_cnn",
        classes=classes or CLASSES,
        image_size=side,
        deep_range=deep_range,
        dataset=dataset,
        seed=1,
        training={"directory": directory.name},
        served=ONNX_FP32,
    )
    write_model(directory, description)
    write_json(directory / "facts.json", {"onnx_deployment": {"served_reason": "INT8 was not made", "int8_drop": None}})
    seal(directory)
    return directory


@dataclass
class GateStore:
    """A store and a folder to work in."""

    folder: Path
    store: Store

    def dataset(self, parts: dict[str, tuple[np.ndarray, np.ndarray, pd.DataFrame]], name: str, parent: Description | None = None) -> str:
        """Publish a dataset, or extend one; the artifact's directory."""
        if parent is None:
            description = write_dataset(self.store, parts, classes=CLASSES, source="test")
        else:
            description = extend_dataset(self.store, parent, parts)
        write_description(self.folder / name, description)
        return str(self.folder / name)

    def judge(self, dataset: str, candidate: Path, name: str = "evidence", **given: object) -> str:
        """Run the gate as the pipeline does; evidence and summary go to folders called `name`."""
        config = {"latency_rounds": 20, "latency_slack_ms": 1000.0, **given.pop("config", {})}  # type: ignore[dict-item]
        margin = float(given.pop("margin", 0.02))  # type: ignore[arg-type]
        return run(dataset, str(candidate), str(self.folder / name), str(self.folder / f"{name}.md"), margin=margin, config=config, **given)  # type: ignore[arg-type]

    def promote(self, candidate: Path, evidence: str = "evidence", expected: str | None = None) -> str:
        """Register the candidate and let it serve."""
        version = registry.register(self.store, candidate, self.folder / evidence)
        registry.promote(self.store, version, expected=expected, reason="test")
        return version

    def traffic(self, champion_version: str, records: list[WatchRecord]) -> str:
        """Traffic without rows, with the records of earlier watches."""
        info = traffic_info(
            sequence=len(records) + 1, store=self.store.uri, champion_version=champion_version, until="2030-01-02T00:00:00+00:00"
        )
        directory = self.folder / f"traffic-{len(records)}"
        write_traffic(directory, Traffic(pd.DataFrame({FRESH: pd.Series(dtype=bool)}), info, records))
        return str(directory)


def new_gate_store(folder: Path) -> GateStore:
    """An empty store in `folder`."""
    return GateStore(folder, open_store(str(folder / "store")))
