"""`driftloop export` writes a folder whole or not at all, of a version that it has checked."""

from pathlib import Path

import pytest

from driftloop.errors import InputError, IntegrityError, NoChampion, NotFound
from driftloop.exporting.folder import written_whole
from driftloop.store import Store, open_store
from tests.unit.exporting.conftest import Export

SERVERS = ("triton", "bentoml")


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("to", SERVERS)
def test_the_champion_is_exported_unless_another_version_is_named(export: Export, to: str) -> None:
    assert "Version 2 of" in (export(to) / "README.md").read_text()
    assert "Version 1 of" in (export(to, "--version", "1") / "README.md").read_text()


@pytest.mark.parametrize("to", [*SERVERS, "kserve"])
def test_a_folder_that_holds_something_is_refused_and_stays(export: Export, tmp_path: Path, to: str) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("x")
    before = beside(tmp_path)
    with pytest.raises(InputError, match="taken: is there already and not empty"):
        export(to, output=taken)
    assert (beside(taken), beside(tmp_path)) == ({"mine"}, before)


def test_an_empty_folder_is_taken_and_a_file_is_not(export: Export, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (export("triton", output=tmp_path / "empty") / "champion" / "config.pbtxt").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is there already"):
        export("triton", output=tmp_path / "file")


def test_a_damaged_version_leaves_nothing_behind(export: Export, champions: Store, tmp_path: Path) -> None:
    champions.put("versions/2/model.onnx", b"damaged")
    before = beside(tmp_path)
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        export("triton", output=tmp_path / "out")
    assert beside(tmp_path) == before


def test_a_version_or_a_champion_that_is_not_there_is_told(export: Export, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no complete version 9"):
        export("bentoml", "--version", "9")
    (tmp_path / "none").mkdir()
    with pytest.raises(NoChampion):
        export("bentoml", store=open_store(str(tmp_path / "none")).uri)


def test_of_two_exports_to_one_name_one_is_left_whole(tmp_path: Path) -> None:
    def both() -> None:
        with written_whole(tmp_path / "out") as late:
            (late / "late").touch()
            with written_whole(tmp_path / "out") as early:
                (early / "early").touch()

    with pytest.raises(InputError, match="is there already"):
        both()
    assert (beside(tmp_path), beside(tmp_path / "out")) == ({"out"}, {"early"})


def test_an_export_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    def stopped() -> None:
        with written_whole(tmp_path / "out") as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert beside(tmp_path) == set()
