"""The inference log and how it is read back: one row a request, in parquet files by hour, with sampled images beside them.

    logs/dt=YYYY-MM-DD/hour=HH/<id>.parquet        rows whose `time` lies in that hour (UTC)
    logs/dt=YYYY-MM-DD/hour=HH/<id>.images.npy     the images those rows refer to, uint8 (n, H, W, C)

A file appears whole or not at all, and the images before the rows that name them. A crash loses at most the rows not yet flushed.
A flush that is repeated may write a row twice; readers keep one row a request. `driftloop.inference.log_writer` writes it.
"""

import hashlib
import io
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftloop.errors import InputError, IntegrityError
from driftloop.store.interface import Store

LOGS_PREFIX = "logs/"
IMAGES_SUFFIX = ".images.npy"
#: Status of a request that was answered; any other says what went wrong.
STATUS_OK = "ok"
#: How the bytes of an embedding are read: float16, little-endian.
EMBEDDING_DTYPE = "<f2"
#: Files fetched at a time: a busy hour is many small objects, each a round trip.
FILES_AT_ONCE = 8

LOG_SCHEMA = pa.schema(
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


def hour_folder(time: datetime) -> str:
    """The folder of the rows of that hour: `logs/dt=YYYY-MM-DD/hour=HH/`."""
    return time.astimezone(UTC).strftime(f"{LOGS_PREFIX}dt=%Y-%m-%d/hour=%H/")


def file_id() -> str:
    """A unique name that sorts by the time it was drawn."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"


def image_digest(image: np.ndarray) -> str:
    """The SHA-256 of an image's pixels in row order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def read_log(store: Store, *, after: datetime | None, until: datetime) -> pd.DataFrame:
    """The rows with `after` < time <= `until`, one a request (the first written), sorted by time and request id.

    Only the files of those hours are read. Failed requests (status other than `STATUS_OK`) have null predictions.

    Args:
        after: with a time zone; None reads from the beginning.
        until: with a time zone.

    Raises:
        IntegrityError: a file is not one of our log files.
    """
    keys = list(_log_keys(store, after, until))
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        tables = list(pool.map(lambda key: _read_log_file(store, key), keys))
    table = pa.concat_tables(tables) if tables else LOG_SCHEMA.empty_table()
    inside = pc.less_equal(table["time"], pa.scalar(until.astimezone(UTC), LOG_SCHEMA.field("time").type))
    if after is not None:
        inside = pc.and_(inside, pc.greater(table["time"], pa.scalar(after.astimezone(UTC), LOG_SCHEMA.field("time").type)))
    rows = table.filter(inside).to_pandas()
    # Files come in key order, so the first of two equal ids is the one written first.
    rows = rows.drop_duplicates("request_id", keep="first")
    return rows.sort_values(["time", "request_id"], ignore_index=True)


def read_images(store: Store, rows: pd.DataFrame) -> np.ndarray:
    """The logged images of `rows`, uint8 (n, H, W, C) in their order; each file is fetched once and each image checked.

    Raises:
        InputError: no rows, or one whose image was not sampled.
        IntegrityError: an image does not match its row's `image_sha256`.
    """
    if not len(rows):
        raise InputError("read_images: no rows; an empty selection has no image size")
    if rows["image"].isna().any():
        missing = rows.loc[rows["image"].isna(), "request_id"].iloc[0]
        raise InputError(f"request {missing}: its image was not kept; select rows whose `image` is set")
    places = [str(place).rsplit("#", 1) for place in rows["image"]]
    keys = sorted({key for key, _ in places})
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        files = dict(zip(keys, pool.map(lambda key: _read_image_file(store, key), keys), strict=True))
    images = np.stack([files[key][int(position)] for key, position in places])
    for image, digest, place in zip(images, rows["image_sha256"], rows["image"], strict=True):
        if image_digest(image) != digest:
            raise IntegrityError(f"{place}: the image does not match the checksum in its log row")
    return images


def logged_statistics(rows: pd.DataFrame) -> np.ndarray:
    """The image statistics of log rows, float32 (n, F)."""
    vectors = [np.asarray(vector, np.float32) for vector in rows["statistics"]]
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _log_keys(store: Store, after: datetime | None, until: datetime) -> Iterator[str]:
    """The log files of the hours from `after` to `until`, in key order, which is the order of the hours."""
    first = hour_folder(after) if after is not None else ""
    last = hour_folder(until)
    for entry in store.list(LOGS_PREFIX, after=first):
        if entry.key > last and not entry.key.startswith(last):
            return
        if entry.key.endswith(".parquet"):
            yield entry.key


def _read_log_file(store: Store, key: str) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(store.read(key)))
        return table.select(LOG_SCHEMA.names).cast(LOG_SCHEMA)
    except (pa.ArrowException, KeyError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not an inference log file ({str(broken).splitlines()[0]})") from None


def _read_image_file(store: Store, key: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(store.read(key)), allow_pickle=False)
    except (ValueError, EOFError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not an array file ({broken})") from None
