"""Promotion: what the gate decided, once, whatever is repeated or killed."""

from pathlib import Path

import pytest

from components.model_promotion import step
from components.model_promotion.step import run
from driftloop import bundle, registry
from driftloop.errors import Conflict, GateRefused, InputError, IntegrityError
from driftloop.registry.gate_evidence import refusals
from driftloop.step_facts import write_json
from driftloop.store import Store, open_store
from tests.factories.candidates import write_candidate, write_dataset_artifact, write_gate_evidence
from tests.unit.registry.crashing_store import Crash, CrashingStore


class Case:
    """One store, and candidates for it."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri
        self.store: Store = open_store(uri)
        self.dataset = write_dataset_artifact(folder / "dataset", uri)

    def judged(self, seed: int, *, champion: str | None, decision: str = "promote") -> tuple[Path, Path, Path]:
        """The first three arguments of `run` for a new candidate."""
        candidate = write_candidate(self.folder / f"candidate-{seed}", seed=seed)
        return (
            candidate,
            self.dataset,
            write_gate_evidence(self.folder / f"evidence-{seed}", candidate, champion=champion, decision=decision),
        )

    def serving(self) -> str | None:
        champion = registry.current(self.store)
        return champion.version if champion else None


@pytest.fixture
def case(tmp_path: Path, store_uri: str) -> Case:
    return Case(tmp_path, store_uri)


def test_the_first_candidate_becomes_version_1_and_the_next_version_2(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "nightly-7")
    assert run(*case.judged(1, champion=None), store=case.uri) == "1"
    assert run(*case.judged(2, champion="1"), store=case.uri) == "2"
    champion = registry.current(case.store)
    assert champion is not None
    assert (champion.version, champion.previous, champion.reason) == ("2", "1", "clean accuracy: promote")
    assert registry.version_info(case.store, "2").run == "nightly-7"


def test_repeating_the_step_returns_the_same_version(case: Case) -> None:
    arguments = case.judged(1, champion=None)
    assert [run(*arguments, store=case.uri) for _ in range(3)] == ["1", "1", "1"]
    assert len(registry.versions(case.store)) == 1


@pytest.mark.parametrize("decision", ["reject", "inconclusive"])
def test_without_the_gates_yes_the_champion_stays_and_the_refusal_is_kept_once(case: Case, decision: str) -> None:
    run(*case.judged(1, champion=None), store=case.uri)
    before = {(info.key, info.modified) for info in case.store.list()}
    refused = case.judged(2, champion="1", decision=decision)
    assert [run(*refused, store=case.uri) for _ in range(2)] == ["1", "1"]
    after = {(info.key, info.modified) for info in case.store.list()}
    assert before < after
    assert len(after - before) == 1
    assert [gate["decision"] for gate in refusals(case.store)] == [decision]
    assert [info.version for info in registry.versions(case.store)] == ["1"]


def test_without_the_gates_yes_and_without_a_champion_the_run_stops_with_the_reasons(case: Case) -> None:
    with pytest.raises(GateRefused, match=r"the gate says reject \(clean accuracy: reject\), and there is no champion to go on with"):
        run(*case.judged(1, champion=None, decision="reject"), store=case.uri)


def test_evidence_about_another_candidate_promotes_nothing(case: Case) -> None:
    candidate, dataset, _ = case.judged(1, champion=None)
    _, _, evidence = case.judged(2, champion=None)
    with pytest.raises(InputError, match="the gate judged another candidate"):
        run(candidate, dataset, evidence, store=case.uri)
    assert list(case.store.list()) == []


def test_evidence_on_another_dataset_promotes_nothing(case: Case) -> None:
    candidate, dataset, _ = case.judged(1, champion=None)
    evidence = write_gate_evidence(case.folder / "evidence", candidate, champion=None, dataset="e" * 64)
    with pytest.raises(InputError, match="the gate judged on another dataset"):
        run(candidate, dataset, evidence, store=case.uri)


def test_a_candidate_changed_after_the_gate_is_refused(case: Case) -> None:
    arguments = case.judged(1, champion=None)
    (arguments[0] / "model.int8.onnx").write_bytes(b"better, trust me")
    with pytest.raises(IntegrityError):
        run(*arguments, store=case.uri)


def test_a_candidate_changed_and_sealed_again_after_the_gate_is_refused(case: Case) -> None:
    arguments = case.judged(1, champion=None)
    (arguments[0] / "model.int8.onnx").write_bytes(b"better, trust me")
    bundle.seal(arguments[0])
    with pytest.raises(InputError, match="the gate judged another candidate"):
        run(*arguments, store=case.uri)
    assert list(case.store.list()) == []


@pytest.mark.parametrize("gate", [None, {"decision": "promote"}, {"decision": "yes"}])
def test_evidence_that_is_none_is_one_clear_line(case: Case, gate: dict[str, str] | None) -> None:
    candidate, dataset, _ = case.judged(1, champion=None)
    if gate is not None:
        write_json(case.folder / "broken" / "gate.json", gate)
    with pytest.raises(InputError, match="pass the `evidence` output of validation_gate"):
        run(candidate, dataset, case.folder / "broken", store=case.uri)


def test_of_two_candidates_judged_against_the_same_champion_the_second_is_told_so(case: Case) -> None:
    run(*case.judged(1, champion=None), store=case.uri)
    second, third = case.judged(2, champion="1"), case.judged(3, champion="1")
    assert run(*second, store=case.uri) == "2"
    with pytest.raises(Conflict, match="version 3 was to follow champion 1, but the champion is now 2"):
        run(*third, store=case.uri)
    assert case.serving() == "2"


def test_a_candidate_that_was_rolled_back_is_not_promoted_by_repeating_the_run(case: Case) -> None:
    run(*case.judged(1, champion=None), store=case.uri)
    second = case.judged(2, champion="1")
    run(*second, store=case.uri)
    registry.rollback(case.store, reason="bad")
    with pytest.raises(Conflict, match="was rolled back"):
        run(*second, store=case.uri)
    assert case.serving() == "1"


#: registration.json, eight files of the bundle and the evidence, SHA256SUMS, champion.json.
WRITES = 11


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_the_old_champion_serves_and_repeating_completes(
    case: Case, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = run(*case.judged(1, champion=None), store=case.uri)
    for write in range(WRITES):
        arguments = case.judged(2 + write, champion=old)
        with monkeypatch.context() as dying:
            dying.setattr(step, "open_store", lambda uri, at=write: CrashingStore(open_store(uri), at, after=after))
            with pytest.raises(Crash):
                run(*arguments, store=case.uri)
        moved = after and write == WRITES - 1
        assert (case.serving() == old) is not moved
        registry.download(case.store, case.serving() or "", case.folder / f"serves-{write}")
        new = run(*arguments, store=case.uri)
        assert new != old
        assert case.serving() == new
        old = new
    assert len(registry.versions(case.store)) == 1 + WRITES


def test_with_a_lost_pointer_neither_a_candidate_nor_a_refusal_moves_anything(case: Case) -> None:
    run(*case.judged(1, champion=None), store=case.uri)
    case.store.delete("champion.json")
    for arguments in (case.judged(2, champion=None), case.judged(3, champion="1"), case.judged(4, champion="1", decision="reject")):
        with pytest.raises(IntegrityError, match="driftloop models restore-pointer"):
            run(*arguments, store=case.uri)
    assert not case.store.exists("champion.json")


def test_under_a_hold_the_version_is_registered_and_the_champion_stays(case: Case) -> None:
    run(*case.judged(1, champion=None), store=case.uri)
    run(*case.judged(2, champion="1"), store=case.uri)
    registry.rollback(case.store, reason="bad", hold=True)
    third = case.judged(3, champion="1")
    for _ in range(2):
        with pytest.raises(Conflict, match="promotions are on hold since"):
            run(*third, store=case.uri)
    assert case.serving() == "1"
    assert [info.version for info in registry.versions(case.store)] == ["1", "2", "3"]
    registry.release(case.store, reason="repaired")
    assert run(*third, store=case.uri) == "3"
