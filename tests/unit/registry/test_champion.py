"""The champion pointer: moved by compare-and-swap, with its history, and back again."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from driftloop import registry
from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.store import Store
from tests.factories.candidates import write_candidate, write_gate_evidence


@pytest.fixture
def three(store: Store, tmp_path: Path) -> Store:
    """A store with three versions, none of which serves."""
    for seed in range(3):
        candidate = write_candidate(tmp_path / f"candidate-{seed}", seed=seed)
        registry.register(store, candidate, write_gate_evidence(tmp_path / f"evidence-{seed}", candidate, champion=None))
    return store


def _promote_in_turn(store: Store, *versions: str) -> None:
    for before, version in zip([None, *versions], versions, strict=False):
        registry.promote(store, version, expected=before, reason=f"{version} is better")


def test_no_champion_serves_in_a_store_without_versions(store: Store) -> None:
    assert registry.current(store) is None


def test_a_promotion_moves_the_pointer_and_remembers(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    champion = registry.current(three)
    assert champion is not None
    assert (champion.version, champion.previous, champion.reason) == ("2", "1", "2 is better")
    assert [(move.action, move.before, move.version) for move in champion.history] == [("promotion", None, "1"), ("promotion", "1", "2")]


def test_promoting_the_champion_again_changes_nothing(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    before = three.read("champion.json")
    assert registry.promote(three, "2", expected="1", reason="again").version == "2"
    assert three.read("champion.json") == before


def test_a_promotion_against_a_champion_that_has_moved_is_a_conflict_and_changes_nothing(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    with pytest.raises(Conflict, match=r"version 3 was to follow champion 1, but the champion is now 2, promoted at .*it stays"):
        registry.promote(three, "3", expected="1", reason="late")
    champion = registry.current(three)
    assert champion is not None
    assert champion.version == "2"


def test_a_first_promotion_needs_that_there_is_no_champion_yet(three: Store) -> None:
    _promote_in_turn(three, "1")
    with pytest.raises(Conflict, match=r"champion \(none\)"):
        registry.promote(three, "2", expected=None, reason="first")


def test_a_promotion_over_a_champion_that_never_was_is_a_conflict(three: Store) -> None:
    with pytest.raises(Conflict, match=r"version 1 was to follow champion 7, but the champion is now \(none\); it stays"):
        registry.promote(three, "1", expected="7", reason="better")
    assert not three.exists("champion.json")


def test_of_racing_promotions_one_wins_and_the_others_say_so(three: Store) -> None:
    _promote_in_turn(three, "1")
    together = threading.Barrier(16)

    def promote(number: int) -> str | None:
        together.wait()
        try:
            return registry.promote(three, "2" if number % 2 else "3", expected="1", reason=str(number)).version
        except Conflict:
            return None

    with ThreadPoolExecutor(16) as racers:
        answers = list(racers.map(promote, range(16)))
    champion = registry.current(three)
    assert champion is not None
    assert len(champion.history) == 2
    # Whoever promoted the winner may hear that it serves; nobody hears that the loser does.
    assert set(answers) == {champion.version, None}


def test_a_version_that_lacks_a_file_is_neither_promoted_nor_rolled_back_to(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    for version in ("1", "3"):
        three.delete(f"versions/{version}/model.int8.onnx")
    before = three.read("champion.json")
    with pytest.raises(IntegrityError, match=r"version 3 lacks model\.int8\.onnx; restore it from a backup"):
        registry.promote(three, "3", expected="2", reason="better")
    with pytest.raises(IntegrityError, match=r"version 1 lacks model\.int8\.onnx"):
        registry.rollback(three, reason="bad")
    assert three.read("champion.json") == before


def test_what_was_never_registered_cannot_be_promoted(three: Store) -> None:
    with pytest.raises(NotFound, match="no complete version 7"):
        registry.promote(three, "7", expected=None, reason="?")


def test_a_rollback_returns_to_the_previous_version_with_its_reason(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    champion = registry.rollback(three, reason="misses fractures")
    assert registry.current(three) == champion
    assert (champion.version, champion.previous, champion.reason) == ("1", None, "misses fractures")
    assert [move.action for move in champion.history] == ["promotion", "promotion", "rollback"]


def test_a_second_rollback_goes_one_further_back(three: Store) -> None:
    _promote_in_turn(three, "1", "2", "3")
    assert registry.rollback(three, reason="bad").version == "2"
    assert registry.rollback(three, reason="also bad").version == "1"
    with pytest.raises(InputError, match="no version before it"):
        registry.rollback(three, reason="worse and worse")


def test_after_a_rollback_the_next_promotion_rolls_back_to_the_right_one(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    registry.rollback(three, reason="bad")
    registry.promote(three, "3", expected="1", reason="better")
    assert registry.rollback(three, reason="bad too").version == "1"


def test_the_same_evidence_cannot_promote_again_what_was_rolled_back(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    registry.rollback(three, reason="bad")
    with pytest.raises(Conflict, match="what version 2 serves was rolled back, and evidence cannot promote it again; a person may"):
        registry.promote(three, "2", expected="1", reason="the run was repeated")
    champion = registry.current(three)
    assert champion is not None
    assert champion.version == "1"


def test_a_candidate_that_was_rolled_back_does_not_come_back_under_another_number(three: Store, tmp_path: Path) -> None:
    _promote_in_turn(three, "1", "2")
    registry.rollback(three, reason="bad")
    # Version 2 was candidate-1: judged a second time, it is the same candidate with another gate.json.
    again = write_gate_evidence(tmp_path / "evidence-again", tmp_path / "candidate-1", champion="1")
    version = registry.register(three, tmp_path / "candidate-1", again)
    assert version == "4"
    with pytest.raises(Conflict, match="rolled back"):
        registry.promote(three, version, expected="1", reason="judged again")


def test_a_person_may_promote_again_what_was_rolled_back(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    registry.rollback(three, reason="by mistake")
    champion = registry.promote(three, "2", expected="1", reason="it was the scanner", by_person=True)
    assert (champion.version, champion.history[-1].by_person) == ("2", True)
    assert registry.rollback(three, reason="after all").version == "1"
    with pytest.raises(Conflict, match="rolled back"):
        registry.promote(three, "2", expected="1", reason="the run was repeated")


def test_what_a_person_has_promoted_again_counts_as_rolled_back_no_longer(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    registry.rollback(three, reason="by mistake")
    registry.promote(three, "2", expected="1", reason="it was the scanner", by_person=True)
    registry.promote(three, "3", expected="2", reason="better")
    assert registry.promote(three, "2", expected="3", reason="better than 3, says the gate").version == "2"


def test_each_move_says_when_and_whether_a_person_decided(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    registry.promote(three, "3", expected="2", reason="better", by_person=True)
    moves = registry.rollback(three, reason="bad").history
    assert [move.by_person for move in moves] == [False, False, True, True]
    for move in moves:
        assert abs(datetime.now(UTC) - datetime.fromisoformat(move.at)) < timedelta(minutes=1)


def test_a_pointer_that_moved_there_and_back_is_not_taken_for_one_that_never_moved(three: Store) -> None:
    _promote_in_turn(three, "1")
    data, tag = three.read_tagged("champion.json")
    registry.promote(three, "2", expected="1", reason="better")
    registry.rollback(three, reason="bad")
    with pytest.raises(Conflict):
        three.replace("champion.json", data, tag)


def test_a_rollback_needs_a_champion_and_a_reason(store: Store) -> None:
    with pytest.raises(NoChampion, match="no champion to roll back"):
        registry.rollback(store, reason="bad")
    with pytest.raises(InputError, match="give one with --reason"):
        registry.rollback(store, reason=" ")


def test_a_pointer_that_cannot_be_read_is_one_clear_line(three: Store) -> None:
    three.put("champion.json", b"{")
    with pytest.raises(
        IntegrityError, match=r"champion\.json: cannot be read as a champion pointer; rebuild it with `driftloop models rest"
    ):
        registry.current(three)


def _moved_in_between(store: Store, monkeypatch: pytest.MonkeyPatch, write: str, move: Callable[[], object]) -> None:
    """Let somebody else move the pointer just before this store's next write of that kind."""
    method = getattr(store, write)

    def late(*arguments: object) -> object:
        monkeypatch.setattr(store, write, method)
        move()
        return method(*arguments)

    monkeypatch.setattr(store, write, late)


