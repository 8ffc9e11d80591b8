"""The gate's evidence as the registry takes it: complete or one line; what was refused is kept once."""

import json
from pathlib import Path

import pytest

from driftloop import bundle
from driftloop.errors import InputError, IntegrityError
from driftloop.registry.gate_evidence import REFUSED, keep_refusal, read_evidence, refusals
from driftloop.store import Store
from tests.factories.candidates import MANIFEST, write_candidate, write_gate_evidence


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """The folder of evidence on a candidate that the gate refused."""
    return write_gate_evidence(tmp_path / "evidence", write_candidate(tmp_path / "candidate", seed=1), champion="1", decision="reject")


def test_the_registry_reads_what_it_acts_on_and_leaves_the_rest(refused: Path, tmp_path: Path) -> None:
    evidence = read_evidence(str(refused))
    assert (evidence.decision, evidence.reasons, evidence.champion_version) == ("reject", ["clean accuracy: reject"], "1")
    assert (evidence.candidate, evidence.dataset) == (bundle.sha256_file(tmp_path / "candidate" / bundle.SUMS), MANIFEST)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"decision": "perhaps"}, r"gate\.json: decision: Input should be 'promote', 'reject' or 'inconclusive'"),
        ({"reasons": ["good", 7]}, r"gate\.json: reasons\.1: Input should be a valid string"),
        ({"candidate": None}, r"gate\.json: candidate: Input should be a valid string"),
        (None, r"gate\.json: file: Invalid JSON"),
    ],
)
def test_evidence_that_cannot_be_acted_on_is_one_line_that_says_where(refused: Path, change: dict[str, object] | None, line: str) -> None:
    path = refused / "gate.json"
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"{line}.*; pass the `evidence` output of validation_gate$"):
        read_evidence(refused)


def test_where_no_evidence_is_the_line_names_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^{tmp_path}: no gate\.json; pass the `evidence` output"):
        read_evidence(tmp_path)


def test_a_refusal_is_kept_once_however_often_its_step_is_repeated(store: Store, refused: Path) -> None:
    assert refusals(store) == []
    keep_refusal(store, refused)
    keep_refusal(store, str(refused))
    (kept,) = store.list(REFUSED)
    assert store.read(kept.key) == (refused / "gate.json").read_bytes()
    assert refusals(store) == [json.loads((refused / "gate.json").read_text())]


def test_each_refusal_counts_and_one_that_is_damaged_is_named(store: Store, refused: Path) -> None:
    keep_refusal(store, refused)
    other = json.loads((refused / "gate.json").read_text()) | {"test_uses": 2}
    (refused / "gate.json").write_text(json.dumps(other))
    keep_refusal(store, refused)
    assert sorted(gate["test_uses"] for gate in refusals(store)) == [1, 2]
    store.put(f"{REFUSED}0123456789abcdef.json", b"{")
    with pytest.raises(IntegrityError, match=rf"{REFUSED}0123456789abcdef\.json: damaged"):
        refusals(store)


def test_the_key_of_a_refusal_is_stored_and_must_not_change_from_release_to_release(store: Store, refused: Path) -> None:
    (refused / "gate.json").write_bytes(b"{}")
    keep_refusal(store, refused)
    assert [entry.key for entry in store.list(REFUSED)] == ["versions/refused/44136fa355b3678a.json"]
