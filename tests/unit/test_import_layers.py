"""The contracts of import-linter in pyproject.toml name every module of the library: one that is left out could import anything."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIBRARY = {f"driftloop.{path.stem}" for path in (ROOT / "driftloop").iterdir() if path.name not in ("__init__.py", "__pycache__")} - {
    "driftloop.cli",
    "driftloop.course",
    "driftloop.coursework",
    "driftloop.backends",
    "driftloop.demo",
    "driftloop.rehearsal",
}


def contracts() -> list[dict[str, Any]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_lowest_layer_is_the_whole_library() -> None:
    (layers,) = [contract["layers"] for contract in contracts() if contract["type"] == "layers"]
    above = [
        "driftloop.cli",
        "driftloop.course",
        "driftloop.coursework",
        "driftloop.backends",
        "driftloop.demo",
        "pipelines | driftloop.rehearsal",
        "components",
    ]
    assert layers[:-1] == above
    assert {name.strip() for name in layers[-1].split(":")} == LIBRARY


def test_nothing_in_the_library_nor_a_step_knows_kfp() -> None:
    (contract,) = [contract for contract in contracts() if contract.get("forbidden_modules") == ["kfp"]]
    above = {"driftloop.course", "driftloop.coursework", "driftloop.demo", "driftloop.rehearsal", "components"}
    assert set(contract["source_modules"]) == LIBRARY | above
    assert contract["ignore_imports"] == ["components.*.component -> kfp"]
