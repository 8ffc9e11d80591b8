"""A pointer that is lost or damaged: everything stops with one line, and the pointer is rebuilt from what the store still says."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.validation_gate.opponents import find_opponents
from driftloop import registry
from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.registry.champion import Change
from driftloop.registry.restoring import Accepted, accepted_versions, plan_restoration, rebuilt_history, restore
from driftloop.store import Store
from tests.factories.candidates import write_candidate, write_gate_evidence
from tests.factories.records import watch_record
from tests.factories.store_history import StoreHistory

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def history(store: Store, tmp_path: Path) -> StoreHistory:
    """Versions 1 to 3, each promoted by the gate over the one before."""
    history = StoreHistory(store, tmp_path)
    dataset = history.dataset(10).manifest_hash
    for before in (None, "1", "2"):
        registry.promote(store, history.register(dataset), expected=before, reason="better")
    return history


def served_by(accepted: list[tuple[str, str | None, float]], records: list[dict[str, Any]] = []) -> list[tuple[str, str]]:  # noqa: B006
    """The moves that `rebuilt` gives: what was done, and which version served then."""
    return [(change.action, change.version) for change in rebuilt(accepted, records)]


def rebuilt(accepted: list[tuple[str, str | None, float]], records: list[dict[str, Any]]) -> list[Change]:
    """Moves rebuilt from versions (number, champion in the evidence, hours) and records (hours and more)."""
    versions = [
        Accepted(version, START + timedelta(hours=hours), champion, f"candidate-{version}", "") for version, champion, hours in accepted
    ]
    watched = [
        watch_record(number, (START + timedelta(hours=record["hours"])).isoformat(), **{k: v for k, v in record.items() if k != "hours"})
        for number, record in enumerate(records, 1)
    ]
    return rebuilt_history(versions, watched)


def test_a_chain_of_promotions_is_rebuilt_from_the_evidence_alone() -> None:
    assert served_by([("1", None, 1), ("2", "1", 2), ("3", "2", 3)]) == [("promotion", "1"), ("promotion", "2"), ("promotion", "3")]


def test_a_rollback_is_seen_in_what_the_next_gate_compared_with() -> None:
    moves = served_by([("1", None, 1), ("2", "1", 2), ("3", "1", 3)])
    assert moves == [("promotion", "1"), ("promotion", "2"), ("rollback", "1"), ("promotion", "3")]


def test_a_rollback_is_seen_by_the_watch_after_it() -> None:
    moves = served_by([("1", None, 1), ("2", "1", 2)], [{"hours": 3, "champion_version": "1"}])
    assert moves[-1] == ("rollback", "1")


def test_a_watch_before_the_last_promotion_does_not_undo_it() -> None:
    assert served_by([("1", None, 1), ("2", "1", 3)], [{"hours": 2, "champion_version": "1"}])[-1] == ("promotion", "2")


def test_the_watch_that_promoted_says_so() -> None:
    record = {"hours": 3, "champion_version": "1", "promoted_version": "2", "outcome": "promoted"}
    assert served_by([("1", None, 1), ("2", "1", 2)], [record]) == [("promotion", "1"), ("promotion", "2")]


def test_a_watch_that_promoted_and_died_before_it_said_so_does_not_undo_it() -> None:
    failed = {"hours": 9, "started": (START + timedelta(hours=1.5)).isoformat(), "champion_version": "1", "state": "failed"}
    assert served_by([("1", None, 1), ("2", "1", 2)], [failed])[-1] == ("promotion", "2")
    later = {"hours": 11, "started": (START + timedelta(hours=10)).isoformat(), "champion_version": "1"}
    assert served_by([("1", None, 1), ("2", "1", 2)], [failed, later])[-1] == ("rollback", "1")


@pytest.mark.parametrize("later", [{"accepted": [("4", "2", 4)]}, {"records": [{"hours": 4, "champion_version": "2"}]}])
def test_a_version_that_lost_its_race_never_served(later: dict[str, Any]) -> None:
    moves = served_by([("1", None, 1), ("2", "1", 2), ("3", "1", 3), *later.get("accepted", [])], later.get("records", []))
    assert ("promotion", "3") not in moves
    assert moves[:2] == [("promotion", "1"), ("promotion", "2")]


def test_a_first_promotion_that_died_is_followed_by_the_one_that_did_not() -> None:
    assert served_by([("1", None, 1), ("2", None, 2), ("3", "2", 3)]) == [("promotion", "2"), ("promotion", "3")]
    assert served_by([("1", None, 1), ("2", None, 2), ("3", "1", 3)]) == [("promotion", "1"), ("promotion", "3")]


def test_what_a_person_promoted_is_seen_by_gate_or_watch() -> None:
    accepted = [("1", None, 1.0), ("2", "1", 2.0), ("3", "1", 3.0), ("4", "2", 4.0), ("5", "3", 5.0)]
    assert served_by(accepted)[-2:] == [("promotion", "3"), ("promotion", "5")]
    moves = served_by(accepted, [{"hours": 6, "champion_version": "3"}])
    assert moves[-1] == ("rollback", "3")
    assert served_by([("2", "1", 2)], [{"hours": 3, "champion_version": "9"}]) == [("promotion", "2")]


def test_each_rebuilt_move_says_what_served_before_it_when_and_from_what_it_is_known() -> None:
    accepted = [("1", None, 1.0), ("2", "1", 2.0), ("3", "1", 3.0), ("4", "2", 4.0)]
    moves = rebuilt(accepted, [{"hours": 5, "champion_version": "2"}, {"hours": 6, "champion_version": "3"}])
    assert [(move.action, move.version, move.before) for move in moves] == [
        ("promotion", "1", None),
        ("promotion", "2", "1"),
        ("promotion", "4", "2"),
        ("promotion", "3", "4"),
    ]
    assert [move.reason.removeprefix("rebuilt after the pointer was lost: ") for move in moves] == [
        "the gate accepted version 1",
        "the gate accepted version 2",
        "the gate accepted version 4",
        "watch 2 saw version 3 serve",
    ]
    assert [datetime.fromisoformat(move.at) for move in moves] == [START + timedelta(hours=hours) for hours in (1, 2, 4, 6)]
    compared = rebuilt([("1", None, 1), ("2", "1", 2), ("3", "1", 3)], [])[2]
    assert (compared.action, compared.version, compared.before) == ("rollback", "1", "2")
    assert compared.reason.endswith("the gate compared version 3 with it")


def test_two_rollbacks_are_seen_in_what_the_next_gate_compared_with() -> None:
    moves = served_by([("1", None, 1), ("2", "1", 2), ("3", "2", 3), ("4", "1", 4)])
    assert moves[-3:] == [("rollback", "2"), ("rollback", "1"), ("promotion", "4")]


def test_what_was_seen_in_the_moment_of_a_registration_says_nothing_about_it() -> None:
    assert served_by([("1", None, 1), ("2", "1", 2)], [{"hours": 2, "champion_version": "1"}])[-1] == ("promotion", "2")
    assert served_by([("1", None, 1), ("2", "1", 2), ("3", "1", 3)], [{"hours": 3, "champion_version": "2"}])[-1] == ("promotion", "3")


def test_nothing_accepted_is_no_history() -> None:
    assert served_by([], [{"hours": 1, "champion_version": "1"}]) == []


def test_with_a_lost_pointer_everything_stops_and_names_the_cure(history: StoreHistory, tmp_path: Path) -> None:
    store = history.store
    store.delete("champion.json")
    again = tmp_path / "candidate-3", tmp_path / "evidence-3"
    for stopped in (
        lambda: registry.current(store),
        lambda: registry.promote(store, registry.register(store, *again), expected="2", reason="repeated"),
        lambda: registry.promote(store, "1", expected=None, reason="first", by_person=True),
        lambda: registry.rollback(store, reason="bad"),
        lambda: registry.release(store, reason="?"),
        lambda: find_opponents(store, history.dataset(10), None, None, tmp_path / "scratch"),
    ):
        with pytest.raises(IntegrityError, match=r"champion\.json: lost, though.*`driftloop models restore-pointer --store"):
            stopped()
    assert not store.exists("champion.json")


def test_a_first_promotion_that_died_can_be_repeated_and_a_second_training_cannot_pass_it(store: Store, tmp_path: Path) -> None:
    for seed in (1, 2):
        candidate = write_candidate(tmp_path / f"candidate-{seed}", seed=seed)
        registry.register(store, candidate, write_gate_evidence(tmp_path / f"evidence-{seed}", candidate, champion=None))
    with pytest.raises(IntegrityError, match="lost"):
        registry.promote(store, "2", expected=None, reason="first")
    assert registry.promote(store, "1", expected=None, reason="first").version == "1"


def test_the_rebuilt_pointer_is_the_one_that_was_lost(history: StoreHistory) -> None:
    store = history.store
    registry.rollback(store, reason="bad")
    history.watched(1, "2", finished=(datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    lost = registry.current(store)
    assert lost is not None
    store.delete("champion.json")
    rebuilt = restore(store, plan_restoration(store))
    assert rebuilt == registry.current(store)
    assert (rebuilt.version, rebuilt.previous, rebuilt.hold) == (lost.version, lost.previous, None)
    known = [(change.action, change.version, change.before, change.candidate, change.serves) for change in lost.history]
    assert [(change.action, change.version, change.before, change.candidate, change.serves) for change in rebuilt.history] == known
    assert not any(change.by_person for change in rebuilt.history)
    assert "rebuilt after the pointer was lost: watch 1 saw version 2 serve" in rebuilt.reason
    with pytest.raises(Conflict, match="was rolled back"):
        registry.promote(store, "3", expected="2", reason="repeated")


def test_a_damaged_pointer_is_replaced_and_one_that_stands_never(history: StoreHistory) -> None:
    store = history.store
    with pytest.raises(Conflict, match=r"stands .version 3 serves.; only a lost or damaged pointer is rebuilt"):
        plan_restoration(store)
    store.put("champion.json", b'{"version": ')
    with pytest.raises(IntegrityError, match="restore-pointer"):
        registry.current(store)
    plan = plan_restoration(store)
    assert restore(store, plan).version == "3"
    with pytest.raises(Conflict, match="somebody wrote it meanwhile; it stays"):
        restore(store, plan)


def test_of_racing_restorations_one_wins(history: StoreHistory) -> None:
    store = history.store
    store.delete("champion.json")
    plans = [plan_restoration(store) for _ in range(8)]

    def written(index: int) -> bool:
        try:
            restore(store, plans[index])
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as racers:
        assert sum(racers.map(written, range(8))) == 1


def test_a_person_may_name_who_is_to_serve(history: StoreHistory) -> None:
    history.store.delete("champion.json")
    champion = plan_restoration(history.store, "2").champion
    assert (champion.version, champion.previous, champion.history[-1].action) == ("2", "1", "rollback")
    assert champion.reason == "rebuilt after the pointer was lost: named by a person"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(champion.promoted_at)) < timedelta(minutes=1)
    with pytest.raises(InputError, match="no version 9 that the gate accepted"):
        plan_restoration(history.store, "9")


def test_a_version_without_its_files_is_not_pointed_at(history: StoreHistory) -> None:
    store = history.store
    store.delete("champion.json")
    store.delete("versions/3/model.int8.onnx")
    with pytest.raises(IntegrityError, match=r"version 3 lacks model\.int8\.onnx"):
        plan_restoration(store)
    store.delete("versions/3/SHA256SUMS")
    with pytest.raises(NotFound, match=r"version 3 should serve and is not complete; .* or name another with --version"):
        plan_restoration(store)
    assert plan_restoration(store, "2").champion.history[-2].candidate != ""


def test_of_a_version_whose_files_are_gone_the_evidence_is_known_as_far_as_it_says(history: StoreHistory) -> None:
    whole = accepted_versions(history.store)
    for name in ("SHA256SUMS", "model.json"):
        history.store.delete(f"versions/2/{name}")
    pruned = [entry if entry.version != "2" else replace(entry, serves="") for entry in whole]
    assert whole[1].serves != ""
    assert accepted_versions(history.store) == pruned
    gate = json.loads(history.store.read("versions/2/gate.json"))
    for evidence in ({key: gate[key] for key in gate if key != "candidate"}, gate | {"decision": "reject"}, {}):
        history.store.put("versions/2/gate.json", json.dumps(evidence).encode())
        found = accepted_versions(history.store)
        expected = replace(pruned[1], candidate="")
        assert found == [pruned[0], *([expected] if evidence.get("decision") == "promote" else []), pruned[2]]


def test_a_store_without_versions_has_no_pointer_to_restore(store: Store) -> None:
    with pytest.raises(NoChampion, match="no pointer to restore"):
        plan_restoration(store)
