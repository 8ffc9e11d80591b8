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
from tests.factories.store_history import UNFINISHED, StoreHistory
from tests.unit.housekeeping.killed_prune import prune_and_die


def everything_is_old(**choices: object) -> PrunePolicy:
    """A policy for a history whose every object lies before the cutoff."""
    return PrunePolicy(datetime.now(UTC) + timedelta(hours=1), **({"in_use": frozenset()} | choices))


def named(items: list[PruneItem]) -> list[tuple[str, str]]:
    """Kinds and names; the hashes of datasets only where they say something."""
    return [(item.kind, item.name if len(item.name) < 64 else "#") for item in items]


def prune(store: Store, policy: PrunePolicy) -> dict[str, str]:
    """Why things were spared, by name."""
    return {item.name: spared for item, spared in carry_out_prune(store, plan_prune(store, policy), policy)}


def test_what_nothing_names_goes_and_the_rest_stays_whole(history: StoreHistory) -> None:
    items = plan_prune(history.store, everything_is_old())
    assert named(items) == [("version", "3"), ("version", "4"), ("dataset", "#"), ("dataset", "#"), ("probe", "doctor/0123/probe")]
    assert [item.why for item in items[:3]] == ["never promoted", "was never completed", "no version and no run names it"]
    assert set(prune(history.store, everything_is_old()).values()) == {""}
    history.check()
    assert [info.version for info in registry.versions(history.store)] == ["1", "2"]
    assert plan_prune(history.store, everything_is_old()) == []


def test_a_plan_deletes_nothing(history: StoreHistory) -> None:
    before = list(history.store.list())
    plan_prune(history.store, everything_is_old())
    assert list(history.store.list()) == before


def test_what_is_young_stays(history: StoreHistory) -> None:
    assert plan_prune(history.store, PrunePolicy(datetime.now(UTC) - timedelta(hours=1), in_use=frozenset())) == []


def test_the_number_and_the_evidence_of_a_pruned_version_stay(history: StoreHistory) -> None:
    prune(history.store, everything_is_old())
    assert sorted(info.key for info in history.store.list("versions/3/")) == [
        "versions/3/gate.json",
        "versions/3/model.json",
        "versions/3/registration.json",
    ]
    with pytest.raises(NotFound, match="no complete version 3"):
        registry.version_info(history.store, "3")
    assert history.register(history.dataset(10).manifest_hash) == "5"


def test_keep_versions_lets_old_champions_go_and_a_rollback_still_works(history: StoreHistory) -> None:
    history.promote("3")
    assert ("version", "1") not in named(plan_prune(history.store, everything_is_old()))
    spared = prune(history.store, everything_is_old(keep_versions=1))
    assert spared["1"] == ""
    history.check()
    assert registry.rollback(history.store, reason="complaints").version == "2"
    history.check()
    with pytest.raises(NotFound, match="no complete version 1"):
        registry.rollback(history.store, reason="still complaints")


def test_a_version_that_a_watch_record_names_stays(history: StoreHistory) -> None:
    history.watched(1, "3")
    assert ("version", "3") not in named(plan_prune(history.store, everything_is_old()))


def test_a_version_that_moved_lately_stays_though_its_files_are_old(history: StoreHistory) -> None:
    lately = datetime.now(UTC) + timedelta(minutes=30)
    history.watched(1, "3", finished=(lately + timedelta(hours=1)).isoformat())
    policy = PrunePolicy(lately, keep_versions=1, in_use=frozenset())
    assert ("version", "3") not in named(plan_prune(history.store, policy))


def test_a_dataset_stays_while_artifacts_name_it_or_nobody_has_looked(history: StoreHistory) -> None:
    orphan = history.dataset(30).manifest_hash
    assert orphan in [item.name for item in plan_prune(history.store, everything_is_old())]
    assert orphan not in [item.name for item in plan_prune(history.store, everything_is_old(in_use=frozenset({orphan})))]
    assert named(plan_prune(history.store, everything_is_old(in_use=None)))[2:] == [("dataset", "#"), ("probe", "doctor/0123/probe")]


