"""Solar cells from an installed package: which images, in which groups, and what is said where it is missing."""

import sys
from pathlib import Path

import pytest

from driftloop.dataset.splitting import compile_pattern, group_of
from driftloop.errors import InputError
from driftloop.sources import check_source, opened, resolve
from driftloop.sources.elpv import list_cells
from tests.factories.image_folders import write_images


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like the real one: 50 mono cells, 30 poly, 25 mono, in that order."""
    data = tmp_path / "elpv_dataset" / "data"
    kinds = ["mono"] * 50 + ["poly"] * 30 + ["mono"] * 25
    images = write_images(data / "images", len(kinds))
    lines = [f"images/{path.name}  {(number % 4) / 3}   {kinds[number]}" for number, path in enumerate(images)]
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    (data.parent / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return data


def test_cells_are_grouped_in_blocks_of_consecutive_files_of_one_kind(package: Path) -> None:
    cells = list_cells("elpv")
    assert [cell.group for cell in cells] == [0] * 20 + [1] * 20 + [2] * 10 + [3] * 20 + [4] * 10 + [5] * 20 + [6] * 5
    assert {cell.label for cell in list_cells("elpv:mono")[2:4]} == {"defective"}
    assert {cell.group for cell in list_cells("elpv:poly")} == {3, 4}


def test_the_images_are_read_in_place_with_their_groups_in_the_names_and_the_licence_shown(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened("elpv:mono", seed=1) as source:
        assert len(source.files) == 75
        assert {group_of(Path(file.path).name, "", compile_pattern("")) for file in source.files} == {
            f"site-00{n}" for n in (0, 1, 2, 5, 6)
        }
        assert all((source.root / file.path).resolve().parent == (package / "images").resolve() for file in source.files)
    assert "CC-BY-NC-SA-4.0: not for commercial use" in capsys.readouterr().out


def test_the_hash_is_of_the_content(package: Path) -> None:
    before = resolve("elpv:mono")
    assert before != resolve("elpv")
    (package / "labels.csv").write_text((package / "labels.csv").read_text().replace("1.0", "0.0"))
    assert resolve("elpv:mono") != before


def test_a_missing_package_is_one_line_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^elpv:mono: the package elpv-dataset is not installed here; pip install 'driftloop\[elpv\]'"):
        check_source("elpv:mono")
    with pytest.raises(InputError, match="known: elpv, elpv:mono, elpv:poly"):
        check_source("elpv:thin")
