"""A Bento: service.py, bentofile.yaml, requirements.txt, the graph, and byte for byte the two files of driftloop that decode images.

Those two need numpy and Pillow alone, so that the Bento needs no driftloop: `driftloop/` in it is a package of their two names.
"""

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import driftloop
from driftloop.bundle import ONNX_FP16
from driftloop.exporting.folder import FetchedVersion

BENTOML = "1.4.40"
#: What the service decodes with.
DECODING = ("contracts.py", "dataset/decoding.py")
PACKAGE = Path(driftloop.__file__).parent


def write_bento(folder: Path, fetched: FetchedVersion) -> None:
    """Write the Bento into `folder`."""
    shutil.copyfile(PACKAGE / "exporting" / "bento_service.py", folder / "service.py")
    for name in DECODING:
        copy = folder / "driftloop" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (copy.parent / "__init__.py").touch()
        shutil.copyfile(PACKAGE / name, copy)
    shutil.copyfile(fetched.graph, folder / "model.onnx")
    described = fetched.model.description
    taken = described.model_dump(include={"classes", "image_size", "channels", "resize", "deep_range"})
    model = {"version": fetched.version, "naming_shares": described.naming_shares or [1.0]} | taken
    (folder / "model.json").write_text(json.dumps(model | {"store": fetched.store}, indent=1) + "\n")
    (folder / "requirements.txt").write_text(requirements(gpu=fetched.model.variant == ONNX_FP16))
    (folder / "bentofile.yaml").write_text(BENTOFILE)
    (folder / "README.md").write_text(_readme(fetched))


def requirements(*, gpu: bool) -> str:
    """The versions that this driftloop runs with: with others, the same graph may round otherwise."""
    wanted = {
        "bentoml": BENTOML,
        "numpy": version("numpy"),
        "onnxruntime-gpu" if gpu else "onnxruntime": _onnxruntime(),
        "pillow": version("pillow"),
    }
    return "".join(f"{name}=={pin}\n" for name, pin in wanted.items())


def _onnxruntime() -> str:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return version("onnxruntime-gpu")


BENTOFILE = """\
service: "service:Champion"
include: ["service.py", "model.json", "model.onnx", "requirements.txt", "driftloop/**/*.py"]
"""


def _readme(fetched: FetchedVersion) -> str:
    return f"""\
# Version {fetched.version} of {fetched.store} for BentoML

```sh
python -m venv .venv && .venv/bin/pip install -r requirements.txt
.venv/bin/bentoml serve                       # http://localhost:3000
curl -F image=@image.jpeg localhost:3000/predict
.venv/bin/bentoml build                       # a Bento; `bentoml containerize` makes an image of it
```

`driftloop/` holds the two files by which driftloop decodes, byte for byte, so that answers are the service's own.
This folder is version {fetched.version} for good: it follows no promotion, and no watch sees its requests. `driftloop serve` does both.
"""
