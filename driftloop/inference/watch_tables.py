"""What a watch keeps for the watches after it, so that none of them reads the log again: rows of its windows, and all labels.

    watch/rows/<sequence>-<hash>.parquet      rows of windows that drifted, tested rows of the latest ones, and rows that wait for a window
    watch/labels/<sequence>-<hash>.parquet    every label that was known, once

Each is named by its content and by the record that refers to it; the record is written after them.
"""

import hashlib
import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.errors import IntegrityError
from driftloop.inference.labels import LABEL_SCHEMA
from driftloop.inference.log import ESSENTIAL, LOG_SCHEMA, with_schema
from driftloop.store.interface import Store
from driftloop.watch_store import LABEL_TABLES, WINDOW_ROWS

#: Of a row: the watch that tested it (0: none yet), and the index of its window in that watch's record (-1: none yet).
WATCH, WINDOW = "watch", "window"
NOT_TESTED, NO_WINDOW = 0, -1
#: Of a row: whether it is kept only so that its window can be tested together with the next ones; missing where it is not known.
FOR_POOL = "for_pool"
#: Of a row: the tags, by name and separated by blanks, whose own windows it waits for; and whether it is kept only for the sake of tags.
TAG_WAITS, FOR_TAG = "tag_waits", "for_tag"
ROW_SCHEMA = pa.schema(
    [*LOG_SCHEMA, (WATCH, pa.int64()), (WINDOW, pa.int64()), (FOR_POOL, pa.bool_()), (TAG_WAITS, pa.string()), (FOR_TAG, pa.bool_())]
)


def write_window_rows(store: Store, sequence: int, rows: pd.DataFrame) -> str:
    """Store rows with the columns of `ROW_SCHEMA`; the key of their object, or empty without rows."""
    return _write(store, WINDOW_ROWS, sequence, rows, ROW_SCHEMA)


def read_window_rows(store: Store, key: str) -> pd.DataFrame:
    """Rows that `write_window_rows` has stored. Raises IntegrityError when they are damaged, NotFound when they are gone."""
    return _read(store, key, ROW_SCHEMA, [*ESSENTIAL, WATCH, WINDOW])


def write_label_table(store: Store, sequence: int, labels: pd.DataFrame) -> str:
    """Store labels with the columns of `LABEL_SCHEMA`; the key of their object, or empty without labels."""
    return _write(store, LABEL_TABLES, sequence, labels, LABEL_SCHEMA)


def read_label_table(store: Store, key: str) -> pd.DataFrame:
    """Labels that `write_label_table` has stored. Raises IntegrityError when they are damaged, NotFound when they are gone."""
    return _read(store, key, LABEL_SCHEMA, LABEL_SCHEMA.names)


def _write(store: Store, prefix: str, sequence: int, rows: pd.DataFrame, schema: pa.Schema) -> str:
    if not len(rows):
        return ""
    stream = io.BytesIO()
    # Rows that were read before a column was there do not have it.
    table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema=schema, preserve_index=False)
    pq.write_table(table, stream, compression="zstd")
    data = stream.getvalue()
    key = f"{prefix}{sequence:08d}-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    store.put(key, data)
    return key


def _read(store: Store, key: str, schema: pa.Schema, essential: Sequence[str]) -> pd.DataFrame:
    try:
        table = pq.read_table(io.BytesIO(store.read(key)))
        table.select(essential)
        return with_schema(table, schema).to_pandas()
    except (pa.ArrowException, KeyError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is damaged ({str(broken).splitlines()[0]}); restore it from a backup") from None
