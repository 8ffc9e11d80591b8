"""Whom the candidate has to face, and how often its test split has been used.

The champion, the best earlier one, and the drifted images that the champion was accepted for: what the store remembers of the gate.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.validation_gate.traffic_rule import share_of_new, shares_of_regimes
from driftloop import registry
from driftloop.bundle import digest_of, read_model
from driftloop.contracts import DRIFTED_GATE, INCONCLUSIVE, REJECT, TEST
from driftloop.dataset.description import Description
from driftloop.dataset.reading import stored_description
from driftloop.errors import NotFound
from driftloop.inference.traffic import read_traffic
from driftloop.registry.bundle_link import linked_bundle
from driftloop.registry.gate_evidence import refusals
from driftloop.registry.versions import complete_versions, evidence_by_version
from driftloop.store import Store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import read_records


@dataclass(frozen=True)
class Opponents:
    """Bundles on disk, and what belongs to them; a directory is None where there is no such model."""

    champion: Path | None
    """the champion's bundle"""
    version: str | None
    """the champion's number in the registry; None where it is not registered"""
    earlier: Path | None
    """bundle of the best earlier champion"""
    earlier_version: str
    """its number; empty where there is none"""
    dataset: Description | None
    """of the champion; None where the store does not have it"""
    earlier_uses: int
    """how often the gate has used this test split so far"""
    earlier_tries: int
    """how many retrainings of this champion the gate has judged, or may have"""
    new_share: float | None
    """share of the last four weeks' traffic that the new images stand for; None where no watch says"""
    regime_shares: dict[str, float] = field(default_factory=dict)
    """the same of what was nearest to each regime that the champion was accepted for; empty where no watch says"""
    concept: bool = False
    """whether the watch found that images which look as accepted mean something else now"""

    @property
    def accepted(self) -> Description | None:
        """The champion's dataset, if it holds drifted images that the champion was accepted for.

        A model trained anew from the original source never saw the drift that its champion was retrained for; it must not take it away.
        """
        return self.dataset if self.dataset and self.dataset.counts.get(DRIFTED_GATE) else None


@dataclass(frozen=True)
class GatedVersion:
    """A registered version and what its gate.json says."""

    version: str
    """its number"""
    test_split: str
    """identity of the test split that it was judged on, from `split_identity`"""
    test_uses: int
    """how often that split had been used by then, that time included"""
    accuracy: float
    """on that split"""
    whole: bool = True
    """False once it was pruned: it still counts as a use of the split, and cannot be compared with any more"""


def find_opponents(store: Store, dataset: Description, champion: str | None, traffic: str | None, scratch: Path) -> Opponents:
    """Look in the dataset's home store, and fetch what is needed into `scratch`.

    Args:
        store: the dataset's home.
        dataset: the candidate's.
        champion: the champion's bundle or a link to it, as the step was given it; None takes the one the store names.
        traffic: what the watch read that the retraining answers to, with the records of earlier watches; or None.
        scratch: a directory that outlives the comparison.
    """
    current = registry.current(store)
    watched = read_traffic(traffic) if traffic else None
    if champion is not None:
        given = linked_bundle(store, champion, scratch)
        directory: Path | None = given
        version = watched.info.champion_version if watched else registered_version(store, given)
    else:
        version = current.version if current else None
        directory = fetch(store, version, scratch / "champion") if version else None
    # The present watch has started its record with its verdict, before anything was trained.
    present = [record for record in read_records(store) if watched and record.sequence == watched.info.sequence]
    tag, concept = (present[-1].tag, present[-1].concept) if present else ("", False)
    gated, test_split = gated_versions(store), split_identity(dataset)
    served = registry.standing(current.history) if current else []
    earlier = best_earlier(gated, served, version, test_split) if directory else None
    records = [*watched.records, *present] if watched else []
    until = watched.info.until if watched else ""
    return Opponents(
        champion=directory,
        version=version,
        earlier=fetch(store, earlier.version, scratch / "earlier") if earlier else None,
        earlier_version=earlier.version if earlier else "",
        dataset=dataset_of(store, directory) if directory else None,
        earlier_uses=count_uses(gated, refusals(store), watched.records if watched else [], test_split),
        earlier_tries=count_tries(watched.records, version) if watched else 0,
        new_share=share_of_new(records, version, until, tag, concept=concept) if watched else None,
        # Of these windows some are what the candidate has learned anew, where that is a level's part or a changed meaning.
        regime_shares={} if tag or concept or not watched else shares_of_regimes(records, version, until),
        concept=concept,
    )


