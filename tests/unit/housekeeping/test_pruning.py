"""What a prune takes, what it never takes, and when: it marks, and a later one deletes what is still not needed."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from driftloop import prune_marks, registry
from driftloop.dataset import Description
from driftloop.errors import Conflict, IntegrityError, NotFound, StoreError
from driftloop.housekeeping.pruning import (
    HOME_KINDS,
    PruneItem,
    PrunePolicy,
    carry_out_prune,
    delete_objects,
    place_of,
    plan_prune,
    preview_prune,
    recently_named,
    with_shared_shards,
)
from driftloop.housekeeping.store_contents import read_store_contents
from driftloop.prune_marks import Mark, drop_deleted, item_key, next_marks, read_marks, take_up, write_marks
from driftloop.store import Store
from driftloop.store.local import LocalStore
from tests.factories.records import model_description
from tests.factories.store_history import UNFINISHED, StoreHistory

DAY_S = 86_400


def everything_is_old(**choices: object) -> PrunePolicy:
    """A policy for a history whose every object lies before the cutoff."""
    return PrunePolicy(datetime.now(UTC) + timedelta(hours=1), **({"in_use": frozenset()} | choices))


def named(items: list[PruneItem]) -> list[tuple[str, str]]:
    """Kinds and names; the hashes of datasets only where they say something."""
    return [(item.kind, item.name if len(item.name) < 64 else "#") for item in items]


def prune_once(store: Store, policy: PrunePolicy, *, days: float = 0) -> dict[str, bool]:
    """One prune, so many days from now; whether each thing was deleted, by name."""
    now = datetime.now(UTC) + timedelta(days=days)
    pruned = carry_out_prune(store, lambda: plan_prune(store, policy), dict.fromkeys(HOME_KINDS, store), now, wait_s=DAY_S)
    return {item.name: mark is None for item, mark in pruned}


def prune(store: Store, policy: PrunePolicy) -> dict[str, bool]:
    """Prunes on four days: versions are marked, deleted, and then their datasets marked and deleted."""
    pruned: dict[str, bool] = {}
    for day in range(4):
        pruned |= prune_once(store, policy, days=1.01 * day)
    return pruned


def test_what_nothing_names_goes_and_the_rest_stays_whole(history: StoreHistory) -> None:
    items = plan_prune(history.store, everything_is_old())
    assert named(items) == [("version", "3"), ("version", "4"), ("dataset", "#"), ("probe", "doctor/")]
    why = ["never promoted", "was never completed", "was never completed", "left by a killed `driftloop doctor`"]
    assert [item.why for item in items] == why
    pruned = carry_out_prune(
        history.store, lambda: items, dict.fromkeys(HOME_KINDS, history.store), datetime.now(UTC) - timedelta(days=1), wait_s=DAY_S
    )
    assert [item for item, _ in pruned] == items
    assert set(prune(history.store, everything_is_old()).values()) == {True}
    history.check()
    assert [info.version for info in registry.versions(history.store)] == ["1", "2"]
    assert plan_prune(history.store, everything_is_old()) == []
    assert read_marks(history.store)[0] == {}
    assert history.store.exists("doctor/0123/probe") is False


def test_a_plan_and_a_preview_write_and_delete_nothing(history: StoreHistory) -> None:
    before = list(history.store.list())
    policy = everything_is_old()
    roots = dict.fromkeys(HOME_KINDS, history.store)
    shown = list(preview_prune(history.store, lambda: plan_prune(history.store, policy), roots, datetime.now(UTC), wait_s=DAY_S))
    assert len(shown) == 4
    assert all(mark is not None for _, mark in shown)
    assert list(history.store.list()) == before


def test_a_preview_says_what_would_be_deleted_once_the_wait_is_over(history: StoreHistory) -> None:
    policy, roots = everything_is_old(), dict.fromkeys(HOME_KINDS, history.store)
    prune_once(history.store, policy)
    for days, gone in ((0.5, False), (1.01, True)):
        now = datetime.now(UTC) + timedelta(days=days)
        shown = list(preview_prune(history.store, lambda: plan_prune(history.store, policy), roots, now, wait_s=DAY_S))
        assert [(item.kind, mark is None) for item, mark in shown] == [(kind, gone) for kind in ("version", "version", "dataset", "probe")]


def test_versions_are_shown_in_the_order_of_their_numbers(history: StoreHistory) -> None:
    for number in (10, 9):
        history.store.create(f"versions/{number}/registration.json", b'{"run": ""}')
        history.store.put(f"versions/{number}/model.onnx", b"half")
    history.promote("3")
    roots = dict.fromkeys(HOME_KINDS, history.store)
    shown = preview_prune(history.store, lambda: plan_prune(history.store, everything_is_old()), roots, datetime.now(UTC), wait_s=DAY_S)
    assert [item.name for item, _ in shown if item.kind == "version"] == ["4", "9", "10"]


def test_a_prune_that_stops_halfway_leaves_nothing_that_looks_whole(history: StoreHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    store, orphan = history.store, history.dataset(80)
    prune_once(store, everything_is_old())

    def broken(keys: object) -> None:
        raise StoreError("the disk broke")

    monkeypatch.setattr(store, "delete_many", broken)
    for kind, name in (("version", "3"), ("dataset", orphan.manifest_hash)):
        with pytest.raises(StoreError, match="broke"):
            delete_objects(store, place_of(kind, name), datetime.now(UTC) + timedelta(hours=1))
    assert [info.version for info in registry.versions(store)] == ["1", "2"]
    assert not store.exists(f"datasets/{orphan.manifest_hash}/dataset.json")
    assert store.exists("versions/3/model.onnx")
    assert store.exists(orphan.samples)


def test_names_of_datasets_that_are_none_of_ours_hinder_nothing(history: StoreHistory) -> None:
    """A pipeline root may be shared: whatever others call their datasets is only compared."""
    before = plan_prune(history.store, everything_is_old())
    assert plan_prune(history.store, everything_is_old(in_use=frozenset({"a" * 64, "../secret", "", "/"}))) == before


def test_a_first_prune_only_marks_and_a_second_deletes_only_after_the_wait(history: StoreHistory) -> None:
    policy = everything_is_old()
    listed = {entry.key for entry in history.store.list()}
    for days in (0, 0.5, 0.99):
        assert set(prune_once(history.store, policy, days=days).values()) == {False}
        assert {entry.key for entry in history.store.list()} == listed | {prune_marks.KEY}
    assert set(prune_once(history.store, policy, days=1.01).values()) == {True}
    history.check()


def test_a_dataset_goes_a_prune_after_the_versions_that_need_it(history: StoreHistory) -> None:
    policy, orphan = everything_is_old(), history.dataset(30).manifest_hash
    states = [prune_once(history.store, policy, days=1.01 * day) for day in range(4)]
    assert [state.get("3") for state in states] == [False, True, None, None]
    assert [state.get(orphan) for state in states] == [None, None, False, True]


def test_what_is_sized_is_what_goes(history: StoreHistory) -> None:
    sizes = {item.name: item.objects.size for item in plan_prune(history.store, everything_is_old())}
    before = {entry.key: entry.size for entry in history.store.list()}
    for day in (0, 1.01):
        prune_once(history.store, everything_is_old(), days=day)
    gone = {key: size for key, size in before.items() if not history.store.exists(key)}
    assert sum(sizes.values()) == sum(gone.values())
    assert sizes["3"] == sum(size for key, size in gone.items() if key.startswith("versions/3/"))


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
    assert prune(history.store, everything_is_old(keep_versions=1))["1"]
    history.check()
    assert registry.rollback(history.store, reason="complaints").version == "2"
    history.check()
    with pytest.raises(NotFound, match="no complete version 1"):
        registry.rollback(history.store, reason="still complaints")


def test_what_a_kept_version_was_fine_tuned_from_stays_all_the_way_back(history: StoreHistory) -> None:
    for parent in ("3", "5"):
        last = history.register(history.dataset(10).manifest_hash, parent=parent)
    history.promote(last)
    assert {"1", "3", "5"}.isdisjoint(item.name for item in plan_prune(history.store, everything_is_old()))
    assert {"1", "3", "5"} <= {item.name for item in plan_prune(history.store, everything_is_old(keep_versions=1))}


def test_a_claim_as_old_as_the_pointer_may_be_in_promotion_and_a_version_without_a_claim_is_not_ours(tmp_path: Path) -> None:
    history = StoreHistory(LocalStore(tmp_path / "store"), tmp_path)
    dataset = history.dataset(10).manifest_hash
    history.promote(history.register(dataset))
    second = history.register(dataset)
    history.store.put("versions/3/model.onnx", b"of somebody")
    pointer, claim = tmp_path / "store" / "champion.json", tmp_path / "store" / "versions" / second / "registration.json"
    for seconds, there in ((0, False), (1, True)):
        os.utime(claim, (1_700_000_000, 1_700_000_000))
        os.utime(pointer, (1_700_000_000 + seconds, 1_700_000_000 + seconds))
        gone = [item.name for item in plan_prune(history.store, everything_is_old()) if item.kind == "version"]
        assert gone == ([second] if there else [])


def test_a_version_that_served_says_so(history: StoreHistory) -> None:
    history.promote("3")
    why = {item.name: item.why for item in plan_prune(history.store, everything_is_old(keep_versions=1))}
    assert why["1"] == "served before the versions that are kept"


def test_what_was_written_at_the_cutoff_is_young(history: StoreHistory) -> None:
    orphan = history.dataset(80).manifest_hash
    contents = read_store_contents(history.store, datetime.now(UTC))
    for kind, name, folder in (("version", "3", contents.versions["3"]), ("dataset", orphan, contents.datasets[orphan])):
        cutoff = folder.whole.touched
        for policy, there in ((cutoff, False), (cutoff + timedelta(microseconds=1), True)):
            plan = plan_prune(history.store, PrunePolicy(policy, in_use=frozenset()))
            assert ((kind, name) in [(item.kind, item.name) for item in plan]) is there, kind


def test_the_dataset_of_a_version_that_is_being_written_stays(history: StoreHistory) -> None:
    dataset = history.dataset(80).manifest_hash
    model = model_description(dataset=dataset).model_dump_json().encode()
    history.store.put("versions/9/model.json", model)
    # Of a version that was pruned as much is left; it needs nothing any more.
    assert dataset in [item.name for item in plan_prune(history.store, everything_is_old())]
    history.store.put("versions/9/model.onnx", b"half")
    assert dataset not in [item.name for item in plan_prune(history.store, everything_is_old())]


def test_a_dataset_whose_shards_lie_in_another_keeps_that_one_whatever_its_parent_says(history: StoreHistory) -> None:
    first, grown = history.dataset(80), history.grown(history.dataset(80), 81)
    history.store.put(f"datasets/{grown.manifest_hash}/dataset.json", grown.model_copy(update={"parent": None}).model_dump_json().encode())
    gone = [item.name for item in plan_prune(history.store, everything_is_old(in_use=frozenset({grown.manifest_hash})))]
    assert {first.manifest_hash, grown.manifest_hash}.isdisjoint(gone)


def test_a_dataset_keeps_its_parent_though_all_of_its_shards_are_its_own(history: StoreHistory) -> None:
    parent, child = history.dataset(80), history.dataset(85)
    history.store.put(
        f"datasets/{child.manifest_hash}/dataset.json",
        child.model_copy(update={"parent": parent.manifest_hash}).model_dump_json().encode(),
    )
    complete = {parent.manifest_hash, child.manifest_hash}
    assert with_shared_shards(history.store, [child.manifest_hash], complete) == complete
    assert with_shared_shards(history.store, [parent.manifest_hash], complete) == {parent.manifest_hash}


def test_a_preview_tells_sizes_and_what_a_killed_prune_left(history: StoreHistory) -> None:
    store, policy = history.store, everything_is_old()
    gone = Mark(marked_at=datetime.now(UTC), touched=datetime.now(UTC), deleting=True)
    write_marks(store, {item_key("version", "17"): gone}, "")
    planned = {item.key: item for item in plan_prune(store, policy)}
    roots = dict.fromkeys(HOME_KINDS, store)
    shown = list(preview_prune(store, lambda: plan_prune(store, policy), roots, datetime.now(UTC), wait_s=DAY_S))
    assert {item.key: item for item, mark in shown if mark is not None} == planned
    [left] = [item for item, mark in shown if mark is None]
    assert (left.kind, left.name, left.why) == ("version", "17", "a prune that was killed had begun to delete it")
    assert (left.objects.objects, left.objects.size) == (0, 0)


def test_a_version_that_a_watch_record_names_stays(history: StoreHistory) -> None:
    history.watched(1, "3")
    assert ("version", "3") not in named(plan_prune(history.store, everything_is_old()))


def test_a_version_that_moved_lately_stays_though_its_files_are_old(history: StoreHistory) -> None:
    lately = datetime.now(UTC) + timedelta(minutes=30)
    history.watched(1, "3", finished=(lately + timedelta(hours=1)).isoformat())
    policy = PrunePolicy(lately, keep_versions=1, in_use=frozenset())
    assert ("version", "3") not in named(plan_prune(history.store, policy))


def test_named_at_the_cutoff_is_named_lately(history: StoreHistory) -> None:
    champion = registry.current(history.store)
    assert champion is not None
    last = datetime.fromisoformat(champion.history[-1].at)
    assert recently_named(champion, [], last) >= {"1", "2"}
    assert recently_named(champion, [], last + timedelta(seconds=1)) == set()
    record = history.watched(1, "3", finished="2026-01-01T00:00:00+00:00", promoted_version="4")
    ended = datetime(2026, 1, 1, tzinfo=UTC)
    assert recently_named(champion, [record, history.watched(2, "5")], ended) == {"1", "2", "3", "4", "5"}
    later = champion.model_copy(update={"history": []})
    assert recently_named(later, [record], ended) == {"3", "4"}
    assert recently_named(later, [record], ended + timedelta(seconds=1)) == set()


def test_a_version_that_an_open_watch_works_on_stays(history: StoreHistory) -> None:
    policy = everything_is_old(keep_versions=1)
    assert ("version", "3") in named(plan_prune(history.store, policy))
    history.watched(1, "3", finished="", until="2026-01-01T00:00:00+00:00", started="2026-01-01T00:00:00+00:00", state="started")
    assert ("version", "3") not in named(plan_prune(history.store, policy))


@pytest.mark.parametrize("keep", [None, 1])
def test_a_version_in_promotion_is_never_touched(history: StoreHistory, keep: int | None) -> None:
    dataset = history.dataset(70).manifest_hash
    registered = history.register(dataset, parent="2")
    history.store.create("versions/6/registration.json", b'{"run": ""}')
    history.store.put("versions/6/model.onnx", b"half")
    gone = [item.name for item in plan_prune(history.store, everything_is_old(keep_versions=keep))]
    assert {registered, "6", dataset}.isdisjoint(gone)
    history.promote("3")
    gone = [item.name for item in plan_prune(history.store, everything_is_old(keep_versions=keep))]
    assert {registered, "6"} <= set(gone)
    assert dataset not in gone


def test_a_dataset_stays_while_artifacts_name_it_or_nobody_has_looked(history: StoreHistory) -> None:
    orphan = history.dataset(80).manifest_hash
    why = {item.name: item.why for item in plan_prune(history.store, everything_is_old())}
    assert why[orphan] == "no version and no run names it"
    assert orphan not in [item.name for item in plan_prune(history.store, everything_is_old(in_use=frozenset({orphan})))]
    assert orphan not in [item.name for item in plan_prune(history.store, everything_is_old(in_use=None))]


def test_what_a_dataset_points_at_stays_with_it(history: StoreHistory) -> None:
    grown = history.grown(history.dataset(50), 60).manifest_hash
    gone = [item.name for item in plan_prune(history.store, everything_is_old(in_use=frozenset({grown})))]
    assert history.dataset(50).manifest_hash not in gone
    assert grown not in gone


def test_a_checkpoint_that_nobody_resumed_goes_and_its_dataset_stays(history: StoreHistory) -> None:
    kept = history.dataset(10).manifest_hash
    history.store.put(f"datasets/{kept}/checkpoints/0123.pth", b"epoch 3")
    [checkpoint] = [item for item in plan_prune(history.store, everything_is_old()) if item.kind == "checkpoint"]
    assert (checkpoint.name, checkpoint.why) == (kept, "its training was never resumed")
    prune_once(history.store, everything_is_old())
    history.store.put(f"datasets/{kept}/checkpoints/4567.pth", b"of another training")
    assert prune_once(history.store, everything_is_old(), days=2)[kept] is False
    assert prune_once(history.store, everything_is_old(), days=4)[kept] is True
    assert list(history.store.list(f"datasets/{kept}/checkpoints/")) == []
    history.check()


def test_with_a_lost_pointer_nothing_is_pruned(history: StoreHistory) -> None:
    prune_once(history.store, everything_is_old())
    history.store.delete("champion.json")
    before = list(history.store.list())
    with pytest.raises(IntegrityError, match="lost, though there are versions"):
        prune_once(history.store, everything_is_old(), days=2)
    assert list(history.store.list()) == before


def test_before_the_first_promotion_every_version_stays(store: Store) -> None:
    store.create("versions/1/registration.json", b'{"run": ""}')
    store.put("versions/1/model.onnx", b"half")
    assert plan_prune(store, everything_is_old()) == []


@pytest.mark.parametrize("key", ["versions/2/model.json", "datasets/{}/dataset.json"])
def test_what_cannot_be_read_stops_a_prune_before_it_deletes(history: StoreHistory, key: str) -> None:
    damaged = key.format(history.dataset(10).manifest_hash)
    history.store.put(damaged, b"damaged")
    with pytest.raises(IntegrityError, match=r"cannot be read, so nobody knows what it needs.*nothing was deleted"):
        plan_prune(history.store, everything_is_old())


def test_a_version_that_was_promoted_since_it_was_marked_stays_with_its_dataset(history: StoreHistory) -> None:
    policy = everything_is_old()
    prune_once(history.store, policy)
    history.promote("3")
    pruned = prune_once(history.store, policy, days=2)
    assert "3" not in pruned
    assert history.dataset(30).manifest_hash not in pruned
    assert pruned["4"]
    history.check()


@pytest.mark.parametrize("days", [0, 2])
def test_what_is_promoted_while_the_plan_is_made_is_planned_anew(history: StoreHistory, days: float) -> None:
    store, policy = history.store, everything_is_old()
    prune_once(store, policy)
    plans = []

    def plan() -> list[PruneItem]:
        plans.append(plan_prune(store, policy))
        if len(plans) == 1:
            history.promote("3")
        return plans[-1]

    pruned = carry_out_prune(store, plan, dict.fromkeys(HOME_KINDS, store), datetime.now(UTC) + timedelta(days=days), wait_s=DAY_S)
    # Without a wait that is over there was nothing to write, and the next prune sees the promotion.
    assert ("3" in [item.name for item, _ in pruned]) is (days == 0)
    assert len(plans) == (1 if days == 0 else 2)
    assert "3" not in prune_once(store, policy, days=5)
    history.check()


def test_what_is_being_deleted_can_be_neither_promoted_nor_rolled_back_to_nor_written(history: StoreHistory) -> None:
    store = history.store
    dataset = history.dataset(30).manifest_hash
    marks = {item_key("version", name): Mark(marked_at=datetime.now(UTC), touched=datetime.now(UTC), deleting=True) for name in "13"}
    marks[item_key("dataset", dataset)] = next(iter(marks.values()))
    write_marks(store, marks, "")
    pointer = store.read("champion.json")
    for use in (
        lambda: history.promote("3"),
        lambda: registry.rollback(store, reason="bad"),
        lambda: history.dataset(30),
        lambda: history.grown(Description.model_validate_json(store.read(f"datasets/{dataset}/dataset.json")), 40),
        lambda: history.register(dataset),
    ):
        with pytest.raises(Conflict, match=r"is being pruned; let `driftloop prune --apply` end, and repeat"):
            use()
    assert store.read("champion.json") == pointer
    assert [info.version for info in registry.versions(store)] == ["1", "2", "3"]


def test_a_dataset_that_is_taken_up_again_stays(history: StoreHistory) -> None:
    policy = everything_is_old()
    history.dataset(80)
    prune_once(history.store, policy)
    again = history.dataset(80)
    assert prune_once(history.store, policy, days=2)[again.manifest_hash] is False
    history.check()
    assert prune_once(history.store, policy, days=4)[again.manifest_hash] is True


def test_a_dataset_that_is_taken_up_again_is_young(history: StoreHistory) -> None:
    orphan = history.dataset(80).manifest_hash
    lately = max(entry.modified for entry in history.store.list())
    policy = PrunePolicy(lately + timedelta(microseconds=1), in_use=frozenset())
    assert orphan in [item.name for item in plan_prune(history.store, policy)]
    again = history.dataset(80)
    assert again.manifest_hash == orphan
    assert orphan not in [item.name for item in plan_prune(history.store, policy)]


def test_a_dataset_that_another_grows_out_of_is_young(history: StoreHistory) -> None:
    parent = history.dataset(80)
    lately = max(entry.modified for entry in history.store.list())
    policy = PrunePolicy(lately + timedelta(microseconds=1), in_use=frozenset())
    grown = history.grown(parent, 40)
    history.store.delete(f"datasets/{grown.manifest_hash}/dataset.json")  # as it is while it is written
    assert parent.manifest_hash not in [item.name for item in plan_prune(history.store, policy)]


def test_a_dataset_whose_writing_goes_on_stays(history: StoreHistory) -> None:
    policy = everything_is_old()
    prune_once(history.store, policy)
    history.store.put(f"datasets/{UNFINISHED}/images-train-00000.npy", b"half, and a bit")
    assert prune_once(history.store, policy, days=2)[UNFINISHED] is False
    assert history.store.exists(f"datasets/{UNFINISHED}/images-train-00000.npy")


def test_a_registration_takes_its_dataset_up(history: StoreHistory) -> None:
    dataset = history.dataset(80).manifest_hash
    prune_once(history.store, everything_is_old())
    assert f"dataset/{dataset}" in read_marks(history.store)[0]
    history.register(dataset)
    assert f"dataset/{dataset}" not in read_marks(history.store)[0]


def test_a_prune_that_was_killed_is_ended_by_the_next_whatever_that_keeps(history: StoreHistory) -> None:
    store = history.store
    prune_once(store, everything_is_old())
    now = datetime.now(UTC) + timedelta(days=2)
    pruned = carry_out_prune(store, lambda: plan_prune(store, everything_is_old()), dict.fromkeys(HOME_KINDS, store), now, wait_s=DAY_S)
    next(pruned)
    pruned.close()  # type: ignore[attr-defined]
    assert {key for key, mark in read_marks(store)[0].items() if mark.deleting} >= {"version/3", "version/4"}
    left = prune_once(store, PrunePolicy(datetime.now(UTC) - timedelta(days=9), in_use=frozenset()))
    assert set(left.values()) == {True}
    assert read_marks(store)[0] == {}
    history.check()


def test_marks_of_kinds_that_a_prune_does_not_look_for_stay(history: StoreHistory) -> None:
    marked = datetime.now(UTC) - timedelta(days=3)
    ours = {f"artifacts/v2/{state}": Mark(marked_at=marked, touched=marked, deleting=state == "deleting") for state in ("old", "deleting")}
    write_marks(history.store, ours, "")
    assert not any(name.startswith("v2/") for name in prune(history.store, everything_is_old()))
    assert read_marks(history.store)[0] == ours


def test_damaged_marks_stop_prune_and_promotion_and_name_the_cure(history: StoreHistory) -> None:
    history.store.put(prune_marks.KEY, b"{")
    for use in (lambda: prune_once(history.store, everything_is_old()), lambda: history.promote("3")):
        with pytest.raises(IntegrityError, match=r"prune/marks\.json: cannot be read; delete it while no `driftloop prune` runs"):
            use()


def test_taking_up_what_is_not_marked_writes_nothing(history: StoreHistory) -> None:
    take_up(history.store, "version", "3")
    assert not history.store.exists(prune_marks.KEY)
    prune_once(history.store, everything_is_old())
    before = history.store.read(prune_marks.KEY)
    take_up(history.store, "version", "1")
    assert history.store.read(prune_marks.KEY) == before


def test_a_mark_ripens_exactly_after_the_wait_and_starts_anew_where_something_was_written() -> None:
    day, hour = timedelta(days=1), timedelta(hours=1)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    mark = Mark(marked_at=began, touched=began - 9 * day)
    for now, deleting in ((began + day - timedelta(milliseconds=1), False), (began + day, True), (began - hour, False)):
        [following] = next_marks({"version/3": mark}, {"version/3": mark.touched}, now, wait_s=DAY_S).values()
        assert following == mark.model_copy(update={"deleting": deleting})
    [anew] = next_marks({"version/3": mark}, {"version/3": began - 8 * day}, began + 2 * day, wait_s=DAY_S).values()
    assert anew == Mark(marked_at=began + 2 * day, touched=began - 8 * day)
    assert next_marks({"version/3": mark}, {}, began + 2 * day, wait_s=DAY_S) == {}
    begun = {"version/3": mark.model_copy(update={"deleting": True})}
    for found in ({}, {"version/3": began}):
        assert next_marks(begun, found, began, wait_s=DAY_S) == begun


def test_the_marks_have_a_form_and_one_of_a_newer_driftloop_is_not_touched(store: Store) -> None:
    write_marks(store, {}, "")
    content = json.loads(store.read(prune_marks.KEY))
    assert content["schema_version"] == 1
    newer = json.dumps(content | {"schema_version": 2}).encode()
    store.put(prune_marks.KEY, newer)
    with pytest.raises(StoreError, match=r"prune/marks\.json: written by a newer driftloop"):
        take_up(store, "version", "3")
    with pytest.raises(ValidationError, match="frozen"):
        Mark(marked_at=datetime.now(UTC), touched=datetime.now(UTC)).deleting = True  # type: ignore[misc]


def test_two_who_take_things_up_at_once_both_do(history: StoreHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    store = history.store
    prune_once(store, everything_is_old())
    replace = store.replace

    def late(key: str, data: bytes, tag: str) -> str:
        monkeypatch.setattr(store, "replace", replace)
        take_up(store, "version", "4")
        return replace(key, data, tag)

    monkeypatch.setattr(store, "replace", late)
    take_up(store, "version", "3")
    assert {"version/3", "version/4"}.isdisjoint(read_marks(store)[0])


def test_deleted_things_are_forgotten_though_somebody_changes_the_marks(history: StoreHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    store = history.store
    old = Mark(marked_at=datetime.now(UTC), touched=datetime.now(UTC))
    write_marks(store, {"version/3": old, "version/4": old.model_copy(update={"deleting": True}), "probe/doctor/": old}, "")
    replace = store.replace

    def late(key: str, data: bytes, tag: str) -> str:
        monkeypatch.setattr(store, "replace", replace)
        take_up(store, "version", "3")
        return replace(key, data, tag)

    monkeypatch.setattr(store, "replace", late)
    drop_deleted(store, {"version/4", "probe/doctor/"})
    assert list(read_marks(store)[0]) == ["probe/doctor/"]


def test_a_dataset_that_was_pruned_can_be_written_again(history: StoreHistory) -> None:
    prune(history.store, everything_is_old())
    again: Description = history.dataset(30)
    assert history.store.exists(again.samples)
    history.check()


def test_what_driftloop_does_not_name_so_is_left_alone(history: StoreHistory) -> None:
    theirs = {"versions/refused/0123.json", "versions/notes.txt", "datasets/raw/image.png", "exports/a.csv", "versions/03/model.onnx"}
    for key in theirs:
        history.store.put(key, b"somebody's")
    prune(history.store, everything_is_old())
    assert {entry.key for entry in history.store.list()} >= theirs


def test_of_what_watches_kept_the_newest_table_and_recent_rows_stay(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path / "store"), datetime.now(UTC)
    for days, number in ((120, 1), (100, 2), (50, 3)):
        for kind in ("rows", "labels", "requests"):
            key = f"watch/{kind}/{number:08d}-0123456789ab.parquet"
            store.put(key, b"x")
            os.utime(tmp_path / "store" / key, times=((now - timedelta(days=days)).timestamp(),) * 2)
    policy = PrunePolicy(now - timedelta(days=7), in_use=frozenset())
    items = plan_prune(store, policy)
    assert {item.kind: item.objects.objects for item in items} == {"rows": 2, "labels": 2, "requests": 2}
    why = ["no watch looks back so far", "a newer table replaces them; the labels stay", "no watch looks back so far"]
    assert [item.why for item in items] == why
    prune(store, policy)
    for kind in ("rows", "labels", "requests"):
        assert [entry.key for entry in store.list(f"watch/{kind}/")] == [f"watch/{kind}/00000003-0123456789ab.parquet"]


def test_what_was_read_by_parts_goes_when_it_is_old(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path / "store"), datetime.now(UTC)
    for days, name in ((10, "plans/0123/00000.json.gz"), (10, "a" * 64), (3, "b" * 64)):
        store.put(f"blocks/{name}", b"x")
        os.utime(tmp_path / "store/blocks" / name, times=((now - timedelta(days=days)).timestamp(),) * 2)
    policy = PrunePolicy(now - timedelta(days=7), in_use=frozenset())
    (item,) = plan_prune(store, policy)
    assert (item.kind, item.name, item.objects.objects) == ("blocks", "blocks", 2)
    prune(store, policy)
    assert [entry.key for entry in store.list("blocks/")] == [f"blocks/{'b' * 64}"]


def test_the_table_that_the_newest_record_names_stays_though_a_dead_watch_wrote_a_newer_one(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path / "store"), datetime.now(UTC)
    keys = [f"watch/labels/{number:08d}-0123456789ab.parquet" for number in (1, 2, 3)]
    for days, key in zip((120, 100, 50), keys, strict=True):
        store.put(key, b"x")
        os.utime(tmp_path / "store" / key, times=((now - timedelta(days=days)).timestamp(),) * 2)
    StoreHistory(store, tmp_path).watched(2, "1", label_table=keys[1])
    prune(store, PrunePolicy(now - timedelta(days=7), in_use=frozenset()))
    assert [entry.key for entry in store.list("watch/labels/")] == keys[1:]
