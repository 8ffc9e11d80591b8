"""What a prune is deleting cannot come to serve, and what is taken up cannot be deleted in the hours that follow."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftloop import registry
from driftloop.errors import Conflict
from driftloop.prune_marks import Mark, item_key, read_marks, write_marks
from driftloop.registry.champion import read_pointer
from driftloop.registry.restoring import plan_restoration, restore
from driftloop.store import Store
from tests.factories.candidates import MANIFEST, write_candidate, write_gate_evidence

THEN = datetime(2026, 1, 1, tzinfo=UTC)
#: What is in the way of each move: its kind and its name.
NEEDED = {
    "promotion": ("version", "3"),
    "rollback": ("version", "1"),
    "restoration": ("version", "2"),
    "registration": ("dataset", MANIFEST),
}


@pytest.fixture
def moves(store: Store, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Version 2 serves, before it 1 did, and 3 was accepted: what can be done next."""
    seeds = ((1, None), (2, "1"), (3, "2"), (4, "2"))
    folders = [write_candidate(tmp_path / f"candidate-{seed}", seed=seed) for seed, _ in seeds]
    for folder, (seed, champion) in zip(folders, seeds, strict=True):
        write_gate_evidence(tmp_path / f"evidence-{seed}", folder, champion=champion)
    for seed, champion in seeds[:3]:
        version = registry.register(store, folders[seed - 1], tmp_path / f"evidence-{seed}")
        if seed < 3:
            registry.promote(store, version, expected=champion, reason="better")

    return {
        "promotion": lambda: registry.promote(store, "3", expected="2", reason="better"),
        "rollback": lambda: registry.rollback(store, reason="bad"),
        "restoration": lambda: restore(store, plan_restoration(store, "2")),
        "registration": lambda: registry.register(store, folders[3], tmp_path / "evidence-4"),
    }


@pytest.mark.parametrize("move", NEEDED)
@pytest.mark.parametrize("deleting", [False, True])
def test_a_move_keeps_what_it_needs_from_the_next_prune_or_stops_where_one_has_begun(
    store: Store, moves: dict[str, Callable[[], object]], move: str, deleting: bool
) -> None:
    if move == "restoration":
        store.delete("champion.json")
    key, mark = item_key(*NEEDED[move]), Mark(marked_at=THEN, touched=THEN, deleting=deleting)
    other = {item_key("version", "9"): mark, item_key("dataset", "e" * 64): mark}
    write_marks(store, {key: mark, **other}, "")

    def state() -> tuple[object, object]:
        return read_pointer(store)[0], registry.versions(store)

    before = state()
    if deleting:
        with pytest.raises(Conflict, match=r"is being pruned; let `driftloop prune --apply` end, and repeat"):
            moves[move]()
        assert state() == before
        assert read_marks(store)[0] == {key: mark, **other}
    else:
        moves[move]()
        assert state() != before
        assert read_marks(store)[0] == other
