"""The window artifact: everything of production that a watch judges, so that the steps after monitoring are pure functions.

rows.parquet images.npy traffic.json records.json production_logs.csv alerts.json facts.json
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter

from driftloop.errors import InputError
from driftloop.step_facts import write_json
from driftloop.watch_record import WatchRecord

ROWS_FILE, IMAGES_FILE, INFO_FILE, RECORDS_FILE = "rows.parquet", "images.npy", "traffic.json", "records.json"
#: What the window adds to the columns of the log.
IMAGE_INDEX, LABEL, LABEL_ORIGIN, FRESH = "image_index", "label", "label_origin", "fresh"
ADDED = (IMAGE_INDEX, LABEL, LABEL_ORIGIN, FRESH)
_records = TypeAdapter(list[WatchRecord])


class TrafficInfo(BaseModel):
    """`traffic.json`. Times are ISO 8601 in UTC; a first watch has an empty `since`.

    `sequence` is the number under which this watch will be recorded. `rows` counts the rows of the champion's version: `fresh_rows`
    of them came after the last record, the others are context (older rows whose labels may have come late). `other_version_rows`
    came after the last record too, from other versions, and are not judged.
    """

    model_config = ConfigDict(frozen=True)

    sequence: int
    store: str
    champion_version: str
    since: str
    until: str
    classes: list[str]
    statistic_names: list[str]
    rows: int
    fresh_rows: int
    other_version_rows: int


@dataclass(frozen=True)
class Traffic:
    """A watch's rows in time order, their images, what they are, and the records of the watches before.

    `rows`: the columns of the inference log, and `image_index` (row of `images`, -1 where the image was not kept), `label` (class
    name, or missing), `label_origin` ("random", "ranked", "import", or missing), `fresh` (bool). `images`: uint8 (n, H, W, C).
    """

    rows: pd.DataFrame
    images: np.ndarray
    info: TrafficInfo
    records: list[WatchRecord] = field(default_factory=list)

    @property
    def fresh(self) -> pd.DataFrame:
        """The rows that came after the last record."""
        return self.rows[self.rows[FRESH].astype(bool)]

    @property
    def labelled(self) -> pd.DataFrame:
        """The rows whose true class is known by now."""
        return self.rows[self.rows[LABEL].notna()]


def write_traffic(path: str | Path, window: Traffic) -> None:
    """Write `window` into the directory `path`, which is made; traffic.json comes last and says that the rest is whole."""
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    window.rows.to_parquet(directory / ROWS_FILE, index=False)
    np.save(directory / IMAGES_FILE, window.images, allow_pickle=False)
    write_json(directory / RECORDS_FILE, [record.model_dump() for record in window.records])
    write_json(directory / INFO_FILE, window.info.model_dump())


def read_traffic(path: str | Path) -> Traffic:
    """The window in the directory `path`; its images are memory-mapped.

    Raises:
        InputError: the directory holds no window.
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
