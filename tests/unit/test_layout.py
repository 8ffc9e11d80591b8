"""The layout: no module imports itself by way of others."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("driftloop", "components", "pipelines")


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name; a package by the name of its folder."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(source: str, known: set[str]) -> set[str]:
    """The modules in `known` that a source names in an import anywhere: at the top, in a function, or for type checking only.

    A module that is named is not taken for its package, although Python runs the package's `__init__` first.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute here"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                names.add(submodule if submodule in known else node.module)
    return names & known


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of an import circle, or none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others_not_even_in_functions() -> None:
    paths = modules()
    assert len(paths) > 200
    graph = {name: imports(path.read_text(), set(paths)) - {name} for name, path in paths.items()}
    assert cycle(graph) == []


def test_a_circle_is_recognised_through_an_import_in_a_function() -> None:
    known = {"a", "b", "b.c"}
    graph = {"a": imports("def f():\n    from b import c\n", known), "b.c": imports("import a\n", known)}
    assert graph["a"] == {"b.c"}
    assert set(cycle(graph)) == {"a", "b.c"}
