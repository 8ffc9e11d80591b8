"""A small production on disk: textured images, a fixed network, a champion with its references, and the traffic of its log.

The network is fixed (random features of the pixels and a threshold on a patch), so everything takes milliseconds; files, vectors
and tests are the real ones.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.bundle import REFERENCE, write_model
from driftloop.evaluation.intervals import wilson
from driftloop.inference.image_statistics import image_statistics, statistic_names
from driftloop.inference.log import image_digest
from driftloop.inference.log_files import LogCoverage
from driftloop.inference.reference import Regime, write_reference
from driftloop.inference.traffic import Traffic, write_traffic
from driftloop.scenarios import parse
from driftloop.store import open_store
from driftloop.watch_record import RecordedWindow, WatchRecord
from tests.factories.records import CLASSES, model_description, traffic_info, watch_record

SIDE = 16
START = datetime(2025, 3, 1, tzinfo=UTC)
_WEIGHTS = np.random.default_rng(99).normal(size=(SIDE * SIDE, 12)) / SIDE


def draw_images(count: int, rng: np.random.Generator, drift: str = "none") -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 16, 16, 1) under a drift scenario, and their true labels (N,): a bright patch in the middle means 1."""
    labels = rng.integers(0, 2, count)
    base = rng.normal(100, 8, (count, 1, 1)) + rng.normal(0, 12, (count, SIDE, SIDE))
    base[:, 5:11, 5:11] += np.where(labels == 1, 24.0, 0.0)[:, None, None]
    images = np.clip(base, 0, 255).astype(np.uint8)[..., None]
    return parse(drift).apply(images, rng), labels


def answer(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network says: probabilities float32 (N, 2) and embedding float16 (N, 13)."""
    pixels = images[..., 0].astype(np.float64) / 50
    inner = pixels[:, 5:11, 5:11].mean(axis=(1, 2)) - np.median(pixels, axis=(1, 2))
    positive = 1 / (1 + np.exp(-20 * (inner - 0.24)))
    features = np.maximum((pixels - 2).reshape(len(pixels), -1) @ _WEIGHTS, 0)
    embedding = np.concatenate([features, inner[:, None]], axis=1).astype(np.float16)
    return np.stack([1 - positive, positive], axis=1).astype(np.float32), embedding


def draw_regime(name: str, count: int, rng: np.random.Generator, drift: str = "none") -> Regime:
    images, _ = draw_images(count, rng, drift)
    probabilities, embedding = answer(images)
    groups = np.array([f"{name}-{number}" for number in range(count)])
    return Regime(name, embedding, image_statistics(images), probabilities, groups, images)


def write_champion_with_references(
    directory: Path, regimes: Sequence[Regime], *, correct: int = 930, n: int = 1000, dataset: str = "0" * 64
) -> Path:
    """A bundle with what drift detection reads of it: description, clean accuracy and references."""
    directory.mkdir(parents=True, exist_ok=True)
    write_model(
        directory,
        model_description(
            architecture="fixed",
            image_size=SIDE,
            mean=[0.4],
            std=[0.1],
            dataset=dataset,
            metrics={"served_accuracy": wilson(correct, n)},
            served="model.onnx",
        ),
    )
    write_reference(directory / REFERENCE, regimes, statistic_names(1))
    return directory


@dataclass
class GrowingLog:
    """A log that grows: `serve` answers images, `watch` writes the traffic that came since the last record."""

    rng: np.random.Generator
    store: str
    version: str = "1"
    now: datetime = START
    tables: list[pd.DataFrame] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    records: list[WatchRecord] = field(default_factory=list)
    since: datetime | None = None

    def serve(
        self,
        count: int,
        drift: str = "none",
        *,
        labels: int = 0,
        flip: float = 0.0,
        groups: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        drifted: np.ndarray | None = None,
    ) -> None:
        """Answer `count` images, one a minute; the first `labels` of them get random labels, of which `flip` are turned round.

        `drifted` (count,) bool: which of them drift; None: all. The labels of the others are never turned round.
        """
        images, truth = draw_images(count, self.rng, drift)
        if drifted is not None:
            clean, of_clean = draw_images(count, self.rng)
            images, truth = np.where(drifted[:, None, None, None], images, clean), np.where(drifted, truth, of_clean)
        probabilities, embedding = answer(images)
        times = [self.now + timedelta(minutes=minute + 1) for minute in range(count)]
        self.now = times[-1]
        first = sum(map(len, self.pictures))
        turned = (self.rng.random(count) < flip) & (True if drifted is None else drifted)
        named = np.where(turned, 1 - probabilities.argmax(axis=1), truth)
        self.tables.append(
            pd.DataFrame(
                {
                    "request_id": [f"r{first + index:06d}" for index in range(count)],
                    "time": pd.to_datetime(times, utc=True),
                    "model_version": self.version,
                    "status": "ok",
                    "predicted": [CLASSES[index] for index in probabilities.argmax(axis=1)],
                    "confidence": probabilities.max(axis=1),
                    "probabilities": list(probabilities),
                    "statistics": list(image_statistics(images)),
                    "embedding": [row.astype("<f2").tobytes() for row in embedding],
                    "latency_ms": np.float32(3),
                    "group": list(groups) if groups else None,
                    "image_sha256": [image_digest(image) for image in images],
                    "image": [f"logs/{first:06d}.images.npy#{index}" for index in range(count)],
                    "watch": 0,
                    "window": -1,
                    "for_pool": False,
                    "tag_waits": "",
                    "for_tag": False,
                    "tags": list(tags) if tags is not None else None,
                    "label": [CLASSES[value] if index < labels else None for index, value in enumerate(named)],
                    "label_origin": ["random" if index < labels else None for index in range(count)],
                }
            )
        )
        self.pictures.append(images)
        stream = io.BytesIO()
        np.save(stream, images)
        open_store(self.store).put(f"logs/{first:06d}.images.npy", stream.getvalue())

    def watch(self, directory: Path) -> Path:
        """The traffic artifact of a watch at this moment."""
        if not self.tables:
            quiet = GrowingLog(self.rng, self.store)
            quiet.serve(1)
        rows = pd.concat(self.tables, ignore_index=True) if self.tables else quiet.tables[0][:0]
        fresh = np.ones(len(rows), bool) if self.since is None else (rows["time"] > self.since).to_numpy()
        for record in self.records:
            for index, window in enumerate(record.windows):
                inside = rows["time"].between(pd.Timestamp(window.first), pd.Timestamp(window.last))
                rows.loc[inside, ["watch", "window"]] = record.sequence, index
        info = traffic_info(
            sequence=len(self.records) + 1,
            store=self.store,
            champion_version=self.version,
            since="" if self.since is None else self.since.isoformat(),
            until=self.now.isoformat(),
            statistic_names=list(statistic_names(1)),
            rows=len(rows),
            fresh_rows=int(fresh.sum()),
            requests=int(fresh.sum()),
        )
        write_traffic(directory, Traffic(rows.assign(fresh=fresh), info, list(self.records)))
        return directory

    def commit(self, drift: dict, *, decision: str | None = None) -> None:
        """What the report does at the end of a watch: leave its record."""
        self.records.append(
            watch_record(
                len(self.records) + 1,
                self.now.isoformat(),
                since="" if self.since is None else self.since.isoformat(),
                champion_version=self.version,
                windows=[RecordedWindow(**window) for window in drift["windows"]],
                confirmed=drift["confirmed"],
                verdict=drift["verdict"],
                reason=drift["reason"],
                decision=decision,
                outcome="kept" if decision else "watched",
                coverage=LogCoverage(),
            )
        )
        self.since = self.now
