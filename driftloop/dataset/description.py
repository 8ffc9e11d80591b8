"""`dataset.json`: what a packed dataset is and where its shards lie."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from driftloop.errors import InputError

NAME = "dataset.json"


class Shard(BaseModel):
    """One `.npy` file in the store: uint8 images (rows, side, side, channels) of one split, in the order of the samples."""

    model_config = ConfigDict(frozen=True)

    key: str
    split: str
    rows: int
    sha256: str


class Description(BaseModel):
    """Everything about a dataset but its images: the JSON form of `dataset.json`.

    `samples` is the store key of a parquet file with one row per image in shard order: path, label (int), split, group, sha256
    (of the source file), width, height. Splits: train, val, test, reference and stream; a retraining dataset adds drifted_train,
    drifted_val and drifted_gate (labelled production images) and regime-1, regime-2 (unlabelled ones, label -1: the accepted
    regimes a champion carries beside its reference).
    """

    model_config = ConfigDict(frozen=True)

    manifest_hash: str
    store: str
    source: str
    classes: list[str]
    image_size: int
    channels: int
    mean: list[float]
    std: list[float]
    counts: dict[str, int]
    samples: str
    shards: list[Shard]
    parent: str | None = None


def read_description(directory: str | Path) -> Description:
    """The description of the dataset artifact in `directory`.

    Raises:
        InputError: the directory holds no dataset.
    """
    path = Path(directory, NAME)
    if not path.exists():
        raise InputError(f"{directory}: not a dataset (no {NAME}); pass the `dataset` output of data_analysis")
    return Description.model_validate_json(path.read_bytes())
