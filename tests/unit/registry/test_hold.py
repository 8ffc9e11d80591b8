"""After a rollback: what was rolled back stays so under any number, and a hold stops every promotion until its release."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driftloop import bundle, registry
from driftloop.errors import Conflict, InputError, NoChampion, StoreError
from driftloop.registry import Champion
from driftloop.registry.versions import digest_of_what_serves as digest
from driftloop.step_facts import write_facts
from driftloop.store import Store
from tests.factories.candidates import write_candidate, write_gate_evidence
from tests.factories.records import model_description


def register(store: Store, folder: Path, seed: int, *, champion: str | None, seconds: float = 31.2, temperature: float = 1.0) -> str:
    """A candidate whose files follow from `seed`, but for how long its training took."""
    name = f"{seed}-{seconds}-{temperature}"
    candidate = write_candidate(folder / f"candidate-{name}", seed=seed)
    bundle.write_model(candidate, bundle.read_model(candidate).model_copy(update={"temperature": temperature}))
    write_facts(candidate, "automated_retraining", {"seconds": seconds})
    bundle.seal(candidate)
    return registry.register(store, candidate, write_gate_evidence(folder / f"evidence-{name}", candidate, champion=champion))


def champion_of(store: Store) -> Champion:
    champion = registry.current(store)
    assert champion is not None
    return champion


@pytest.fixture
def two(store: Store, tmp_path: Path) -> Store:
    """Version 2 serves, before it 1 did."""
    for seed, before in ((1, None), (2, "1")):
        registry.promote(store, register(store, tmp_path, seed, champion=before), expected=before, reason="better")
    return store


def test_a_twin_that_only_took_longer_is_what_was_rolled_back(two: Store, tmp_path: Path) -> None:
    registry.rollback(two, reason="complaints from site B")
    twin = register(two, tmp_path, 2, champion="1", seconds=31.3)
    one, other = (registry.version_info(two, version) for version in ("2", twin))
    assert one.candidate != other.candidate
    assert one.serves == other.serves
    with pytest.raises(Conflict, match=f"what version {twin} serves was rolled back, and evidence cannot promote it again; a person may"):
        registry.promote(two, twin, expected="1", reason="trained again")
    assert champion_of(two).version == "1"


def test_what_was_rolled_back_stays_so_when_its_files_are_pruned(two: Store, tmp_path: Path) -> None:
    registry.rollback(two, reason="complaints from site B")
    two.delete("versions/2/SHA256SUMS")
    twin = register(two, tmp_path, 2, champion="1", seconds=31.3)
    with pytest.raises(Conflict, match="was rolled back"):
        registry.promote(two, twin, expected="1", reason="trained again")


def test_another_graph_or_another_temperature_is_not_what_was_rolled_back(two: Store, tmp_path: Path) -> None:
    registry.rollback(two, reason="complaints")
    warmer = register(two, tmp_path, 2, champion="1", temperature=1.5)
    assert registry.promote(two, warmer, expected="1", reason="calibrated").version == warmer
    registry.rollback(two, reason="complaints")
    other = register(two, tmp_path, 3, champion="1")
    assert registry.promote(two, other, expected="1", reason="another").version == other


def test_what_users_get_is_the_served_graph_and_before_export_the_weights(tmp_path: Path) -> None:
    candidate = write_candidate(tmp_path / "candidate", seed=1)
    model, files = bundle.read_model(candidate), bundle.verify(candidate).files
    served = digest(model, files)
    for irrelevant in ("model.onnx", "model.pth", "reference.npz", "facts.json"):
        assert digest(model, files | {irrelevant: "0" * 64}) == served
    assert digest(model, files | {"model.int8.onnx": "0" * 64}) != served
    unexported = model.model_copy(update={"served": ""})
    assert digest(unexported, files | {"model.int8.onnx": "0" * 64}) == digest(unexported, files)
    assert digest(unexported, files | {"model.pth": "0" * 64}) != digest(unexported, files)
    serving = {"classes": ["A", "B"], "image_size": 96, "channels": 3, "resize": "crop", "deep_range": 4095, "mean": [0.1], "std": [0.1]}
    for field, value in (serving | {"temperature": 2.0}).items():
        assert digest(model.model_copy(update={field: value}), files) != served, field
    assert digest(model.model_copy(update={"seed": 9, "training": {"epochs": 9}, "metrics": {}, "parent": "7"}), files) == served


def test_a_pointer_of_form_one_is_read_and_its_rollbacks_hold(two: Store, tmp_path: Path) -> None:
    registry.rollback(two, reason="complaints")
    pointer = json.loads(two.read("champion.json"))
    del pointer["schema_version"], pointer["hold"]
    for change in pointer["history"]:
        del change["serves"], change["hold"]
    two.put("champion.json", json.dumps(pointer).encode())
    assert champion_of(two).schema_version == 2
    with pytest.raises(Conflict, match="was rolled back"):
        registry.promote(two, register(two, tmp_path, 2, champion="1", seconds=31.3), expected="1", reason="a twin")
    two.delete("versions/2/SHA256SUMS")  # as a prune does: the candidate's own evidence is still known
    again = write_gate_evidence(tmp_path / "again", tmp_path / "candidate-2-31.2-1.0", champion="1")
    version = registry.register(two, tmp_path / "candidate-2-31.2-1.0", again)
    with pytest.raises(Conflict, match="was rolled back"):
        registry.promote(two, version, expected="1", reason="judged again")


def test_a_pointer_of_a_newer_driftloop_is_not_touched(two: Store, tmp_path: Path) -> None:
    pointer = json.loads(two.read("champion.json")) | {"schema_version": 3, "hold": "in another form"}
    two.put("champion.json", json.dumps(pointer).encode())
    third = register(two, tmp_path, 3, champion="2")
    for move in (
        lambda: registry.current(two),
        lambda: registry.promote(two, third, expected="2", reason="better"),
        lambda: registry.rollback(two, reason="bad"),
    ):
        with pytest.raises(StoreError, match=r"champion\.json: written by a newer driftloop \(form 3.*upgrade driftloop"):
            move()
    assert json.loads(two.read("champion.json")) == pointer


def test_a_hold_stops_gate_and_person_until_its_release(two: Store, tmp_path: Path) -> None:
    held = registry.rollback(two, reason="complaints\nfrom site B", hold=True)
    assert (held.version, held.hold) == ("1", champion_of(two).hold)
    assert held.hold is not None
    assert held.hold.reason == "complaints from site B"
    third = register(two, tmp_path, 3, champion="1")
    for by_person in (False, True):
        with pytest.raises(Conflict, match=rf"on hold since .* \(complaints from site B\); version {third} stays registered: .* release"):
            registry.promote(two, third, expected="1", reason="better", by_person=by_person)
    released = registry.release(two, reason="the scanner was repaired")
    assert (released.version, released.hold, released.promoted_at) == ("1", None, held.promoted_at)
    assert released.reason == held.reason, "the release is not why the version serves"
    move = released.history[-1]
    assert (move.action, move.before, move.reason, move.by_person) == ("release", "1", "the scanner was repaired", True)
    assert registry.promote(two, third, expected="1", reason="better").version == third
    assert champion_of(two).previous == "1"


@pytest.mark.parametrize("hold", [False, True])
def test_a_rollback_under_a_hold_keeps_it_and_its_reason(two: Store, tmp_path: Path, hold: bool) -> None:
    registry.promote(two, register(two, tmp_path, 3, champion="2"), expected="2", reason="better")
    first = registry.rollback(two, reason="bad", hold=True)
    second = registry.rollback(two, reason="also bad", hold=hold)
    assert (second.version, second.hold) == ("1", first.hold)


def test_the_champion_can_be_promoted_again_under_a_hold_which_changes_nothing(two: Store) -> None:
    registry.rollback(two, reason="bad", hold=True)
    before = two.read("champion.json")
    assert registry.promote(two, "1", expected=None, reason="the run was repeated").version == "1"
    assert two.read("champion.json") == before


def test_only_a_hold_can_be_released(two: Store) -> None:
    with pytest.raises(InputError, match="promotions are not on hold"):
        registry.release(two, reason="?")
    registry.rollback(two, reason="bad")
    with pytest.raises(InputError, match="promotions are not on hold"):
        registry.release(two, reason="?")


def test_without_a_champion_nothing_is_on_hold(store: Store) -> None:
    with pytest.raises(NoChampion, match="nothing is on hold"):
        registry.release(store, reason="?")


def test_a_hold_that_races_promotions_is_seen_by_all_that_come_after_it(two: Store, tmp_path: Path) -> None:
    third = register(two, tmp_path, 3, champion="2")
    together = threading.Barrier(9)

    def promote(_: int) -> str:
        together.wait()
        try:
            return registry.promote(two, third, expected="2", reason="better").version
        except Conflict:
            return "refused"

    def hold(_: int) -> str:
        together.wait()
        try:
            return registry.rollback(two, reason="bad", hold=True).version
        except Conflict as lost:
            return str(lost)

    with ThreadPoolExecutor(9) as racers:
        held = racers.submit(hold, 0)
        answers = set(racers.map(promote, range(8)))
    champion = champion_of(two)
    if held.result() == "1":
        # First: nobody promoted. After a promotion it went back to version 2.
        assert (champion.version, answers) == ("1", {"refused"})
    elif held.result() == "2":
        assert (champion.version, champion.hold is not None) == ("2", True)
    else:
        assert "somebody moved the champion just now" in held.result()
        assert (champion.version, champion.hold) == (third, None)


def test_a_rollback_that_names_its_version_can_be_repeated(two: Store, tmp_path: Path) -> None:
    registry.promote(two, register(two, tmp_path, 3, champion="2"), expected="2", reason="better")
    for wrong in ("1", "2", "9"):
        with pytest.raises(Conflict, match=f"version {wrong} does not serve, version 3 does; nothing was changed"):
            registry.rollback(two, reason="bad", version=wrong)
    first = registry.rollback(two, reason="bad", version="3")
    assert first.version == "2"
    assert registry.rollback(two, reason="bad", version="3") == first == champion_of(two)
    with pytest.raises(Conflict, match="version 3 does not serve"):
        registry.rollback(two, reason="bad", version="3", hold=True)  # promotions are not on hold: that was another command
    held = registry.rollback(two, reason="bad", version="2", hold=True)
    assert registry.rollback(two, reason="bad", version="2", hold=True) == held
    assert held.version == "1"


def test_a_release_does_not_count_as_a_rollback_of_what_serves(two: Store, tmp_path: Path) -> None:
    registry.rollback(two, reason="bad", hold=True)
    registry.release(two, reason="repaired")
    third = registry.promote(two, register(two, tmp_path, 3, champion="1"), expected="1", reason="better").version
    twin = register(two, tmp_path, 1, champion=third, seconds=31.3)
    assert registry.promote(two, twin, expected=third, reason="the first one was better after all").version == twin


def test_the_digest_of_what_serves_is_stored_and_must_not_change_from_release_to_release() -> None:
    model = model_description(served="model.int8.onnx")
    assert digest(model, {"model.int8.onnx": "a" * 64}) == "ea9d5fb44cd85437c1318616fd06d547d0d65c1ecd69324d07a730ac3d657c3e"
    assert digest(model, {}) == "eeec575f9fa450427ec7550f2094070bcaf4affd09c741255dcbb5c52a1cafc8"
