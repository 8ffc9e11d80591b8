"""Labels that arrive later, by request id: `labels/<id>.parquet`, never changed once written."""

import io
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.contracts import LABEL_ORIGINS, RANDOM
from driftloop.errors import InputError, IntegrityError
from driftloop.inference.log_files import STAMP, file_id
from driftloop.store.interface import Store

LABELS_PREFIX = "labels/"
#: How far the clocks of two importers may differ.
CLOCKS_DIFFER = timedelta(hours=6)
LABEL_SCHEMA = pa.schema(
    [("request_id", pa.string()), ("label", pa.string()), ("origin", pa.string()), ("labelled_at", pa.timestamp("us", tz="UTC"))]
)


def write_labels(store: Store, frame: pd.DataFrame) -> str:
    """Write labels; returns the key of their file.

    Args:
        frame: request_id, label (class name) and origin (one of `contracts.LABEL_ORIGINS`). Of a request that is named
            twice, the last row counts.

    Raises:
        InputError: a column is missing, a value is empty, or an origin is unknown.
    """
    missing = [name for name in ("request_id", "label", "origin") if name not in frame]
    if missing:
        raise InputError(f"labels: no column {missing[0]!r}; needed are request_id, label and origin")
    columns = frame[["request_id", "label", "origin"]].reset_index(drop=True)
    for name in columns:
        empty = columns[name].isna() | (columns[name].astype(str).str.strip() == "")
        if empty.any():
            raise InputError(f"labels: row {int(empty.to_numpy().argmax()) + 1} has no {name}")
    unknown = sorted(set(columns["origin"]) - set(LABEL_ORIGINS))
    if unknown:
        raise InputError(f"labels: origin {unknown[0]!r} is not known; use one of {', '.join(LABEL_ORIGINS)}")
    stamped = columns.astype(str).assign(labelled_at=datetime.now(UTC))
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(stamped, schema=LABEL_SCHEMA, preserve_index=False), stream, compression="zstd")
    key = f"{LABELS_PREFIX}{file_id()}.parquet"
    store.create(key, stream.getvalue())
    return key


def read_labels(store: Store, known: pd.DataFrame | None = None, through: str = "") -> tuple[pd.DataFrame, str]:
    """Every labelled request once, the newest label wins: request_id, label, origin, labelled_at; and the last label file.

    A request that was ever drawn at random stays "random" whatever corrections its label has later: dropping corrected requests
    from the random sample would bias it towards the easy ones.

    Args:
        known: labels that were read before; None for none.
        through: the last label file of those. Files that were begun in the hours before it are read once more: their writers' clocks may
            differ, and a label that is read twice enters once.

    Raises:
        IntegrityError: a file is not one of our label files.
    """
    keys = [entry.key for entry in store.list(LABELS_PREFIX, after=_earlier(through)) if entry.key.endswith(".parquet")]
    tables = [_read_table(store, key).to_pandas() for key in keys]
    parts = [part for part in [known, *tables] if part is not None and len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else LABEL_SCHEMA.empty_table().to_pandas()
    drawn = set(rows.loc[rows["origin"] == RANDOM, "request_id"])
    # File names sort by time, and a stable sort keeps the order within a file.
    rows = rows.sort_values("labelled_at", kind="stable").drop_duplicates("request_id", keep="last").reset_index(drop=True)
    rows.loc[rows["request_id"].isin(drawn), "origin"] = RANDOM
    return rows, max([through, *keys])


def _earlier(through: str) -> str:
    """The name that a label file begun `CLOCKS_DIFFER` before the file `through` would begin with."""
    stamp = through.removeprefix(LABELS_PREFIX).partition("-")[0]
    try:
        begun = datetime.strptime(stamp, STAMP)
    except ValueError:
        return ""
    return f"{LABELS_PREFIX}{begun - CLOCKS_DIFFER:{STAMP}}"


def _read_table(store: Store, key: str) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(store.read(key))).select(LABEL_SCHEMA.names).cast(LABEL_SCHEMA)
    except (pa.ArrowException, KeyError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not a label file ({str(broken).splitlines()[0]})") from None
