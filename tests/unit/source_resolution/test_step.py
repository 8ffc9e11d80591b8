"""The step returns the hash and says what it found; the rest is tested with driftloop.sources."""

from pathlib import Path

import pytest

from components.source_resolution.step import run
from driftloop.errors import InputError
from driftloop.sources import resolve
from tests.factories.image_folders import write_classes


def test_it_returns_the_content_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_classes(tmp_path / "pets"))
    assert run(source) == resolve(source)
    assert "[driftloop figures]" in capsys.readouterr().out


def test_it_refuses_what_data_analysis_could_not_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no class folders found"):
        run(str(tmp_path))
