"""The inference log: `InferenceLogger` writes it, `read_log` and `read_images` read it; its layout is in `log_format`."""

from driftloop.inference.log_format import SCHEMA
from driftloop.inference.log_reader import embeddings, probabilities, read_images, read_log, statistics
from driftloop.inference.log_writer import InferenceLogger

__all__ = ["SCHEMA", "InferenceLogger", "embeddings", "probabilities", "read_images", "read_log", "statistics"]
