"""What in a store is named by what: the versions that somebody may still ask for, and the datasets that they and running work need.

Everything here errs on the side of keeping: what cannot be read is an error, not a reason to delete.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import ValidationError

from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset.description import NAME as DATASET
from driftloop.dataset.description import Description
from driftloop.dataset.shards import PREFIX as DATASETS
from driftloop.errors import IntegrityError
from driftloop.registry import Champion, standing
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.store import Store
from driftloop.watch_record import WatchRecord


def named_versions(champion: Champion, records: Iterable[WatchRecord]) -> set[str]:
    """Every version that the pointer's history or a watch record names."""
    return recently_named(champion, records, datetime.min.replace(tzinfo=UTC))


def recently_named(champion: Champion, records: Iterable[WatchRecord], cutoff: datetime) -> set[str]:
    """The versions named after `cutoff`: a watch that began before a promotion or a rollback may still work on them."""
    recent = [change for change in champion.history if datetime.fromisoformat(change.at) > cutoff]
    names = {name for change in recent for name in (change.version, change.before)}
    for record in records:
        if datetime.fromisoformat(record.finished) > cutoff:
            names |= {record.champion_version, record.promoted_version}
    return {name for name in names if name}


def last_standing(champion: Champion, most: int) -> set[str]:
    """The champion and the `most` versions before it to which rollbacks return, one by one."""
    return set(standing(champion.history)[-1 - most :]) | {champion.version}


def model_of(store: Store, version: str) -> ModelDescription:
    """A version's description.

    Raises:
        IntegrityError: it cannot be read, so nobody knows which dataset the version needs.
    """
    key = f"{VERSIONS}{version}/{bundle.DESCRIPTION}"
    try:
        return ModelDescription.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def with_parents(store: Store, versions: Iterable[str], complete: set[str]) -> set[str]:
    """The versions and all that they were fine-tuned from, as far as those are complete."""
    found: set[str] = set()
    waiting = [version for version in versions if version in complete]
    while waiting:
        version = waiting.pop()
        if version not in found:
            found.add(version)
            parent = model_of(store, version).parent
            waiting += [parent] if parent in complete else []
    return found


def with_shards(store: Store, hashes: Iterable[str], complete: set[str]) -> set[str]:
    """The datasets and all whose shards or tables they point at: a retraining's dataset copies nothing of the one it grew out of."""
    found: set[str] = set()
    waiting = list(hashes)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in complete:
            dataset = _dataset(store, name)
            keys = [dataset.samples, *(shard.key for shard in dataset.shards)]
            waiting += [key.split("/")[1] for key in keys] + ([dataset.parent] if dataset.parent else [])
    return found


def _dataset(store: Store, name: str) -> Description:
    key = f"{DATASETS}{name}/{DATASET}"
    try:
        return Description.model_validate_json(store.read(key))
    except ValidationError:
        raise _unreadable(store, key) from None


def _unreadable(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"{store.uri}/{key}: cannot be read, so nobody knows what it needs; restore it from a backup, nothing was deleted"
    )
