"""What the store remembers of the gate: earlier champions on this test split, and how often it has been used.

Whom the candidate has to face: the champion, the best earlier one, and the drifted images that the champion was accepted for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop import registry
from driftloop.bundle import SUMS, read_model
from driftloop.dataset import description as descriptions
from driftloop.dataset.description import Description
from driftloop.inference.traffic import read_traffic
from driftloop.registry import Champion
from driftloop.registry.versions import gate_evidence, refusals
from driftloop.store import Store
from driftloop.watch_record import WatchRecord


@dataclass(frozen=True)
class GatedVersion:
    """A registered version and what its gate.json says: the test split's identity, its use number, the accuracy there.

    `whole` is False once the version was pruned: it still counts as a use of the split, and cannot be compared with any more.
    """

    version: str
    test_split: str
    test_uses: int
    accuracy: float
    whole: bool = True


def split_identity(description: Description, split: str = "test") -> str:
    """A hash of a split's images, the same in every dataset that points at the same shards; empty without such a split."""
    shards = sorted(shard.sha256 for shard in description.shards if shard.split == split)
    return hashlib.sha256("\n".join(shards).encode()).hexdigest() if shards else ""


def gated_versions(store: Store) -> list[GatedVersion]:
    """The registered versions that a gate judged, oldest first, pruned ones included."""
    whole = {info.version for info in registry.versions(store)}
    found = []
    for version, gate in gate_evidence(store).items():
        accuracy = (gate.get("accuracy") or {}).get("candidate_clean")
        if accuracy and gate.get("test_split"):
            uses = int(gate["test_uses"])
            found.append(GatedVersion(version, gate["test_split"], uses, float(accuracy["value"]), whole=version in whole))
    return found


def standing(champion: Champion | None) -> list[str]:
    """The versions that served and were not rolled back, oldest first."""
    return registry.standing(champion.history) if champion else []


def best_earlier(gated: Sequence[GatedVersion], served: Sequence[str], champion: str | None, test_split: str) -> GatedVersion | None:
    """The most accurate earlier champion on this test split, if it beat the present one there; rolled back versions do not count."""
    on_split = {one.version: one for one in gated if one.test_split == test_split}
    earlier = [on_split[version] for version in served if version in on_split and on_split[version].whole and version != champion]
    if not earlier:
        return None
    best = max(earlier, key=lambda one: one.accuracy)
    present = on_split.get(champion or "")
    return None if present is not None and present.accuracy >= best.accuracy else best


def count_uses(gated: Sequence[GatedVersion], refused: Sequence[dict[str, Any]], records: Sequence[WatchRecord], test_split: str) -> int:
    """How often the gate has used this test split before, as far as the store knows.

    A promoted candidate is a registered version, and a refused one of the training pipeline leaves its evidence. A refused retraining
    leaves only the record of its watch, which counts when the champion of that watch was judged on the same split. Without records (the
    training pipeline has no window) the highest count that was written down is the best that is known.

    Args:
        refused: the gate.json of each refused candidate of the training pipeline.
    """
    on_split = {one.version: one for one in gated if one.test_split == test_split}
    trained = [int(gate["test_uses"]) for gate in refused if gate.get("test_split") == test_split]
    retrained = sum(record.decision in ("reject", "inconclusive") and record.champion_version in on_split for record in records)
    counted = [one.test_uses for one in on_split.values()] + trained
    return max([len(on_split) + len(trained) + retrained, *counted])


DRIFTED_SPLIT = "drifted_gate"


@dataclass(frozen=True)
class Opponents:
    """Bundles on disk; a directory is None where there is no such model.

    `version` is the champion's in the registry, None where it is not registered. `accepted` is the dataset
    whose drifted hold-out the champion was accepted for, if there is one. `earlier_uses` counts the gates on this test split so far.
    """

    champion: Path | None
    version: str | None
    earlier: Path | None
    earlier_version: str
    accepted: Description | None
    earlier_uses: int


def find_opponents(store: Store, dataset: Description, champion: str | None, window: str | None, scratch: Path) -> Opponents:
    """Look in the dataset's home store, and fetch what is needed into `scratch`.

    Args:
        store: the dataset's home.
        dataset: the candidate's.
        champion: the champion's bundle, as the step was given it; None takes the one the store names.
        window: the window that the retraining answers to, with the records of earlier watches; or None.
        scratch: a directory that outlives the comparison.
    """
    current = registry.current(store)
    seen = read_traffic(window) if window else None
    if champion is not None:
        directory: Path | None = Path(champion)
        version = seen.info.champion_version if seen else registered_version(store, Path(champion))
    else:
        version = current.version if current else None
        directory = fetch(store, version, scratch / "champion") if version else None
    gated, test_split = gated_versions(store), split_identity(dataset)
    earlier = best_earlier(gated, standing(current), version, test_split) if directory else None
    return Opponents(
        champion=directory,
        version=version,
        earlier=fetch(store, earlier.version, scratch / "earlier") if earlier else None,
        earlier_version=earlier.version if earlier else "",
        accepted=accepted_drift(store, directory) if directory else None,
        earlier_uses=count_uses(gated, refusals(store), seen.records if seen else [], test_split),
    )


def registered_version(store: Store, bundle_dir: Path) -> str | None:
    """The registered version with the same files as the bundle, if any."""
    sums = (bundle_dir / SUMS).read_bytes() if (bundle_dir / SUMS).exists() else b""
    return next((info.version for info in registry.versions(store) if store.read(f"versions/{info.version}/{SUMS}") == sums), None)


def fetch(store: Store, version: str, directory: Path) -> Path:
    """A version's bundle, downloaded and verified."""
    registry.download(store, version, directory)
    return directory


def accepted_drift(store: Store, champion: Path) -> Description | None:
    """The champion's dataset, if it holds drifted images that the champion was accepted for.

    A model trained anew from the original source never saw the drift that its champion was retrained for; it must not take it away.
    """
    key = f"datasets/{read_model(champion).dataset}/{descriptions.DATASET_FILE}"
    if not store.exists(key):
        return None
    accepted = Description.model_validate_json(store.read(key)).model_copy(update={"store": store.uri})
    return accepted if accepted.counts.get(DRIFTED_SPLIT) else None
