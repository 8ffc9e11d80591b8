"""What a prune takes, what it never takes, and what a kill or a promotion in the middle of it leaves."""

import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from driftloop import registry
from driftloop.dataset import Description
from driftloop.errors import IntegrityError, NotFound
from driftloop.housekeeping.pruning import PruneItem, PrunePolicy, carry_out_prune, plan_prune
from driftloop.store import Store
from tests.unit.housekeeping.killed_prune import prune_and_die
from tests.unit.housekeeping.world import UNFINISHED, StoreHistory


def everything_is_old(**choices: object) -> PrunePolicy:
    """A policy for a world whose every object lies before the cutoff."""
    return PrunePolicy(datetime.now(UTC) + timedelta(hours=1), **({"in_use": frozenset()} | choices))


def named(items: list[PruneItem]) -> list[tuple[str, str]]:
    """Kinds and names; the hashes of datasets only where they say something."""
    return [(item.kind, item.name if len(item.name) < 64 else "#") for item in items]


def prune(store: Store, policy: PrunePolicy) -> dict[str, str]:
    """Why things were spared, by name."""
    return {item.name: spared for item, spared in carry_out_prune(store, plan_prune(store, policy), policy)}


def test_what_nothing_names_goes_and_the_rest_stays_whole(world: StoreHistory) -> None:
    items = plan_prune(world.store, everything_is_old())
    assert named(items) == [("version", "3"), ("version", "4"), ("dataset", "#"), ("dataset", "#"), ("probe", "doctor/0123/probe")]
    assert [item.why for item in items[:3]] == ["never promoted", "was never completed", "no version and no run names it"]
    assert set(prune(world.store, everything_is_old()).values()) == {""}
    world.check()
    assert [info.version for info in registry.versions(world.store)] == ["1", "2"]
    assert plan_prune(world.store, everything_is_old()) == []


def test_a_plan_deletes_nothing(world: StoreHistory) -> None:
    before = list(world.store.list())
    plan_prune(world.store, everything_is_old())
    assert list(world.store.list()) == before


def test_what_is_young_stays(world: StoreHistory) -> None:
    assert plan_prune(world.store, PrunePolicy(datetime.now(UTC) - timedelta(hours=1), in_use=frozenset())) == []


def test_the_number_and_the_evidence_of_a_pruned_version_stay(world: StoreHistory) -> None:
    prune(world.store, everything_is_old())
    assert sorted(info.key for info in world.store.list("versions/3/")) == [
        "versions/3/gate.json",
        "versions/3/model.json",
        "versions/3/registration.json",
    ]
    with pytest.raises(NotFound, match="no complete version 3"):
        registry.version_info(world.store, "3")
    assert world.register(world.dataset(10).manifest_hash) == "5"


def test_keep_versions_lets_old_champions_go_and_a_rollback_still_works(world: StoreHistory) -> None:
    world.promote("3")
    assert ("version", "1") not in named(plan_prune(world.store, everything_is_old()))
    spared = prune(world.store, everything_is_old(keep_versions=1))
    assert spared["1"] == ""
    world.check()
    assert registry.rollback(world.store, reason="complaints").version == "2"
    world.check()
    with pytest.raises(NotFound, match="no complete version 1"):
        registry.rollback(world.store, reason="still complaints")


def test_a_version_that_a_watch_record_names_stays(world: StoreHistory) -> None:
    world.watched(1, "3")
    assert ("version", "3") not in named(plan_prune(world.store, everything_is_old()))


def test_a_version_that_moved_lately_stays_though_its_files_are_old(world: StoreHistory) -> None:
    lately = datetime.now(UTC) + timedelta(minutes=30)
    world.watched(1, "3", finished=(lately + timedelta(hours=1)).isoformat())
    policy = PrunePolicy(lately, keep_versions=1, in_use=frozenset())
    assert ("version", "3") not in named(plan_prune(world.store, policy))


def test_a_dataset_stays_while_artifacts_name_it_or_nobody_has_looked(world: StoreHistory) -> None:
    orphan = world.dataset(30).manifest_hash
    assert orphan in [item.name for item in plan_prune(world.store, everything_is_old())]
    assert orphan not in [item.name for item in plan_prune(world.store, everything_is_old(in_use=frozenset({orphan})))]
    assert named(plan_prune(world.store, everything_is_old(in_use=None)))[2:] == [("dataset", "#"), ("probe", "doctor/0123/probe")]