def test_a_promotion_that_another_one_overtakes_says_who_serves(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _promote_in_turn(three, "1")
    _moved_in_between(three, monkeypatch, "replace", lambda: registry.promote(three, "2", expected="1", reason="faster"))
    with pytest.raises(Conflict, match=r"version 3 was to follow champion 1, but the champion is now 2, promoted at .*it stays"):
        registry.promote(three, "3", expected="1", reason="slower")
    champion = registry.current(three)
    assert champion is not None
    assert [change.version for change in champion.history] == ["1", "2"]


def test_a_doubled_promotion_answers_what_the_first_one_did(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _promote_in_turn(three, "1")
    _moved_in_between(three, monkeypatch, "replace", lambda: registry.promote(three, "2", expected="1", reason="first"))
    assert registry.promote(three, "2", expected="1", reason="second").reason == "first"


def test_a_doubled_first_promotion_answers_what_the_first_one_did(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _moved_in_between(three, monkeypatch, "create", lambda: registry.promote(three, "1", expected=None, reason="first"))
    assert registry.promote(three, "1", expected=None, reason="second").reason == "first"


def test_the_same_files_under_another_number_serve_already(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _promote_in_turn(three, "1", "2")
    for entry in list(three.list("versions/2/")):
        three.put(entry.key.replace("versions/2/", "versions/4/"), three.read(entry.key))
    before = three.read("champion.json")
    assert registry.promote(three, "4", expected="1", reason="doubled").version == "2"
    assert three.read("champion.json") == before
    # Once the champion's files are pruned, nothing says that the two are the same.
    three.delete("versions/2/SHA256SUMS")
    with pytest.raises(Conflict, match="version 4 was to follow champion 1"):
        registry.promote(three, "4", expected="1", reason="doubled")


@pytest.mark.parametrize("move", ["promotion", "rollback"])
def test_a_rollback_that_is_overtaken_changes_nothing_and_says_who_serves(three: Store, monkeypatch: pytest.MonkeyPatch, move: str) -> None:
    _promote_in_turn(three, "1", "2")
    moves = {
        "promotion": lambda: registry.promote(three, "3", expected="2", reason="better"),
        "rollback": lambda: registry.rollback(three, reason="faster"),
    }
    _moved_in_between(three, monkeypatch, "replace", moves[move])
    serves = "3" if move == "promotion" else "1"
    with pytest.raises(Conflict, match=rf"somebody moved the champion just now: {serves}, promoted at .*; nothing was changed"):
        registry.rollback(three, reason="bad")
    champion = registry.current(three)
    assert champion is not None
    assert (champion.version, len(champion.history)) == (serves, 3)


@pytest.mark.parametrize("action", ["promotion", "rollback"])
def test_a_move_whose_answer_was_lost_and_that_was_moved_on_from_is_done(
    three: Store, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    _promote_in_turn(three, "1", "2")
    replace = three.replace

    def lost(key: str, data: bytes, tag: str) -> str:
        monkeypatch.setattr(three, "replace", replace)
        replace(key, data, tag)
        champion = registry.current(three)
        assert champion is not None
        other = "2" if action == "rollback" else "1"
        registry.promote(three, other, expected=champion.version, reason="somebody else", by_person=True)
        raise Conflict(f"{key}: changed since it was read")

    monkeypatch.setattr(three, "replace", lost)
    if action == "promotion":
        now = registry.promote(three, "3", expected="2", reason="better")
    else:
        now = registry.rollback(three, reason="bad")
    assert now.reason == "somebody else"
    assert [change.action for change in now.history[2:]] == [action, "promotion"]


def test_what_was_read_cannot_be_changed(three: Store) -> None:
    _promote_in_turn(three, "1", "2")
    champion = registry.rollback(three, reason="bad", hold=True)
    assert champion.hold is not None
    for frozen, name in ((champion, "version"), (champion.history[0], "version"), (champion.hold, "reason")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(frozen, name, "9")
