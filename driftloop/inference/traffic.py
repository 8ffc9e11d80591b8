"""The traffic artifact: what of production a watch judges.

    rows.parquet     the champion's answered requests, with labels       labels.parquet   every label that is known
    traffic.json     what the watch covers (`TrafficInfo`)                records.json    the records of the watches before

Images stay in the log: the rows name them, and `driftloop.inference.log.read_images` fetches those that are wanted. Beside these files
production_monitoring leaves production_logs.csv, alerts.json, facts.json and TensorBoard's events/.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from driftloop.errors import InputError
from driftloop.inference.labels import LABEL_SCHEMA
from driftloop.inference.log_files import LogCoverage
from driftloop.step_facts import write_json
from driftloop.watch_record import WatchRecord

ROWS_FILE, LABELS_FILE, INFO_FILE, RECORDS_FILE = "rows.parquet", "labels.parquet", "traffic.json", "records.json"
#: What the traffic adds to the columns of the log, beside the `WATCH` and `WINDOW` that tested a row.
LABEL, LABEL_ORIGIN, FRESH = "label", "label_origin", "fresh"
_records = TypeAdapter(list[WatchRecord])


class TrafficInfo(BaseModel):
    """`traffic.json`: what a watch covers. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    sequence: int = Field(description="number under which this watch will be recorded")
    store: str = Field(description="URI of the model's home")
    champion_version: str = Field(description="version that is watched")
    since: str = Field(description="end of the last committed watch; empty for the first one")
    until: str = Field(description="end of this watch")
    classes: list[str] = Field(description="the champion's, in the order of its probabilities")
    statistic_names: list[str] = Field(description="of the columns of the image statistics, in order")
    rows: int = Field(description="of the champion's version that are handed on: fresh ones, and context (of earlier watches)")
    fresh_rows: int = Field(description="of these, the ones that no watch before has covered")
    requests: int = Field(0, description="of the champion's version that no watch before has covered; more than fresh_rows in a sample")
    sampled: float = Field(1.0, description="share of all new requests that is looked at; below 1 where they were too many")
    late_rows: int = Field(0, description="new requests of a time that an earlier watch has covered already")
    other_version_rows: int = Field(description="new requests that other versions answered; they are not judged")
    coverage: LogCoverage = Field(LogCoverage(), description="log files that are covered with this watch")
    label_table: str = Field("", description="object with the labels that the watch before knew; empty without any, or where it is gone")
    labels_through: str = Field("", description="last label file that was read")
    new_labels: bool = Field(False, description="whether label files have come since that object was written, or it is gone")


@dataclass(frozen=True)
class Traffic:
    """What a watch judges.

    `rows` have the columns of the inference log, and `watch` and `window` (which test covered the row: see `watch_tables`), `label`
    (class name, or missing), `label_origin` (one of `contracts.LABEL_ORIGINS`, or missing) and `fresh` (bool).
    """

    rows: pd.DataFrame
    """In time order."""
    info: TrafficInfo
    """What the watch covers."""
    records: list[WatchRecord] = field(default_factory=list)
    """Of the watches before, oldest first."""
    labels: pd.DataFrame = field(default_factory=lambda: LABEL_SCHEMA.empty_table().to_pandas())
    """Every label that is known: request_id, label, origin, labelled_at."""

    @property
    def fresh(self) -> pd.DataFrame:
        """The rows that no watch before has covered."""
        return self.rows[self.rows[FRESH].astype(bool)]


def write_traffic(path: str | Path, traffic: Traffic) -> None:
    """Write `traffic` into the directory `path`, which is made; traffic.json comes last and says that the rest is whole."""
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    traffic.rows.to_parquet(directory / ROWS_FILE, index=False)
    traffic.labels.to_parquet(directory / LABELS_FILE, index=False)
    write_json(directory / RECORDS_FILE, [record.model_dump() for record in traffic.records])
    write_json(directory / INFO_FILE, traffic.info.model_dump())


def read_traffic(path: str | Path) -> Traffic:
    """The traffic in the directory `path`.

    Raises:
        InputError: the directory holds no traffic.
    """
    directory = Path(path)
    if not (directory / INFO_FILE).exists():
        raise InputError(f"{directory}: not the traffic of a watch (no {INFO_FILE}); pass the `traffic` output of production_monitoring")
    return Traffic(
        rows=pd.read_parquet(directory / ROWS_FILE),
        info=TrafficInfo.model_validate_json((directory / INFO_FILE).read_bytes()),
        records=_records.validate_json((directory / RECORDS_FILE).read_bytes()),
        labels=pd.read_parquet(directory / LABELS_FILE),
    )


def label_indices(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """True classes as indices into `classes`, int64 (N,): -1 where there is no label, or one that is none of the classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index.get(name, -1) for name in rows[LABEL]], dtype=np.int64)