def test_what_a_dataset_points_at_stays_with_it(world: StoreHistory) -> None:
    grown = world.grown(world.dataset(50), 60).manifest_hash
    gone = [item.name for item in plan_prune(world.store, everything_is_old(in_use=frozenset({grown})))]
    assert world.dataset(50).manifest_hash not in gone
    assert grown not in gone


def test_a_checkpoint_that_nobody_resumed_goes_and_its_dataset_stays(world: StoreHistory) -> None:
    kept = world.dataset(10).manifest_hash
    world.store.put(f"datasets/{kept}/checkpoints/0123.pth", b"epoch 3")
    assert ("checkpoint", "#") in named(plan_prune(world.store, everything_is_old()))
    prune(world.store, everything_is_old())
    assert not world.store.exists(f"datasets/{kept}/checkpoints/0123.pth")
    world.check()


def test_without_a_champion_every_version_stays(world: StoreHistory) -> None:
    world.store.delete("champion.json")
    assert [item.kind for item in plan_prune(world.store, everything_is_old()) if item.kind == "version"] == []


@pytest.mark.parametrize("key", ["versions/2/model.json", "datasets/{}/dataset.json"])
def test_what_cannot_be_read_stops_a_prune_before_it_deletes(world: StoreHistory, key: str) -> None:
    damaged = key.format(world.dataset(10).manifest_hash)
    world.store.put(damaged, b"damaged")
    with pytest.raises(IntegrityError, match=r"cannot be read, so nobody knows what it needs.*nothing was deleted"):
        plan_prune(world.store, everything_is_old())


def test_a_version_that_was_promoted_since_the_plan_stays_with_its_dataset(world: StoreHistory) -> None:
    policy = everything_is_old()
    items = plan_prune(world.store, policy)
    world.promote("3")
    spared = {item.name: why for item, why in carry_out_prune(world.store, items, policy)}
    assert spared["3"] == spared[world.dataset(30).manifest_hash] == "somebody needs it by now"
    assert spared["4"] == ""
    world.check()


def test_a_version_that_is_promoted_while_its_mark_goes_gets_it_back(world: StoreHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = world.store.delete

    def promote_first(key: str) -> None:
        if key == "versions/3/SHA256SUMS":
            world.promote("3")
        delete(key)

    monkeypatch.setattr(world.store, "delete", promote_first)
    assert prune(world.store, everything_is_old())["3"] == "it was promoted meanwhile"
    world.check()


def test_a_dataset_whose_writing_goes_on_stays(world: StoreHistory) -> None:
    policy = everything_is_old()
    items = plan_prune(world.store, policy)
    world.store.put(f"datasets/{UNFINISHED}/images-train-00000.npy", b"half, and a bit")
    assert {item.name: why for item, why in carry_out_prune(world.store, items, policy)}[UNFINISHED] == "it was written again meanwhile"
    assert world.store.exists(f"datasets/{UNFINISHED}/images-train-00000.npy")


def test_killed_after_every_single_deletion_it_leaves_nothing_half_named(world: StoreHistory) -> None:
    policy = everything_is_old()
    planned = sum(len(item.objects) for item in plan_prune(world.store, policy))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.unit.housekeeping.killed_prune"])
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    kills = 0
    while plan_prune(world.store, policy):
        process = server.Process(target=prune_and_die, args=(world.store.uri, policy.cutoff, environment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        world.check()
    assert kills == planned
    assert [info.version for info in registry.versions(world.store)] == ["1", "2"]


def test_a_dataset_that_was_pruned_can_be_written_again(world: StoreHistory) -> None:
    prune(world.store, everything_is_old())
    again: Description = world.dataset(30)
    assert world.store.exists(again.samples)
    world.check()


def test_what_driftloop_does_not_name_so_is_left_alone(world: StoreHistory) -> None:
    for key in ("versions/refused/0123.json", "versions/notes.txt", "datasets/raw/image.png", "exports/a.csv", "versions/03/model.onnx"):
        world.store.put(key, b"somebody's")
    prune(world.store, everything_is_old())
    left = {entry.key for entry in world.store.list()}
    assert left >= {"versions/refused/0123.json", "versions/notes.txt", "datasets/raw/image.png", "exports/a.csv", "versions/03/model.onnx"}