def test_what_a_dataset_points_at_stays_with_it(history: StoreHistory) -> None:
    grown = history.grown(history.dataset(50), 60).manifest_hash
    gone = [item.name for item in plan_prune(history.store, everything_is_old(in_use=frozenset({grown})))]
    assert history.dataset(50).manifest_hash not in gone
    assert grown not in gone


def test_a_checkpoint_that_nobody_resumed_goes_and_its_dataset_stays(history: StoreHistory) -> None:
    kept = history.dataset(10).manifest_hash
    history.store.put(f"datasets/{kept}/checkpoints/0123.pth", b"epoch 3")
    assert ("checkpoint", "#") in named(plan_prune(history.store, everything_is_old()))
    prune(history.store, everything_is_old())
    assert not history.store.exists(f"datasets/{kept}/checkpoints/0123.pth")
    history.check()


def test_with_a_lost_pointer_nothing_is_pruned(history: StoreHistory) -> None:
    history.store.delete("champion.json")
    with pytest.raises(IntegrityError, match="lost, though there are versions"):
        plan_prune(history.store, everything_is_old())


@pytest.mark.parametrize("key", ["versions/2/model.json", "datasets/{}/dataset.json"])
def test_what_cannot_be_read_stops_a_prune_before_it_deletes(history: StoreHistory, key: str) -> None:
    damaged = key.format(history.dataset(10).manifest_hash)
    history.store.put(damaged, b"damaged")
    with pytest.raises(IntegrityError, match=r"cannot be read, so nobody knows what it needs.*nothing was deleted"):
        plan_prune(history.store, everything_is_old())


def test_a_version_that_was_promoted_since_the_plan_stays_with_its_dataset(history: StoreHistory) -> None:
    policy = everything_is_old()
    items = plan_prune(history.store, policy)
    history.promote("3")
    spared = {item.name: why for item, why in carry_out_prune(history.store, items, policy)}
    assert spared["3"] == spared[history.dataset(30).manifest_hash] == "somebody needs it by now"
    assert spared["4"] == ""
    history.check()


def test_a_version_that_is_promoted_while_its_mark_goes_gets_it_back(history: StoreHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = history.store.delete

    def promote_first(key: str) -> None:
        if key == "versions/3/SHA256SUMS":
            history.promote("3")
        delete(key)

    monkeypatch.setattr(history.store, "delete", promote_first)
    assert prune(history.store, everything_is_old())["3"] == "it was promoted meanwhile"
    history.check()


def test_a_dataset_whose_writing_goes_on_stays(history: StoreHistory) -> None:
    policy = everything_is_old()
    items = plan_prune(history.store, policy)
    history.store.put(f"datasets/{UNFINISHED}/images-train-00000.npy", b"half, and a bit")
    assert {item.name: why for item, why in carry_out_prune(history.store, items, policy)}[UNFINISHED] == "it was written again meanwhile"
    assert history.store.exists(f"datasets/{UNFINISHED}/images-train-00000.npy")


def test_killed_after_every_single_deletion_it_leaves_nothing_half_named(history: StoreHistory) -> None:
    policy = everything_is_old()
    planned = sum(len(item.objects) for item in plan_prune(history.store, policy))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.unit.housekeeping.killed_prune"])
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    kills = 0
    while plan_prune(history.store, policy):
        process = server.Process(target=prune_and_die, args=(history.store.uri, policy.cutoff, environment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        history.check()
    assert kills == planned
    assert [info.version for info in registry.versions(history.store)] == ["1", "2"]


def test_a_dataset_that_was_pruned_can_be_written_again(history: StoreHistory) -> None:
    prune(history.store, everything_is_old())
    again: Description = history.dataset(30)
    assert history.store.exists(again.samples)
    history.check()


def test_what_driftloop_does_not_name_so_is_left_alone(history: StoreHistory) -> None:
    for key in ("versions/refused/0123.json", "versions/notes.txt", "datasets/raw/image.png", "exports/a.csv", "versions/03/model.onnx"):
        history.store.put(key, b"somebody's")
    prune(history.store, everything_is_old())
    left = {entry.key for entry in history.store.list()}
    assert left >= {"versions/refused/0123.json", "versions/notes.txt", "datasets/raw/image.png", "exports/a.csv", "versions/03/model.onnx"}
