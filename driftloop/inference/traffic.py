"""The traffic artifact: everything of production that a watch judges, so that the steps after monitoring are pure functions.

    rows.parquet     the champion's answered requests, with labels       images.npy      their images, as far as they were kept
    traffic.json     what the watch covers (`TrafficInfo`)                records.json    the records of the watches before

Beside them production_monitoring leaves production_logs.csv, alerts.json, facts.json and TensorBoard's events/.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from driftloop.errors import InputError
from driftloop.step_facts import write_json
from driftloop.watch_record import WatchRecord

ROWS_FILE, IMAGES_FILE, INFO_FILE, RECORDS_FILE = "rows.parquet", "images.npy", "traffic.json", "records.json"
#: What the traffic adds to the columns of the log.
IMAGE_INDEX, LABEL, LABEL_ORIGIN, FRESH = "image_index", "label", "label_origin", "fresh"
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
    rows: int = Field(description="of the champion's version: fresh ones, and context (older rows whose labels may have come late)")
    fresh_rows: int = Field(description="of these, the ones that came after the last record")
    other_version_rows: int = Field(description="that came after the last record from other versions, and are not judged")


@dataclass(frozen=True)
class Traffic:
    """What a watch judges.

    `rows` have the columns of the inference log, and `image_index` (row of `images`, -1 where the image was not kept), `label` (class
    name, or missing), `label_origin` (one of `contracts.LABEL_ORIGINS`, or missing) and `fresh` (bool).
    """

    rows: pd.DataFrame
    """In time order."""
    images: np.ndarray
    """uint8 (n, H, W, C)."""
    info: TrafficInfo
    """What the watch covers."""
    records: list[WatchRecord] = field(default_factory=list)
    """Of the watches before, oldest first."""

    @property
    def fresh(self) -> pd.DataFrame:
        """The rows that came after the last record."""
        return self.rows[self.rows[FRESH].astype(bool)]


def write_traffic(path: str | Path, traffic: Traffic) -> None:
    """Write `traffic` into the directory `path`, which is made; traffic.json comes last and says that the rest is whole."""
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    traffic.rows.to_parquet(directory / ROWS_FILE, index=False)
    np.save(directory / IMAGES_FILE, traffic.images, allow_pickle=False)
    write_json(directory / RECORDS_FILE, [record.model_dump() for record in traffic.records])
    write_json(directory / INFO_FILE, traffic.info.model_dump())


def read_traffic(path: str | Path) -> Traffic:
    """The traffic in the directory `path`; its images are memory-mapped.

    Raises:
        InputError: the directory holds no traffic.
    """
    directory = Path(path)
    if not (directory / INFO_FILE).exists():
        raise InputError(f"{directory}: not the traffic of a watch (no {INFO_FILE}); pass the `traffic` output of production_monitoring")
    return Traffic(
        rows=pd.read_parquet(directory / ROWS_FILE),
        images=np.load(directory / IMAGES_FILE, mmap_mode="r", allow_pickle=False),
        info=TrafficInfo.model_validate_json((directory / INFO_FILE).read_bytes()),
        records=_records.validate_json((directory / RECORDS_FILE).read_bytes()),
    )


def label_indices(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """True classes as indices into `classes`, int64 (N,): -1 where there is no label, or one that is none of the classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index.get(name, -1) for name in rows[LABEL]], dtype=np.int64)
