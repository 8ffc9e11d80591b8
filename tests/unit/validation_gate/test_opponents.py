"""What the store remembers: who served on this test split, and how often it was used."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.validation_gate.opponents import GatedVersion, best_earlier, count_tries, count_uses, gated_versions, split_identity
from driftloop import registry
from driftloop.dataset.description import Description, Shard
from driftloop.housekeeping.pruning import PrunePolicy, carry_out_prune, plan_prune
from driftloop.registry import Champion, Change
from driftloop.store import Store
from tests.factories.records import decided_watch
from tests.factories.store_history import StoreHistory


def champion_of(*moves: tuple[str, str]) -> Champion:
    history = [
        Change(action=action, version=version, before=None, at="", reason="", candidate="", by_person=False)  # type: ignore[arg-type]
        for action, version in moves
    ]
    return Champion(version=moves[-1][1], previous=None, promoted_at="", reason="", nonce="", history=history)


def description(*shards: tuple[str, str]) -> Description:
    made = [Shard(key=f"datasets/{sha}", split=split, rows=1, sha256=sha) for split, sha in shards]
    return Description(
        manifest_hash="m",
        store="",
        source="",
        classes=["a", "b"],
        image_size=8,
        channels=1,
        mean=[0],
        std=[1],
        counts={},
        samples="",
        shards=made,
    )


def test_a_test_split_keeps_its_identity_when_other_splits_grow() -> None:
    first = description(("train", "t1"), ("test", "x1"), ("test", "x2"))
    grown = description(("train", "t1"), ("test", "x2"), ("test", "x1"), ("drifted_gate", "d1"))
    assert split_identity(first) == split_identity(grown) != ""
    assert split_identity(first) != split_identity(description(("test", "x1")))
    assert split_identity(description(("train", "t1"))) == ""


def test_a_rollback_takes_a_version_off_the_list_of_those_that_served_well() -> None:
    assert registry.standing([]) == []
    champion = champion_of(("promotion", "1"), ("promotion", "2"), ("rollback", "1"), ("promotion", "4"))
    assert registry.standing(champion.history) == ["1", "4"]


GATED = [
    GatedVersion("1", "split", 1, 0.90),
    GatedVersion("2", "split", 2, 0.93),
    GatedVersion("3", "other split", 1, 0.99),
    GatedVersion("4", "split", 4, 0.91),
]


def test_the_best_earlier_champion_is_the_most_accurate_on_this_split() -> None:
    best = best_earlier(GATED, ["1", "2", "3", "4"], "4", "split")
    assert best is not None
    assert best.version == "2"


def test_there_is_none_where_the_present_champion_is_the_best_or_the_first() -> None:
    assert best_earlier(GATED, ["1", "2"], "2", "split") is None
    assert best_earlier(GATED, ["1"], "1", "split") is None
    assert best_earlier(GATED, ["1", "2"], "2", "a new split") is None


def test_a_champion_that_was_judged_on_another_split_is_no_excuse() -> None:
    best = best_earlier(GATED, ["1", "2", "3"], "3", "split")
    assert best is not None
    assert best.version == "2"


def test_uses_are_versions_and_refused_watches_on_this_split() -> None:
    records = [
        decided_watch(1, "1", "reject"),
        decided_watch(2, "1", None),
        decided_watch(3, "3", "reject"),
        decided_watch(4, "2", "inconclusive"),
        decided_watch(5, "2", "promote"),
    ]
    assert count_uses(GATED, [], records, "split") == 5
    assert count_uses(GATED, [], [], "split") == 4  # the newest version remembers an earlier refusal
    assert count_uses(GATED, [], [], "other split") == 1
    assert count_uses([], [], records, "split") == 0


def test_a_candidate_that_was_rolled_back_has_used_the_drifted_images_of_the_champion_that_serves_again() -> None:
    records = [
        decided_watch(1, "1", "reject"),
        decided_watch(2, "1", "promote"),
        decided_watch(3, "2", "inconclusive"),
        decided_watch(4, "1", None),
    ]
    assert [count_tries(records, version) for version in ("1", "2", "3", None)] == [2, 1, 0, 0]
    failed = records[3].model_copy(update={"verdict": "retrain", "state": "failed"})
    assert count_tries([*records[:3], failed], "1") == 3, "whether its gate had looked nobody knows"


def test_refused_trainings_are_uses_too() -> None:
    refused = [
        {"test_split": "split", "test_uses": 5},
        {"test_split": "split", "test_uses": 6},
        {"test_split": "other split", "test_uses": 9},
    ]
    assert count_uses([], refused[:1], [], "split") == 5
    assert count_uses(GATED, refused, [], "split") == 6
    assert count_uses([], [{"test_split": "split", "test_uses": 1}] * 3, [], "split") == 3


def test_a_pruned_version_counts_as_a_use_of_the_split_and_is_no_opponent() -> None:
    gated = [GATED[0], replace(GATED[1], whole=False), GATED[3]]
    assert best_earlier(gated, ["1", "2", "4"], "4", "split") is None
    assert count_uses(gated[:2], [], [], "split") == 2


def test_a_prune_leaves_the_gate_what_it_counts_by(store: Store, tmp_path: Path) -> None:
    history = StoreHistory(store, tmp_path)
    for parent in (None, "1", "2"):
        history.promote(history.register(history.dataset(10).manifest_hash, parent=parent))
    for version in ("1", "2", "3"):
        gate = {"test_split": "split", "test_uses": int(version), "accuracy": {"candidate_clean": {"value": 0.9}}}
        store.put(f"versions/{version}/gate.json", json.dumps(gate).encode())
    before = gated_versions(store)
    policy = PrunePolicy(datetime.now(UTC) + timedelta(hours=1), keep_versions=1, in_use=frozenset())
    for days in (0, 2):
        now = datetime.now(UTC) + timedelta(days=days)
        pruned = list(carry_out_prune(store, lambda: plan_prune(store, policy), {"version": store}, now, wait_s=86_400))
    assert [(item.name, mark) for item, mark in pruned] == [("1", None)]
    assert gated_versions(store) == [replace(before[0], whole=False), *before[1:]]
