"""What a retraining reads, tiny: a dataset in a store, a champion, traffic with drifted requests, and the evidence of confirmed windows."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from driftloop import bundle
from driftloop.contracts import WINDOW_ROWS
from driftloop.dataset import Description, write_dataset
from driftloop.inference.log import image_digest
from driftloop.inference.traffic import Traffic, write_traffic
from driftloop.step_facts import write_facts
from driftloop.store import open_store
from driftloop.training import architectures
from driftloop.training.weights import save_weights
from tests.factories.datasets import SIDE, sample_table
from tests.factories.records import CLASSES, model_description, traffic_info

#: Two epochs on tiny batches: enough to see that everything is connected.
QUICK = {"epochs": 2, "batch_size": 20, "needed_labels": 60}


@dataclass(frozen=True)
class RetrainingInputs:
    """Paths of the artifacts, and the store's."""

    store: str
    traffic: Path
    champion: Path
    drift: Path
    parent: Description


def bright_squares(labels: np.ndarray, rng: np.random.Generator, *, level: int = 90) -> np.ndarray:
    """Grey noise uint8 (N, SIDE, SIDE, 1); class 1 has a bright square."""
    images = rng.normal(level, 10, (len(labels), SIDE, SIDE, 1))
    images[labels == 1, 8:20, 8:20] += 60
    return images.clip(0, 255).astype(np.uint8)


def bright_squares_split(split: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    labels = np.arange(count) % 2
    return bright_squares(labels, rng), labels, sample_table(split, count)


def write_trained_champion(directory: Path, dataset: Description) -> None:
    torch.manual_seed(0)
    directory.mkdir(parents=True)
    save_weights(architectures.build_network("residual", channels=1, classes=2), directory)
    bundle.write_model(
        directory,
        model_description(mean=dataset.mean, std=dataset.std, dataset=dataset.manifest_hash),
    )
    write_facts(directory, "model_optimization", {"epochs": 3})
    bundle.seal(directory)


def labelled_requests(
    count: int, labelled: int, *, origin: str = "random", seed: int = 1, prefix: str = "r"
) -> tuple[pd.DataFrame, np.ndarray]:
    """Requests in time order and their images; the first `labelled` carry labels of this origin.

    Every request is its own patient, every second one of site B.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    images = bright_squares(truth, rng, level=130)
    rows = pd.DataFrame(
        {
            "request_id": [f"{prefix}{number:05d}" for number in range(count)],
            "time": pd.date_range("2025-01-01", periods=count, freq="min", tz="UTC"),
            "model_version": "1",
            "status": "ok",
            "group": [f"{prefix}-patient-{number}" for number in range(count)],
            "tags": ['{"site": "B"}' if number % 2 else None for number in range(count)],
            "image_sha256": [image_digest(image) for image in images],
            "image": [f"logs/{prefix}.images.npy#{number}" for number in range(count)],
            "label": [CLASSES[truth[number]] if number < labelled else None for number in range(count)],
            "label_origin": [origin if number < labelled else None for number in range(count)],
            "fresh": True,
        }
    )
    return rows, images


def confirmed_windows(rows: pd.DataFrame, *, size: int = 50, confirmed: bool = True) -> pd.DataFrame:
    """All rows in windows of `size`, all of them confirmed or none."""
    return pd.DataFrame({"request_id": rows["request_id"], "window": np.arange(len(rows)) // size, "drifted": True, "confirmed": confirmed})


def write_traffic_and_evidence(
    folder: Path, store: str, rows: pd.DataFrame, images: np.ndarray, coverage: pd.DataFrame
) -> tuple[Path, Path]:
    """The traffic and the drift evidence, and the logged images in the store; their directories."""
    stream = io.BytesIO()
    np.save(stream, images)
    open_store(store).put(rows["image"].dropna().iloc[0].partition("#")[0], stream.getvalue())
    info = traffic_info(store=store, rows=len(rows), fresh_rows=len(rows))
    write_traffic(folder / "traffic", Traffic(rows, info))
    (folder / "drift").mkdir(parents=True, exist_ok=True)
    coverage.to_parquet(folder / "drift" / WINDOW_ROWS, index=False)
    return folder / "traffic", folder / "drift"


def write_retraining_inputs(folder: Path, *, labelled: int = 120, unlabelled: int = 80, origin: str = "random") -> RetrainingInputs:
    """Everything that a retraining reads."""
    rng = np.random.default_rng(0)
    uri = str(folder / "store")
    sizes = {"train": 60, "val": 20, "test": 20, "reference": 20}
    parent = write_dataset(
        open_store(uri), {split: bright_squares_split(split, n, rng) for split, n in sizes.items()}, classes=CLASSES, source="tiny"
    )
    write_trained_champion(folder / "champion", parent)
    rows, images = labelled_requests(labelled + unlabelled, labelled, origin=origin)
    traffic, drift = write_traffic_and_evidence(folder, uri, rows, images, confirmed_windows(rows, size=15))
    return RetrainingInputs(uri, traffic, folder / "champion", drift, parent)
