"""`driftloop models`: what an operator sees and does."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftloop import registry
from driftloop.cli.models import models
from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.store import Store
from tests.factories.candidates import write_candidate, write_gate_evidence


@pytest.fixture
def two(store: Store, tmp_path: Path) -> Store:
    """Two versions, the second of which serves."""
    for seed, before in ((1, None), (2, "1")):
        candidate = write_candidate(tmp_path / f"candidate-{seed}", seed=seed, parent=before)
        version = registry.register(
            store, candidate, write_gate_evidence(tmp_path / f"evidence-{seed}", candidate, champion=before), run="nightly"
        )
        registry.promote(store, version, expected=before, reason=f"[better] than {before}")
    return store


def _say(*arguments: str) -> str:
    result = CliRunner().invoke(models, arguments, env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def _json(*arguments: str) -> Any:
    return json.loads(_say(*arguments, "--json"))


def test_list_shows_every_version_and_which_one_serves(two: Store) -> None:
    text = _say("list", "--store", two.uri)
    assert "serves" in next(line for line in text.splitlines() if line.startswith("2 "))
    assert "serves" not in next(line for line in text.splitlines() if line.startswith("1 "))
    listing = _json("list", "--store", two.uri)
    assert listing["champion"]["version"] == "2"
    assert [version["version"] for version in listing["versions"]] == ["1", "2"]
    narrow = CliRunner().invoke(models, ["list", "--store", two.uri], env={"COLUMNS": "80"}).output
    assert (max(map(len, narrow.splitlines())) <= 80, len(narrow.splitlines())) == (True, 3), "a version is one line of a plain terminal"


def test_list_of_an_empty_store_is_empty(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert _json("list", "--store", store.uri) == {"store": store.uri, "champion": None, "versions": []}


def test_show_tells_the_champion_by_default_with_its_history(two: Store) -> None:
    text = _say("show", "--store", two.uri)
    assert "version 2" in text
    assert "promotion 1 -> 2 by a run: [better] than 1" in text
    shown = _json("show", "1", "--store", two.uri)
    assert (shown["version"], shown["serves"], shown["run"]) == ("1", False, "nightly")
    assert "model.onnx" in shown["files"]


def test_diff_names_what_differs_and_nothing_else(two: Store) -> None:
    changed = _json("diff", "1", "2", "--store", two.uri)["differences"]
    assert changed["seed"] == [1, 2]
    assert changed["parent"] == [None, "1"]
    assert "files.model.pth" in changed
    assert "architecture" not in changed
    assert "training.epochs" not in changed
    assert "seed" in _say("diff", "1", "2", "--store", two.uri)


def test_verify_reads_every_file(two: Store) -> None:
    assert "all as in SHA256SUMS" in _say("verify", "--store", two.uri)
    assert _json("verify", "1", "--store", two.uri)["intact"] is True


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_verify_names_the_damaged_file(two: Store, damage: str) -> None:
    if damage == "changed":
        two.put("versions/1/model.onnx", b"changed")
    else:
        two.delete("versions/1/model.onnx")
    with pytest.raises(IntegrityError, match=r"version 1 is damaged: .*model\.onnx"):
        _say("verify", "1", "--store", two.uri)


def test_rollback_needs_a_reason_and_puts_the_previous_version_back(two: Store) -> None:
    result = CliRunner().invoke(models, ["rollback", "--store", two.uri])
    assert result.exit_code == 2
    assert "version 1 serves" in _say("rollback", "--reason", "misses fractures", "--store", two.uri)
    champion = registry.current(two)
    assert champion is not None
    assert (champion.version, champion.reason) == ("1", "misses fractures")


def test_rollback_of_a_named_version_is_done_once(two: Store) -> None:
    for _ in range(2):
        assert "version 1 serves" in _say("rollback", "2", "--reason", "misses fractures", "--store", two.uri)
    with pytest.raises(Conflict, match="version 9 does not serve"):
        _say("rollback", "9", "--reason", "misses fractures", "--store", two.uri)


def test_promote_is_a_persons_decision_also_after_a_rollback(two: Store) -> None:
    _say("rollback", "--reason", "by mistake", "--store", two.uri)
    pointer = _json("promote", "2", "--reason", "it was the scanner", "--store", two.uri)
    assert (pointer["version"], pointer["previous"], pointer["history"][-1]["by_person"]) == ("2", "1", True)
    assert "nonce" not in pointer


def test_what_does_not_exist_is_one_clear_line(two: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no complete version 9; see `driftloop models list"):
        _say("show", "9", "--store", two.uri)
    with pytest.raises(InputError, match="no store there; name one with --store"):
        _say("list", "--store", str(tmp_path / "nowhere"))


def test_without_a_champion_a_version_must_be_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(NoChampion, match="no champion; name a version"):
        _say("show", "--store", store.uri)


def test_a_hold_is_shown_until_it_is_released(two: Store) -> None:
    assert "on hold since" in _say("rollback", "--reason", "[site] B", "--hold", "--store", two.uri)
    assert "promotions are on hold since" in (listing := _say("list", "--store", two.uri))
    assert f"[site] B; driftloop models release --store {two.uri} ends it" in listing
    assert _json("list", "--store", two.uri)["champion"]["hold"]["reason"] == "[site] B"
    with pytest.raises(Conflict, match="on hold since"):
        _say("promote", "2", "--store", two.uri)
    assert _say("release", "--reason", "repaired", "--store", two.uri) == "version 1 serves\n"
    assert "on hold" not in _say("list", "--store", two.uri)
    moves = _say("show", "1", "--store", two.uri)
    assert "rollback 2 -> 1, promotions on hold by a person: [site] B" in moves
    assert "hold released by a person: repaired" in moves
    assert "version 2 serves; a rollback returns to version 1" in _say("promote", "2", "--store", two.uri)


def test_a_lost_pointer_is_shown_rebuilt_and_written_only_when_asked(two: Store) -> None:
    two.delete("champion.json")
    result = CliRunner().invoke(models, ["list", "--store", two.uri], env={"COLUMNS": "200"})
    assert [line.split()[0] for line in result.output.splitlines()][-2:] == ["1", "2"]
    assert isinstance(result.exception, IntegrityError)
    result = CliRunner().invoke(models, ["list", "--json", "--store", two.uri])
    assert json.loads(result.output)["champion"] is None
    assert isinstance(result.exception, IntegrityError)
    assert "version 2" in _say("show", "2", "--store", two.uri)
    with pytest.raises(IntegrityError, match="restore-pointer"):
        _say("show", "--store", two.uri)
    shown = _say("restore-pointer", "--store", two.uri)
    assert "promotion 1 -> 2" in shown
    assert "the gate accepted version 2" in shown
    assert "version 2 is to serve" in shown
    assert "nothing was written; --yes does" in shown
    assert _json("restore-pointer", "--store", two.uri)["written"] is False
    assert not two.exists("champion.json")
    assert "version 2 serves; a rollback returns to version 1" in _say("restore-pointer", "--yes", "--store", two.uri)
    with pytest.raises(Conflict, match="only a lost or damaged pointer"):
        _say("restore-pointer", "--yes", "--store", two.uri)


def test_a_person_names_who_is_to_serve(two: Store) -> None:
    two.put("champion.json", b"")
    written = _json("restore-pointer", "--yes", "--version", "1", "--store", two.uri)
    assert (written["written"], written["champion"]["version"]) == (True, "1")
    assert registry.current(two) is not None


def test_a_damaged_version_is_named_after_the_others_were_listed(two: Store) -> None:
    two.put("versions/1/model.json", b"{")
    result = CliRunner().invoke(models, ["list", "--json", "--store", two.uri])
    assert [version["version"] for version in json.loads(result.output)["versions"]] == ["2"]
    assert json.loads(result.output)["champion"]["version"] == "2"
    assert "versions/1/model.json: damaged" in str(result.exception)
