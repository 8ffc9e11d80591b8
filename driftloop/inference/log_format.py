"""The inference log: one row a request, in parquet files by hour, with sampled images beside them.

    logs/dt=YYYY-MM-DD/hour=HH/<id>.parquet        rows whose `time` lies in that hour (UTC)
    logs/dt=YYYY-MM-DD/hour=HH/<id>.images.npy     the images those rows refer to, uint8 (n, H, W, C)

A file appears whole or not at all, and the images before the rows that name them. A crash loses at most the rows not yet flushed.
A flush that is repeated may write a row twice; readers keep one row a request.
"""

import hashlib
import io
import uuid
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

PREFIX = "logs/"
IMAGES = ".images.npy"

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("model_version", pa.string()),
        ("status", pa.string()),
        ("predicted", pa.string()),
        ("confidence", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("statistics", pa.list_(pa.float32())),
        ("embedding", pa.binary()),
        ("latency_ms", pa.float32()),
        ("group", pa.string()),
        ("image_sha256", pa.string()),
        ("image", pa.string()),
    ]
)


def partition(time: datetime) -> str:
    """The folder of the rows of that hour: `logs/dt=YYYY-MM-DD/hour=HH/`."""
    return time.astimezone(UTC).strftime(f"{PREFIX}dt=%Y-%m-%d/hour=%H/")


def file_id() -> str:
    """A unique name that sorts by the time it was drawn."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"


def image_is_sampled(request_id: str, share: float) -> bool:
    """Whether the image of a request is kept: a uniform draw that depends on nothing but the request's id."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) < share * 2.0**64


def image_digest(image: np.ndarray) -> str:
    """The SHA-256 of an image's pixels in row order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def in_utc(time: datetime) -> datetime:
    """The time in UTC. Raises ValueError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueError(f"InferenceLogger.log: {time} has no time zone")
    return time.astimezone(UTC)


def npy(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
