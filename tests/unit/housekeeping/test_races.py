"""Fifty promotions, or fifty ingestions, against fifty prunes: whatever is told to be there is there."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop import registry
from driftloop.dataset import Description, open_split
from driftloop.errors import Conflict, NotFound
from driftloop.housekeeping.pruning import HOME_KINDS, PrunePolicy, carry_out_prune, plan_prune
from driftloop.store import Store
from tests.factories.store_history import StoreHistory
from tests.unit.housekeeping.killed import prune

RACERS = 50


def race(*sides: Callable[[int], object]) -> list[list[object]]:
    """What each side's fifty threads answered; all begin at once."""
    together = threading.Barrier(RACERS * len(sides))

    def begin(side: Callable[[int], object], number: int) -> object:
        together.wait()
        return side(number)

    with ThreadPoolExecutor(RACERS * len(sides)) as threads:
        running = [[threads.submit(begin, side, number) for number in range(RACERS)] for side in sides]
        return [[answer.result() for answer in side] for side in running]


def prune_two_days_later(store: Store) -> list[str]:
    """What a prune deleted; what was marked in the race waits for a day more."""
    policy = PrunePolicy(datetime.now(UTC) + timedelta(hours=1), in_use=frozenset())
    now = datetime.now(UTC) + timedelta(days=2)
    pruned = carry_out_prune(store, lambda: plan_prune(store, policy), dict.fromkeys(HOME_KINDS, store), now, wait_s=86_400)
    return [item.name for item, mark in pruned if mark is None]


@pytest.fixture
def marked(history: StoreHistory) -> StoreHistory:
    """A store with versions and datasets that a prune marked long ago."""
    for seed in (100, 200, 300):
        history.register(history.dataset(seed).manifest_hash, parent="2")
        history.dataset(seed + 50)
    history.promote("3")
    prune(history.store, days=0)
    return history


def test_promotions_against_prunes_leave_a_whole_champion(marked: StoreHistory, tmp_path: Path) -> None:
    store = marked.store

    def promote(number: int) -> str:
        version = str(5 + number % 3)
        try:
            champion = registry.current(store)
            assert champion is not None
            return registry.promote(store, version, expected=champion.version, reason="better", by_person=True).version
        except (Conflict, NotFound):
            return ""

    promoted, pruned = race(promote, lambda number: prune_two_days_later(store))
    StoreHistory(store, tmp_path / "after").check()
    for info in registry.versions(store):
        assert store.exists(f"datasets/{info.dataset}/dataset.json")
    champion = registry.current(store)
    assert champion is not None
    served = {change.version for change in champion.history}
    assert set(promoted) <= served | {""}
    # Each version was either promoted, and is whole, or deleted: both never.
    deleted = {name for names in pruned for name in names}  # type: ignore[attr-defined]
    assert served.isdisjoint(deleted)
    assert {info.version for info in registry.versions(store)} >= served


def test_ingestions_against_prunes_leave_whole_datasets(marked: StoreHistory) -> None:
    store = marked.store

    def ingest(number: int) -> Description | None:
        try:
            return marked.dataset((150, 250, 350)[number % 3])
        except Conflict:
            return None

    written, _ = race(ingest, lambda number: prune_two_days_later(store))
    for description in written:
        if isinstance(description, Description):
            for split in description.counts:
                open_split(description, split)
    # What was refused can be written once the prunes have ended.
    for seed in (150, 250, 350):
        for split in (again := marked.dataset(seed)).counts:
            open_split(again, split)
    marked.check()
