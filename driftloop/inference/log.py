"""The inference log and how it is read back: one row a request, in parquet files, with sampled images beside them.

    logs/dt=YYYY-MM-DD/hour=HH/<writer>-<number>.parquet        rows of requests; the hour (UTC) is that in which the file was written
    logs/dt=YYYY-MM-DD/hour=HH/<writer>-<number>.images.npy     the images those rows refer to, uint8 (n, H, W, C)

A writer counts its files from 1, so that a reader knows which of them it has seen. A file appears whole or not at all, and the images
before the rows that name them. `driftloop.inference.log_writer` writes it. Files of driftloop 0.1.0 lie by the hour of their rows and
have no number.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftloop.errors import InputError, IntegrityError, NotFound
from driftloop.inference.log_files import LogFile, log_files
from driftloop.schema import SCHEMA_VERSION, check_schema
from driftloop.store.interface import Store

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
        # site, device, ... as a JSON object; null where there are none: maps do not survive pandas
        ("tags", pa.string()),
    ]
)


#: Counted up when a column's meaning changes; a new column alone breaks no reader. Form 1 had no numbers in the files' names.
LOG_FORM = 2
FORM_KEY = b"driftloop_schema_version"
#: Columns without which a file is no log.
ESSENTIAL = ("request_id", "time")


def image_digest(image: np.ndarray) -> str:
    """The SHA-256 of an image's pixels in row order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


def read_log(store: Store, *, after: datetime | None, until: datetime) -> pd.DataFrame:
    """The rows with `after` < time <= `until`, one a request (the first written), sorted by time and request id; every file is read.

    Failed requests (status other than `STATUS_OK`) have null predictions.

    Args:
        after: with a time zone; None reads from the beginning.
        until: with a time zone.

    Raises:
        IntegrityError: a file is not one of our log files.
    """
    tables = [rows_between(table, after, until) for _, table in read_log_files(store, list(log_files(store)))]
    rows = (pa.concat_tables(tables) if tables else LOG_SCHEMA.empty_table()).to_pandas()
    # Files come in key order, so the first of two equal ids is the one written first.
    rows = rows.drop_duplicates("request_id", keep="first")
    return rows.sort_values(["time", "request_id"], ignore_index=True)


def read_log_files(store: Store, files: Sequence[LogFile]) -> Iterator[tuple[LogFile, pa.Table]]:
    """The rows of each file, as `LOG_SCHEMA`, in the order of the files; a few are fetched at a time, so memory does not grow with them.

    A column that a file lacks is null; one that we do not know is left out.

    Raises:
        IntegrityError: a file is not one of our log files.
        StoreError: it was written by a newer driftloop.
    """
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for start in range(0, len(files), FILES_AT_ONCE):
            some = files[start : start + FILES_AT_ONCE]
            yield from zip(some, pool.map(lambda file: _read_log_file(store, file.key), some), strict=True)


def rows_between(table: pa.Table, after: datetime | None, until: datetime) -> pa.Table:
    """The rows of a log table with `after` < time <= `until`."""
    kind = LOG_SCHEMA.field("time").type
    inside = pc.less_equal(table["time"], pa.scalar(until.astimezone(UTC), kind))
    if after is not None:
        inside = pc.and_(inside, pc.greater(table["time"], pa.scalar(after.astimezone(UTC), kind)))
    return table.filter(inside)


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


def read_kept_images(store: Store, rows: pd.DataFrame) -> dict[int, np.ndarray]:
    """The logged images of `rows`, uint8 (H, W, C), by position: without rows whose image was not kept, or is gone from the store.

    Raises:
        IntegrityError: an image does not match its row's `image_sha256`.
    """
    images: dict[int, np.ndarray] = {}
    kept = np.flatnonzero(rows["image"].notna())
    files = np.array([place.rpartition("#")[0] for place in rows["image"].iloc[kept]])
    for name in sorted(set(files)):
        positions = kept[files == name]
        with suppress(NotFound):
            images.update(zip(positions.tolist(), read_images(store, rows.iloc[positions]), strict=True))
    return images


def logged_statistics(rows: pd.DataFrame) -> np.ndarray:
    """The image statistics of log rows, float32 (n, F)."""
    vectors = [np.asarray(vector, np.float32) for vector in rows["statistics"]]
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _read_log_file(store: Store, key: str) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(store.read(key)))
        form = int((table.schema.metadata or {}).get(FORM_KEY, b"1"))
        check_schema({SCHEMA_VERSION: form}, f"{store.uri}/{key}", LOG_FORM)
        missing = [name for name in ESSENTIAL if name not in table.column_names]
        if missing:
            raise KeyError(f"no column {missing[0]}")
        return with_schema(table, LOG_SCHEMA)
    except (pa.ArrowException, KeyError, ValueError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not an inference log file ({str(broken).splitlines()[0]})") from None


def with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema`: one that it lacks is null, one that the schema does not know is left out."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def _read_image_file(store: Store, key: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(store.read(key)), allow_pickle=False)
    except (ValueError, EOFError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not an array file ({broken})") from None
