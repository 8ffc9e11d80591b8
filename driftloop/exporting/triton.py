"""A model repository for NVIDIA's Triton Inference Server: the served graph as it is, and a configuration made from the graph.

champion/config.pbtxt  champion/labels.txt  champion/<version>/model.onnx  README.md
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from driftloop.bundle import ONNX_FP16, ONNX_INT8
from driftloop.contracts import MODEL_NAME
from driftloop.errors import InputError
from driftloop.exporting.folder import FetchedVersion
from driftloop.inference.served_model import INPUT, PROBABILITIES
from driftloop.plurals import counted

#: Triton's names for the tensors' types.
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32", "tensor(float16)": "TYPE_FP16"}
#: Most images of one run of the graph; one request may hold as many.
MOST_IMAGES = 64
#: Requests that may wait; what comes beyond is refused at once instead of being answered too late.
LONGEST_QUEUE = 512
#: For onnxruntime's CUDA provider: 1 is its lighter way.
PLANNING = """\
# On a GPU convolutions are planned anew whenever a batch has another size than the last.
parameters { key: "cudnn_conv_algo_search" value: { string_value: "1" } }
"""
CONFIG, LABELS, GRAPH = "config.pbtxt", "labels.txt", "model.onnx"


def write_triton(folder: Path, fetched: FetchedVersion) -> None:
    """Write the repository into `folder`, with its README."""
    write_repository(folder, fetched)
    (folder / "README.md").write_text(_readme(fetched))


def write_repository(folder: Path, fetched: FetchedVersion) -> None:
    """Write `champion/` into `folder`. Its version directory has the number that the version has in the store."""
    model = folder / MODEL_NAME
    (model / fetched.version).mkdir(parents=True)
    shutil.copyfile(fetched.graph, model / fetched.version / GRAPH)
    (model / LABELS).write_text("".join(f"{_one_line(name)}\n" for name in fetched.model.description.classes))
    (model / CONFIG).write_text(config(fetched))


def config(fetched: FetchedVersion) -> str:
    """The configuration: names, types and sizes of the tensors are the graph's own, as onnxruntime tells them.

    Raises:
        InputError: the graph takes a fixed number of images, or a tensor of a type or size that has no name in it.
    """
    session, graph = fetched.model.session, fetched.graph
    inputs = [_tensor(node, graph) for node in session.get_inputs()]
    outputs = [_tensor(node, graph, labels=node.name == PROBABILITIES) for node in session.get_outputs()]
    side, channels = fetched.model.description.image_size, fetched.model.description.channels
    kind = {ONNX_INT8: "KIND_CPU", ONNX_FP16: "KIND_GPU"}.get(fetched.model.variant, "KIND_AUTO")
    planning = "" if kind == "KIND_CPU" else PLANNING
    return f"""\
# Version {fetched.version} of {_one_line(fetched.store)}: {fetched.model.variant}.
# Images are uint8 (N, {side}, {side}, {channels}), decoded and resized by the client;
# scaling, normalisation and softmax are inside the graph.
name: "{MODEL_NAME}"
backend: "onnxruntime"
default_model_filename: "{GRAPH}"
max_batch_size: {MOST_IMAGES}
input [
{_joined(inputs)}
]
output [
{_joined(outputs)}
]
# Nothing waits for company: what queues while a batch runs is the next batch.
dynamic_batching {{
  max_queue_delay_microseconds: 0
  default_queue_policy {{ max_queue_size: {LONGEST_QUEUE} }}
}}
instance_group [ {{ kind: {kind} count: 1 }} ]
{planning}\
# The first request after a load is not the one that pays for it.
model_warmup [ {{
  name: "zeros"
  batch_size: 1
  inputs {{ key: "{INPUT}" value {{ data_type: TYPE_UINT8 dims: [ {side}, {side}, {channels} ] zero_data: true }} }}
}} ]
"""


def _tensor(node: object, graph: Path, *, labels: bool = False) -> str:
    """One tensor's entry. `dims` leaves out the number of images, which Triton puts before them itself."""
    name, kind, shape = (getattr(node, attribute) for attribute in ("name", "type", "shape"))
    count, *sizes = shape
    if isinstance(count, int):
        raise InputError(f"{graph}: {name} is for {counted(count, 'image')} at a time; Triton's batching needs a graph for any number")
    if kind not in TYPES or not all(isinstance(size, int) for size in sizes):
        raise InputError(f"{graph}: {name} is {kind} {shape}, which has no place in Triton's {CONFIG}")
    label = f' label_filename: "{LABELS}"' if labels else ""
    return f'  {{ name: "{name}" data_type: {TYPES[kind]} dims: [ {", ".join(map(str, sizes))} ]{label} }}'


def _joined(entries: Sequence[str]) -> str:
    return ",\n".join(entries)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _readme(fetched: FetchedVersion) -> str:
    described = fetched.model.description
    side, channels = described.image_size, described.channels
    deep = f", {described.deep_range}" if described.deep_range else ""
    decode = f'driftloop.dataset.decode_image(data, {side}, "{described.resize}"{deep})'
    request = json.dumps(
        {"inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [1, side, side, channels], "data": ["... the bytes of the image"]}]}
    )
    return f"""\
# Version {fetched.version} of {fetched.store} for Triton

```sh
docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD:/models:ro" nvcr.io/nvidia/tritonserver:<release>-py3 \\
    tritonserver --model-repository=/models
curl localhost:8000/v2/models/{MODEL_NAME}/infer -d '{request}'
```

`{MODEL_NAME}/{CONFIG}` names the tensors as the graph itself does. The client decodes: `{decode}`
is how the model was trained, and other decoding gives other answers. It names, too: `{described.naming_rule}`
is the class's number, as driftloop has it. This folder is version {fetched.version} for good: it follows no
promotion, and requests that Triton answers are in no log that a watch reads. `driftloop serve` does both.
"""
