"""Labels that arrive later, by request id: `labels/<id>.parquet`, never changed once written.

watch/requests/<sequence>.csv      what a watch asked for, and with which probability it was drawn: only those ids may come back as drawn
"""

import io
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from driftloop.contracts import BY_CLASS, DRAWN, IMPORT, LABEL_ORIGINS, RANDOM
from driftloop.errors import Conflict, InputError, IntegrityError
from driftloop.inference.log import with_schema
from driftloop.inference.log_files import STAMP, file_id
from driftloop.store.interface import Store
from driftloop.watch_store import REQUESTS_PREFIX, requests_key

LABELS_PREFIX = "labels/"
#: How far the clocks of two importers may differ.
CLOCKS_DIFFER = timedelta(hours=6)
#: Lists of what was asked for that are looked at, newest first: a label comes weeks later, not years.
MOST_LISTS = 1000
LABEL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("label", pa.string()),
        ("origin", pa.string()),
        ("labelled_at", pa.timestamp("us", tz="UTC")),
        # what became of it, in the user's own unit
        ("outcome", pa.float64()),
    ]
)

#: Columns without which a file holds no labels; `outcome` came later.
ESSENTIAL = ("request_id", "label", "origin", "labelled_at")


def write_labels(store: Store, frame: pd.DataFrame, *, name: str = "") -> str:
    """Write labels; returns the key of their file.

    Args:
        frame: request_id, label (class name), origin (one of `contracts.LABEL_ORIGINS`), and perhaps outcome, a number. Of a request
            that is named twice, the last row counts.
        name: of the file, by `file_id`, where the same labels may be written twice; drawn where not given.

    Raises:
        InputError: a column is missing, a value is empty, or an origin is unknown.
    """
    missing = [column for column in ("request_id", "label", "origin") if column not in frame]
    if missing:
        raise InputError(f"labels: no column {missing[0]!r}; needed are request_id, label and origin")
    columns = frame[["request_id", "label", "origin"]].reset_index(drop=True)
    for column in columns:
        empty = columns[column].isna() | (columns[column].astype(str).str.strip() == "")
        if empty.any():
            raise InputError(f"labels: row {int(empty.to_numpy().argmax()) + 1} has no {column}")
    unknown = sorted(set(columns["origin"]) - set(LABEL_ORIGINS))
    if unknown:
        raise InputError(f"labels: origin {unknown[0]!r} is not known; use one of {', '.join(LABEL_ORIGINS)}")
    outcome = frame["outcome"].astype(float).to_numpy() if "outcome" in frame else float("nan")
    stamped = columns.astype(str).assign(labelled_at=datetime.now(UTC), outcome=outcome)
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(stamped, schema=LABEL_SCHEMA, preserve_index=False), stream, compression="zstd")
    key = f"{LABELS_PREFIX}{name or file_id()}.parquet"
    try:
        store.create(key, stream.getvalue())
    except Conflict:
        if not name:
            raise
    return key


def write_requested(store: Store, sequence: int, requests: pd.DataFrame) -> None:
    """Remember what a watch asks labels for; a watch that is tried again asks for the same.

    Args:
        requests: request_id, origin, and perhaps purpose, stratum and probability (with which a request of that window is drawn).
    """
    if len(requests):
        columns = [name for name in ("request_id", "origin", "purpose", "stratum", "probability") if name in requests]
        store.put(requests_key(sequence), requests[columns].to_csv(index=False).encode())


