"""A store with a past: versions that serve, served or never did, datasets that grew out of each other, and what killed steps left."""

import json
from pathlib import Path

from driftloop import bundle, registry
from driftloop.dataset import Description, extend_dataset, open_split
from driftloop.dataset.writing import write_dataset
from driftloop.registry.champion import read_pointer
from driftloop.store import Store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import record_key
from tests.factories.candidates import write_candidate, write_gate_evidence
from tests.factories.datasets import random_split
from tests.factories.records import CLASSES, watch_record

#: A dataset of which only a shard was written.
UNFINISHED = "f" * 64


class StoreHistory:
    """Versions are registered with the dataset they were trained on; what is written is as old as its store says."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.count = 0

    def dataset(self, seed: int) -> Description:
        return write_dataset(
            self.store, {"train": random_split(4, seed=seed), "test": random_split(4, seed=seed + 1)}, classes=CLASSES, source="test"
        )

    def grown(self, parent: Description, seed: int) -> Description:
        return extend_dataset(self.store, parent, {"drifted_train": random_split(4, seed=seed)})

    def register(self, dataset: str, *, parent: str | None = None) -> str:
        """A complete version, not promoted."""
        self.count += 1
        candidate = write_candidate(self.folder / f"candidate-{self.count}", seed=self.count, parent=parent)
        bundle.write_model(candidate, bundle.read_model(candidate).model_copy(update={"dataset": dataset}))
        bundle.seal(candidate)
        champion = read_pointer(self.store)[0]
        before = champion.version if champion else None
        evidence = write_gate_evidence(self.folder / f"evidence-{self.count}", candidate, champion=before, dataset=dataset)
        return registry.register(self.store, candidate, evidence, run=f"run-{self.count}")

    def promote(self, version: str) -> None:
        champion = read_pointer(self.store)[0]
        registry.promote(self.store, version, expected=champion.version if champion else None, reason="better", by_person=True)

    def watched(self, sequence: int, champion: str, finished: str = "2026-01-01T00:00:00+00:00", **changed: object) -> WatchRecord:
        """Commit the record of a watch."""
        record = watch_record(sequence, finished, champion_version=champion, **changed)
        self.store.create(record_key(sequence), record.model_dump_json().encode())
        return record

    def check(self) -> None:
        """Whatever looks whole is whole: versions match their checksums, datasets open, and the champion can be fetched."""
        champion = registry.current(self.store)
        assert champion is not None
        complete = [info.version for info in registry.versions(self.store)]
        assert champion.version in complete
        for version in complete:
            registry.download(self.store, version, self.folder / "fetched" / version)
        for info in self.store.list("datasets/"):
            if info.key.endswith("/dataset.json"):
                description = Description(**json.loads(self.store.read(info.key)))
                for split in description.counts:
                    open_split(description, split)