def registered_version(store: Store, bundle_dir: Path) -> str | None:
    """The registered version with the same files as the bundle, if any."""
    digest = digest_of(bundle_dir)
    return next((info.version for info in registry.versions(store) if info.digest == digest), None)


def fetch(store: Store, version: str, directory: Path) -> Path:
    """A version's bundle, downloaded and verified."""
    registry.download(store, version, directory)
    return directory


def dataset_of(store: Store, champion: Path) -> Description | None:
    """The champion's dataset; None where the store does not have it."""
    try:
        return stored_description(store, read_model(champion).dataset)
    except NotFound:
        return None


def split_identity(description: Description, split: str = TEST) -> str:
    """A hash of a split's images, the same in every dataset that points at the same shards; empty without such a split."""
    shards = sorted(shard.sha256 for shard in description.shards if shard.split == split)
    return hashlib.sha256("\n".join(shards).encode()).hexdigest() if shards else ""


def gated_versions(store: Store) -> list[GatedVersion]:
    """The registered versions that a gate judged, oldest first, pruned ones included."""
    whole = set(complete_versions(store))
    gated = []
    for version, gate in evidence_by_version(store).items():
        accuracy = (gate.get("accuracy") or {}).get("candidate_clean")
        if accuracy and gate.get("test_split"):
            uses = int(gate["test_uses"])
            gated.append(GatedVersion(version, gate["test_split"], uses, float(accuracy["value"]), whole=version in whole))
    return gated


def best_earlier(gated: Sequence[GatedVersion], served: Sequence[str], champion: str | None, test_split: str) -> GatedVersion | None:
    """The most accurate earlier champion on this test split, if it beat the present one there.

    Args:
        gated: versions that a gate judged.
        served: the versions that served and were not rolled back: only these count.
        champion: the present one.
        test_split: from `split_identity`.
    """
    on_split = {info.version: info for info in gated if info.test_split == test_split}
    earlier = [on_split[version] for version in served if version in on_split and on_split[version].whole and version != champion]
    if not earlier:
        return None
    best = max(earlier, key=lambda info: info.accuracy)
    present = on_split.get(champion or "")
    return None if present is not None and present.accuracy >= best.accuracy else best


def count_uses(gated: Sequence[GatedVersion], refused: Sequence[dict[str, Any]], records: Sequence[WatchRecord], test_split: str) -> int:
    """How often the gate has used this test split before, as far as the store knows.

    A promoted candidate is a registered version, and a refused one of the training pipeline leaves its evidence. A refused retraining
    leaves only the record of its watch, as does one that failed: these count when the champion of that watch was judged on the same
    split. Without records (the training pipeline reads no traffic) the highest count that was written down is the best that is known.

    Args:
        gated: versions that a gate judged.
        refused: the gate.json of each refused candidate of the training pipeline.
        records: of earlier watches.
        test_split: from `split_identity`.
    """
    on_split = {info.version: info for info in gated if info.test_split == test_split}
    trained = [int(gate["test_uses"]) for gate in refused if gate.get("test_split") == test_split]
    retrained = sum(record.champion_version in on_split for record in spent_tries(records))
    counted = [info.test_uses for info in on_split.values()] + trained
    return max([len(on_split) + len(trained) + retrained, *counted])


def count_tries(records: Sequence[WatchRecord], version: str | None) -> int:
    """How often candidates were judged by this champion's drifted images before: the refused ones, and any that was promoted and then
    rolled back, after which this champion serves again.

    Args:
        records: of earlier watches.
        version: of the champion.
    """
    return sum(record.champion_version == version and record.tried_to_retrain for record in records)


def spent_tries(records: Sequence[WatchRecord]) -> list[WatchRecord]:
    """The watches whose retraining the gate refused; of one that failed nobody knows whether its gate had looked, so it counts."""
    return [record for record in records if record.decision in (REJECT, INCONCLUSIVE) or (record.tried_to_retrain and not record.decision)]
