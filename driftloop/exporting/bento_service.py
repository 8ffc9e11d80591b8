"""The model as a Bento: `bentoml serve`, then `curl -F image=@... localhost:3000/predict`.

`driftloop export --to bentoml` copies this file, and beside it what it imports of driftloop.
"""

import json
import os
from pathlib import Path
from typing import Any

import bentoml
import onnxruntime
from bentoml.exceptions import UnprocessableEntity

from driftloop.dataset.decoding import UnreadableImage, decode_image, with_channels

HERE = Path(__file__).parent
MODEL = json.loads((HERE / "model.json").read_text())


@bentoml.service(
    name="driftloop-champion",
    image=bentoml.images.Image(python_version="3.11").requirements_file("requirements.txt"),
    traffic={"timeout": 30, "max_concurrency": 64},
)
class Champion:
    """One graph in one session; requests are decoded side by side."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=onnxruntime.get_available_providers())

    @bentoml.api
    def predict(self, image: Path) -> dict[str, Any]:
        """The class of one image (JPEG, PNG, WebP, TIFF, BMP), with the calibrated probability of each."""
        try:
            decoded = decode_image(image.read_bytes(), MODEL["image_size"], MODEL["resize"], MODEL["deep_range"])
            pixels = with_channels(decoded.pixels, MODEL["channels"])
        except UnreadableImage as unreadable:
            raise UnprocessableEntity(f"image: {unreadable}") from None
        (probabilities,) = self.session.run(["probabilities"], {"images": pixels[None]})
        by_class = dict(zip(MODEL["classes"], probabilities[0].tolist(), strict=True))
        named = MODEL["classes"][int((probabilities[0] / MODEL["naming_shares"]).argmax())]
        return {"version": MODEL["version"], "class": named, "confidence": by_class[named], "probabilities": by_class}
