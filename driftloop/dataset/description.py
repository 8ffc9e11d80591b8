"""`dataset.json`: what a packed dataset is and where its shards lie.

A dataset is named by a hash of every pixel, every label and every split; not of where the shards lie or when they were written.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from driftloop.contracts import STRETCH
from driftloop.errors import InputError
from driftloop.schema import of_known_form, parse_stored

DATASET_FILE = "dataset.json"
#: The form in which `dataset.json` is written.
DATASET_SCHEMA = 1
#: Columns of the samples table, in order.
SAMPLE_COLUMNS = ("path", "label", "split", "group", "sha256", "width", "height")
#: A further one: site, device, ... as `driftloop.tags` stores them, empty for none. Datasets of driftloop 0.1.0 do not have it.
TAGS = "tags"


class Shard(BaseModel):
    """One `.npy` file in the store: uint8 images (rows, side, side, channels) of one split, in the order of the samples."""

    model_config = ConfigDict(frozen=True)

    key: str
    """In the store."""
    split: str
    rows: int
    sha256: str
    """Of the file's bytes."""


class Description(BaseModel):
    """Everything about a dataset but its images: the JSON form of `dataset.json`.

    The splits are those of `contracts.SPLITS`. A retraining dataset adds `contracts.DRIFTED_SPLITS` (labelled production images; also
    `RECENT_GATE`) and regime-1, regime-2 (unlabelled ones, label -1: the accepted regimes that a champion carries beside its reference).
    """

    model_config = ConfigDict(frozen=True)

    manifest_hash: str
    """The dataset's name: a hash of its content."""
    store: str
    """URI of the store that holds the shards."""
    source: str
    """What the images came from."""
    classes: list[str]
    """Names by label."""
    image_size: int
    """Side of the square images, in pixels."""
    channels: int
    """1 for grey, 3 for colour."""
    mean: list[float]
    """By channel, of the training images, on the scale 0-1."""
    std: list[float]
    """Likewise."""
    counts: dict[str, int]
    """Images by split."""
    samples: str
    """Store key of a parquet file, a row per image in shard order: `SAMPLE_COLUMNS` and `TAGS`, label as int, sha256 of the source file."""
    shards: list[Shard]
    parent: str | None = None
    """The hash of the dataset that this one grew out of."""
    resize: str = STRETCH
    """How pictures that are no square became one: of `contracts.RESIZE_MODES`."""
    deep_range: int = 0
    """The level that became 255 in images of more than 8 bits, one of `decoding.DEEP_RANGES`: the smallest that holds all of them. 0: there
    were none, or, in datasets of driftloop 0.1.0, each was read by its own."""
    shares: dict[str, float] = Field(default_factory=dict)
    """By which its splits were cut, where the source did not bring them; empty in datasets of driftloop 0.1.0."""
    naming: dict[str, str] = Field(default_factory=dict)
    """The settings of `data_config` (`classes`, `group_pattern`) that told classes and groups by the names of files; without those that are
    empty. A new site's files are read by the same."""
    schema_version: int = DATASET_SCHEMA
    """The form of the file."""

    _of_a_known_form = of_known_form(DATASET_FILE, DATASET_SCHEMA)


def read_description(directory: str | Path) -> Description:
    """The description of the dataset artifact in `directory`.

    Raises:
        InputError: the directory holds no dataset.
        IntegrityError: its description is damaged.
    """
    path = Path(directory, DATASET_FILE)
    if not path.exists():
        raise InputError(f"{directory}: not a dataset (no {DATASET_FILE}); pass the `dataset` output of data_analysis")
    return parse_stored(Description, path.read_bytes(), str(path))


def manifest_hash(
    classes: Sequence[str],
    image_size: int,
    channels: int,
    shards: Sequence[Shard],
    samples: pd.DataFrame,
    resize: str = STRETCH,
    deep_range: int = 0,
) -> str:
    """The content hash that names a dataset: equal content, equal name; that of stretched images of 8 bits is what it always was."""
    content = {
        "classes": list(classes),
        "image_size": image_size,
        "channels": channels,
        "shards": [[shard.split, shard.rows, shard.sha256] for shard in shards],
        "samples": samples_hash(samples),
    }
    content |= ({} if resize == STRETCH else {"resize": resize}) | ({"deep_range": deep_range} if deep_range else {})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def samples_hash(samples: pd.DataFrame) -> str:
    """Content hash of the samples table; unlike its parquet file's, it does not depend on the library that writes it.

    Tags count where there are any: a dataset without them has the name that it always had.
    """
    digest = hashlib.sha256()
    columns = (*SAMPLE_COLUMNS, TAGS) if TAGS in samples and (samples[TAGS] != "").any() else SAMPLE_COLUMNS
    for row in zip(*(samples[column] for column in columns), strict=True):
        digest.update(json.dumps([value if isinstance(value, str) else int(value) for value in row]).encode())
    return digest.hexdigest()


def with_tags_column(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with the column `TAGS`, empty where they come without it."""
    return samples if TAGS in samples else samples.assign(**{TAGS: ""})
