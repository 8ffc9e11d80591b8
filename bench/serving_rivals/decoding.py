"""What the rivals do with an image file: the same file, size and graph as driftloop's service."""

import io
import os

import numpy as np
import onnxruntime as ort
from PIL import Image

SIDE = int(os.environ["BENCH_SIDE"])


def open_graph(threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])


def decode(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft("L", (2 * SIDE, 2 * SIDE))
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., None]
