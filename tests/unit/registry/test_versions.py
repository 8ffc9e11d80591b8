"""Versions: numbered, complete or invisible, never changed."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from driftloop import bundle, registry
from driftloop.errors import InputError, IntegrityError, NotFound
from driftloop.evaluation.intervals import wilson
from driftloop.registry.versions import check_files, claimed_versions, complete_versions, registered_at
from driftloop.step_facts import write_json
from driftloop.store import Store
from tests.factories.candidates import MANIFEST, write_candidate, write_gate_evidence
from tests.unit.registry.crashing_store import Crash, CrashingStore


def _register(store: Store, folder: Path, seed: int, *, champion: str | None = None, run: str = "") -> str:
    candidate = write_candidate(folder / f"candidate-{seed}", seed=seed)
    return registry.register(store, candidate, write_gate_evidence(folder / f"evidence-{seed}", candidate, champion=champion), run=run)


def test_versions_are_numbered_from_one(store: Store, tmp_path: Path) -> None:
    assert registry.versions(store) == []
    assert [_register(store, tmp_path, seed) for seed in range(3)] == ["1", "2", "3"]
    assert [info.version for info in registry.versions(store)] == ["1", "2", "3"]


def test_ten_comes_after_nine(store: Store, tmp_path: Path) -> None:
    for seed in range(11):
        _register(store, tmp_path, seed)
    assert [info.version for info in registry.versions(store)] == [str(number) for number in range(1, 12)]


def test_a_version_holds_the_bundle_and_the_evidence_and_verifies(store: Store, tmp_path: Path) -> None:
    version = _register(store, tmp_path, 1)
    registry.download(store, version, tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    expected = {"model.json", "model.pth", "model.onnx", "model.int8.onnx", "reference.npz", "facts.json", "used.json", "gate.json"}
    assert names == expected | {"SHA256SUMS"}
    bundle.verify(tmp_path / "copy")
    assert (tmp_path / "copy" / "model.pth").read_bytes() == (tmp_path / "candidate-1" / "model.pth").read_bytes()


def test_a_model_card_beside_the_evidence_goes_with_the_version(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    evidence = write_gate_evidence(tmp_path / "evidence", candidate, champion=None)
    (evidence / "MODEL_CARD.md").write_text("# Card\n")
    version = registry.register(store, candidate, evidence)
    assert "MODEL_CARD.md" in registry.version_info(store, version).files


def test_a_version_tells_its_lineage(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=5, parent="1")
    evidence = write_gate_evidence(tmp_path / "evidence", candidate, champion="1")
    info = registry.version_info(store, registry.register(store, candidate, evidence, run="2031-01-02-nightly"))
    assert (info.dataset, info.parent, info.run, info.decision) == (MANIFEST, "1", "2031-01-02-nightly", "promote")
    assert info.candidate == bundle.sha256_file(candidate / "SHA256SUMS")
    assert info.accuracy is not None
    assert info.accuracy.value == pytest.approx(0.805)
    assert info.bytes > 4 * 5000


def test_a_version_tells_what_the_gate_measured_on_it(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    evidence = write_gate_evidence(tmp_path / "evidence", candidate, champion="1")
    gate = json.loads((evidence / "gate.json").read_text())
    drifted = wilson(70, 100)
    gate |= {"accuracy": {"candidate_drifted": drifted.model_dump()}, "latency": {"candidate_p95_ms": 12.5}}
    write_json(evidence / "gate.json", gate)
    info = registry.version_info(store, registry.register(store, candidate, evidence))
    assert (info.drifted_accuracy, info.p95_ms) == (drifted, 12.5)
    assert (info.served, info.served_bytes, info.run) == ("model.int8.onnx", 5000, "")
    since = datetime.now(UTC) - datetime.fromisoformat(info.registered_at)
    assert timedelta(0) <= since < timedelta(minutes=1)
    assert registered_at(store, info.version) == datetime.fromisoformat(info.registered_at)


def test_what_was_not_measured_is_none_and_the_trained_model_stands_for_the_served_one(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    trained = wilson(90, 100)
    model = bundle.read_model(candidate).model_copy(update={"served": "", "metrics": {"test_accuracy": trained}})
    bundle.write_model(candidate, model)
    bundle.seal(candidate)
    info = registry.version_info(store, registry.register(store, candidate, write_gate_evidence(tmp_path / "e", candidate, champion=None)))
    assert (info.accuracy, info.drifted_accuracy, info.p95_ms) == (trained, None, None)
    assert (info.served, info.served_bytes) == ("", 0)


def test_a_version_without_evidence_and_with_a_bare_claim_is_its_own_candidate(store: Store, tmp_path: Path) -> None:
    _register(store, tmp_path, 1)
    sums = bundle.write_checksums({name: sha for name, sha in registry.version_info(store, "1").files.items() if name != "gate.json"})
    store.put("versions/1/SHA256SUMS", sums)
    store.put("versions/1/registration.json", b"{}")
    store.delete("versions/1/gate.json")
    info = registry.version_info(store, "1")
    assert (info.decision, info.candidate, info.registered_at, info.run) == (None, info.digest, "", "")


def test_a_version_that_lacks_files_is_one_line_that_names_them_all(store: Store, tmp_path: Path) -> None:
    info = registry.version_info(store, _register(store, tmp_path, 1))
    check_files(store, info)
    for name in ("model.pth", "facts.json"):
        store.delete(f"versions/1/{name}")
    with pytest.raises(IntegrityError, match=r"version 1 lacks facts\.json, model\.pth; restore it from a backup"):
        check_files(store, info)


def test_two_claims_are_never_equal_so_nobody_takes_that_of_another_for_his_own(store: Store, tmp_path: Path) -> None:
    _register(store, tmp_path, 1)
    first = json.loads(store.read("versions/1/registration.json"))
    for entry in list(store.list("versions/")):
        store.delete(entry.key)
    registry.register(store, tmp_path / "candidate-1", tmp_path / "evidence-1")
    second = json.loads(store.read("versions/1/registration.json"))
    assert first | {"registered_at": ""} != second | {"registered_at": ""}
    assert first | {"registered_at": "", "nonce": ""} == second | {"registered_at": "", "nonce": ""}


def test_the_same_content_registered_again_is_the_same_version(store: Store, tmp_path: Path) -> None:
    first = _register(store, tmp_path, 1)
    _register(store, tmp_path, 2)
    assert registry.register(store, tmp_path / "candidate-1", tmp_path / "evidence-1", run="another run") == first
    assert len(registry.versions(store)) == 2


def test_new_evidence_on_the_same_candidate_is_a_new_version(store: Store, tmp_path: Path) -> None:
    _register(store, tmp_path, 1)
    evidence = write_gate_evidence(tmp_path / "evidence-new", tmp_path / "candidate-1", champion="1")
    assert registry.register(store, tmp_path / "candidate-1", evidence) == "2"


def test_racing_registrations_get_different_numbers_and_keep_their_files_apart(store: Store, tmp_path: Path) -> None:
    seeds = range(12)
    candidates = [write_candidate(tmp_path / f"candidate-{seed}", seed=seed) for seed in seeds]
    evidence = [write_gate_evidence(tmp_path / f"evidence-{seed}", candidates[seed], champion=None) for seed in seeds]
    together = threading.Barrier(len(seeds))

    def register(seed: int) -> str:
        together.wait()
        return registry.register(store, candidates[seed], evidence[seed])

    with ThreadPoolExecutor(len(seeds)) as writers:
        won = list(writers.map(register, seeds))
    assert sorted(map(int, won)) == list(range(1, 13))
    for seed, version in zip(seeds, won, strict=True):
        registry.download(store, version, tmp_path / f"copy-{seed}")
        assert (tmp_path / f"copy-{seed}" / "model.pth").read_bytes() == (candidates[seed] / "model.pth").read_bytes()


@pytest.mark.parametrize("after", [False, True])
def test_a_registration_that_dies_anywhere_leaves_nothing_that_a_reader_sees(store: Store, tmp_path: Path, after: bool) -> None:
    assert _register(store, tmp_path, 1) == "1"
    candidate = write_candidate(tmp_path / "candidate", seed=2)
    evidence = write_gate_evidence(tmp_path / "evidence", candidate, champion="1")
    writes = 0
    while True:
        try:
            version = registry.register(CrashingStore(store, writes, after=after), candidate, evidence)
        except Crash:
            complete = [info.version for info in registry.versions(store)]
            if len(complete) == 1:
                writes += 1
                continue
            # It died after its last write: the version is there, and registering again finds it.
            version = complete[-1]
        break
    assert writes >= 8
    assert registry.register(store, candidate, evidence) == version
    registry.download(store, version, tmp_path / "copy")
    # Every attempt that claimed a number before it died has used it up.
    assert int(version) == 2 + writes - (0 if after else 1)


def test_an_incomplete_version_is_not_found_and_its_number_not_used_again(store: Store, tmp_path: Path) -> None:
    store.put("versions/1/registration.json", b"{}")
    store.put("versions/1/model.pth", b"half")
    assert registry.versions(store) == []
    with pytest.raises(NotFound, match="no complete version 1"):
        registry.download(store, "1", tmp_path / "copy")
    assert _register(store, tmp_path, 1) == "2"
    assert store.read("versions/1/model.pth") == b"half"


def test_a_damaged_version_does_not_pass_for_a_download(store: Store, tmp_path: Path) -> None:
    version = _register(store, tmp_path, 1)
    store.put(f"versions/{version}/model.onnx", b"changed")
    with pytest.raises(IntegrityError, match=r"model\.onnx: does not match its checksum"):
        registry.download(store, version, tmp_path / "copy")


def test_a_list_of_files_that_leads_out_of_the_bundle_is_refused(store: Store, tmp_path: Path) -> None:
    version = _register(store, tmp_path, 1)
    store.put(f"versions/{version}/SHA256SUMS", f"{'0' * 64}  ../../escaped\n".encode())
    for use in (lambda: registry.download(store, version, tmp_path / "copy"), lambda: registry.version_info(store, version)):
        with pytest.raises(IntegrityError, match=rf"versions/{version}/SHA256SUMS: not a list of checksums and file names"):
            use()


def test_a_candidate_that_changed_after_it_was_sealed_is_refused(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    evidence = write_gate_evidence(tmp_path / "evidence", candidate, champion=None)
    (candidate / "model.pth").write_bytes(b"other weights")
    with pytest.raises(IntegrityError, match=r"model\.pth: does not match"):
        registry.register(store, candidate, evidence)
    assert list(store.list()) == []


def test_evidence_on_another_candidate_registers_nothing(store: Store, tmp_path: Path) -> None:
    candidate, other = (write_candidate(tmp_path / f"candidate-{seed}", seed=seed) for seed in (1, 2))
    with pytest.raises(InputError, match="the gate judged another candidate"):
        registry.register(store, candidate, write_gate_evidence(tmp_path / "evidence", other, champion=None))
    assert list(store.list()) == []


def test_evidence_without_a_gate_is_refused(store: Store, tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    with pytest.raises(InputError, match=r"no gate\.json; pass the `evidence` output"):
        registry.register(store, candidate, tmp_path)


@pytest.mark.parametrize("version", ["", "x", "../1", "1/2", "-1", "latest"])
def test_what_is_no_number_is_no_version(store: Store, version: str) -> None:
    with pytest.raises(InputError, match="not a version"):
        registry.version_info(store, version)


def test_the_files_are_those_of_the_sha256sum_command(store: Store, tmp_path: Path) -> None:
    version = _register(store, tmp_path, 1)
    registry.download(store, version, tmp_path / "copy")
    shutil.copy(tmp_path / "copy" / "SHA256SUMS", tmp_path / "sums")
    bundle.seal(tmp_path / "copy")
    assert (tmp_path / "copy" / "SHA256SUMS").read_bytes() == (tmp_path / "sums").read_bytes()
    assert json.loads((tmp_path / "copy" / "gate.json").read_text())["decision"] == "promote"


@pytest.mark.parametrize("name", ["registration.json", "gate.json", "model.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"text"'])
def test_a_damaged_object_is_one_line_that_names_it(store: Store, tmp_path: Path, name: str, damage: bytes) -> None:
    for seed in (1, 2):
        _register(store, tmp_path, seed)
    store.put(f"versions/1/{name}", damage)
    with pytest.raises(IntegrityError, match=rf"versions/1/{name}: damaged, .*; restore it from a backup"):
        registry.version_info(store, "1")
    assert registry.version_info(store, "2").version == "2"
    assert _register(store, tmp_path, 3) == "3"


def test_a_claim_that_does_not_say_when_is_one_line(store: Store) -> None:
    for damage in (b"{}", b'{"registered_at": 7}', b'{"registered_at": "yesterday"}'):
        store.put("versions/1/registration.json", damage)
        with pytest.raises(IntegrityError, match=r"versions/1/registration\.json: does not say when"):
            registered_at(store, "1")


def test_only_numbers_are_versions(store: Store, tmp_path: Path) -> None:
    for name in ("refused", "٣", "notes"):
        store.put(f"versions/{name}/SHA256SUMS", b"")
    store.put("versions/4/registration.json", b"{}")
    store.put("versions/7/SHA256SUMS", b"")
    assert complete_versions(store) == ["7"]
    assert claimed_versions(store) == ["4"]
    assert _register(store, tmp_path, 1) == "8"
    store.put("versions/12/events/left over", b"")
    assert _register(store, tmp_path, 2) == "13"


def test_a_version_is_fetched_into_any_folder(store: Store, tmp_path: Path) -> None:
    version = _register(store, tmp_path, 1)
    for folder in (tmp_path, tmp_path / "new" / "folder"):
        registry.download(store, version, folder / "copy")
        registry.download(store, version, folder / "copy")
        bundle.verify(folder / "copy")


def test_what_is_known_of_a_version_cannot_be_changed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        registry.version_info(store, _register(store, tmp_path, 1)).version = "2"  # type: ignore[misc]