class RequestedLabels:
    """The lists of the watches: which requests were drawn at random, and with which probability. Each list is read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: By request id, the largest probability with which it was drawn; NaN in lists of releases that did not write it.
        self.probabilities: dict[str, float] = {}
        #: The same of those drawn among the requests predicted as their class.
        self.by_class: dict[str, float] = {}
        self._through = ""

    def refresh(self) -> None:
        """Read the lists that have come since; of old ones the newest `MOST_LISTS`. Raises IntegrityError: a list cannot be read."""
        keys = sorted(entry.key for entry in self.store.list(REQUESTS_PREFIX, after=self._through))
        for key in keys[-MOST_LISTS:]:
            try:
                asked = pd.read_csv(io.BytesIO(self.store.read(key)), dtype={"request_id": str, "origin": str}, keep_default_na=True)
                for origin, known in ((RANDOM, self.probabilities), (BY_CLASS, self.by_class)):
                    drawn = asked[asked["origin"] == origin]
                    shares = drawn["probability"].astype(float) if "probability" in drawn else pd.Series(float("nan"), index=drawn.index)
                    for name, share in zip(drawn["request_id"], shares, strict=True):
                        known[name] = max(share, known.get(name, share))
            except (ValueError, KeyError) as broken:
                raise IntegrityError(f"{self.store.uri}: {key} is not a list of label requests ({str(broken).splitlines()[0]})") from None
            self._through = key

    def origin_of(self, request_id: str) -> str:
        """Which kind of list has drawn a request; `IMPORT` where none has."""
        return RANDOM if request_id in self.probabilities else BY_CLASS if request_id in self.by_class else IMPORT


def with_checked_origins(store: Store, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Labels whose origin is `random` or `by_class` only where such a list has drawn them, and how many others said so: now imports.

    A label that somebody chose to give would bias what harm and gate are judged by, whatever its line says. Where a store has no list at
    all (of watches of driftloop 0.1.0), the lines are believed.

    Args:
        frame: request_id, label and origin.
    """
    requested = RequestedLabels(store)
    requested.refresh()
    said = frame["origin"].isin(DRAWN)
    if not requested.probabilities or not said.any():
        return frame, 0
    checked = frame["origin"].where(~said, frame["request_id"].map(requested.origin_of))
    return frame.assign(origin=checked), int((checked[said] == IMPORT).sum())


def read_labels(store: Store, known: pd.DataFrame | None = None, through: str = "") -> tuple[pd.DataFrame, str]:
    """Every labelled request once, the newest label wins: request_id, label, origin, labelled_at; and the last label file.

    A request that was ever drawn at random stays "random" whatever corrections its label has later, and one drawn by class stays that:
    dropping corrected requests from a random sample would bias it towards the easy ones.

    Args:
        known: labels that were read before; None for none.
        through: the last label file of those. Files that were begun in the hours before it are read once more: their writers' clocks may
            differ, and a label that is read twice enters once.

    Raises:
        IntegrityError: a file is not one of our label files.
    """
    # A file whose writer's clock was days fast is read, and read again, but hides none that come after it with the right time.
    newest = f"{LABELS_PREFIX}{file_id()}"
    through = through if through <= newest else ""
    keys = [entry.key for entry in store.list(LABELS_PREFIX, after=_earlier(through)) if entry.key.endswith(".parquet")]
    tables = [_read_table(store, key).to_pandas() for key in keys]
    parts = [part for part in [known, *tables] if part is not None and len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else LABEL_SCHEMA.empty_table().to_pandas()
    drawn = [(origin, set(rows.loc[rows["origin"] == origin, "request_id"])) for origin in (BY_CLASS, RANDOM)]
    # File names sort by time, and a stable sort keeps the order within a file.
    rows = rows.sort_values("labelled_at", kind="stable").drop_duplicates("request_id", keep="last").reset_index(drop=True)
    for origin, ids in drawn:
        rows.loc[rows["request_id"].isin(ids), "origin"] = origin
    return rows, max([through, *(key for key in keys if key <= newest)])


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
        table = pq.read_table(io.BytesIO(store.read(key)))
        missing = [name for name in ESSENTIAL if name not in table.column_names]
        if missing:
            raise KeyError(f"no column {missing[0]}")
        return with_schema(table, LABEL_SCHEMA)
    except (pa.ArrowException, KeyError) as broken:
        raise IntegrityError(f"{store.uri}: {key} is not a label file ({str(broken).splitlines()[0]})") from None
