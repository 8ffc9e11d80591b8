"""A champion in a folder, and a command that exports it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftloop.cli.main import app
from driftloop.store import Store
from tests.factories.serving_store import build_serving_store, register_and_promote

Export = Callable[..., Path]


@pytest.fixture
def champions(tmp_path: Path) -> Store:
    """Two versions, the second of which serves."""
    store, dataset = build_serving_store(tmp_path, stream=10)
    register_and_promote(store, tmp_path, dataset, expected="1", seed=1)
    return store


@pytest.fixture
def export(champions: Store, tmp_path: Path) -> Export:
    """Runs `driftloop export`; the folder that it wrote."""

    def run(to: str, *arguments: str, output: Path | None = None, store: str = "") -> Path:
        output = output or tmp_path / f"{to}-{len(arguments)}"
        command = ["export", "--to", to, "--output", str(output), "--store", store or champions.uri, *arguments]
        result = CliRunner().invoke(app, command)
        if result.exception:
            raise result.exception
        return output

    return run
