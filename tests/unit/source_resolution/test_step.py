"""The step returns the hash and says what it found; the rest is tested with driftloop.sources."""

from pathlib import Path

import pytest

from components.source_resolution.step import run
from driftloop.errors import InputError
from driftloop.sources import resolve
from tests.factories.image_folders import write_classes, write_images


def test_it_returns_the_content_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_classes(tmp_path / "pets"))
    assert run(source) == resolve(source)
    assert "[driftloop figures]" in capsys.readouterr().out


def test_it_checks_the_classes_that_file_names_tell(tmp_path: Path) -> None:
    for seed, name in enumerate(("cat", "dog")):
        write_images(tmp_path, 12, seed=seed, name=name)
    assert len(run(str(tmp_path), {"classes": "cat,dog"})) == 64
    with pytest.raises(InputError, match=r"cat000\.png names none of them"):
        run(str(tmp_path), {"classes": "dog,eel"})


def test_it_refuses_what_data_analysis_could_not_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no class folders found"):
        run(str(tmp_path))
