"""Writes docs/troubleshooting.md from the messages in the code: `python -m tests.documentation.troubleshooting`.

A message is one that ends a command or that `driftloop doctor` and the checks before a run on a cluster report. It is in the page when it
stands in one of the files below and names its cure, which every such message puts behind its last semicolon.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from driftloop.backends.cluster.pod_troubles import CURES
from tests.documentation.documented_commands import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
ERRORS = ("InputError", "SettingError", "StoreError", "NoChampion", "Conflict", "NotFound", "IntegrityError", "GateRefused", "RunFailed")
#: What differs from case to case.
ITALICS = re.compile(r"\*[^*]*\*")
#: What people meet first, in the order in which they meet it: title -> files and folders.
PLACES = {
    "This machine, as `driftloop doctor` sees it": ["driftloop/cli/doctor/machine.py"],
    "Images": [
        "driftloop/sources",
        "components/data_analysis/ingest.py",
        "components/data_analysis/parallel.py",
        "components/data_analysis/splits.py",
        "components/data_analysis/step.py",
    ],
    "Settings, drifts, configuration files": ["driftloop/settings.py", "driftloop/cli/arguments.py", "driftloop/scenarios/parsing.py"],
    "No champion yet, or none to go on from": [
        "driftloop/cli/replay.py",
        "driftloop/backends/local.py",
        "components/production_monitoring/step.py",
    ],
    "Labels": ["driftloop/cli/labels.py", "driftloop/inference/labels.py", "components/automated_retraining/drifted_images.py"],
    "Promotion and rollback": ["driftloop/registry/champion.py"],
    "The store": ["driftloop/store", "driftloop/cli/doctor/store.py"],
    "Docker": ["driftloop/backends/docker.py", "driftloop/cli/doctor/docker.py"],
    "Training on several machines": ["components/model_optimization/nodes.py", "driftloop/training/train_job.py"],
    "A cluster: what is asked before a run": ["driftloop/backends/cluster/connection.py", "driftloop/backends/cluster/preflight.py"],
}
HEAD = """# Troubleshooting

A command that cannot go on ends with one line on standard error: what is wrong, where, and behind the last semicolon how to mend it.
Exit status 2 says that something in what was given has to be mended, 1 that a step failed; the step's own words are in
`runs/latest/run.log`. `driftloop doctor` finds most of these before a run does, with `--on docker` or `--on cluster` for there.

This page is written from the messages in the code (`python -m tests.documentation.troubleshooting`); words in *italics* differ from
case to case. What a late watch, a lost pointer or a full disk asks for is in [operations](operations.md).
"""


def page() -> str:
    """The page as the code has it now."""
    parts = [HEAD]
    for title, places in PLACES.items():
        rows = dict.fromkeys(row for place in places for file in files(ROOT / place) for row in messages(file))
        parts.append(f"## {title}\n\n| it says | what to do |\n|---|---|\n" + "".join(f"| {said} | {cure} |\n" for said, cure in rows))
    waits = "".join(f"| {reason} | {cure} |\n" for reason, cure in CURES.items())
    parts.append(f"## A cluster: a pod that waits for good\n\n| Kubernetes says | what to do |\n|---|---|\n{waits}")
    return "\n".join(parts)


def files(place: Path) -> list[Path]:
    """The modules there."""
    return [place] if place.suffix == ".py" else sorted(place.glob("*.py"))


def messages(file: Path) -> Iterator[tuple[str, str]]:
    """What a module says where it refuses, and the cure."""
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [text(argument, module) for argument in node.args]
        if called in ERRORS or (called == "append" and ast.unparse(node.func).endswith((".failures.append", ".doubts.append"))):
            said, _, cure = texts[0].rpartition("; ")
        elif called == "failed" and len(texts) == 3:
            said, cure = f"{texts[0]}: {texts[1]}", texts[2]
        else:
            continue
        if ITALICS.sub("", said).strip(":(), ") and ITALICS.sub("", cure).strip():
            yield cell(said), cell(cure)


def text(node: ast.expr, module: ModuleType) -> str:
    """The text of an expression: constants as they are, what differs from case to case in italics."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(text(value, module) for value in values)
        case ast.FormattedValue(value=value):
            return text(value, module)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text(left, module) + text(right, module)
        case ast.Name(id=name) if name.isupper() and isinstance(getattr(module, name, None), str | int | float):
            return str(getattr(module, name))
        case ast.Call(func=ast.Attribute(value=ast.Name() as constant, attr="format")):
            return text(constant, module).replace("{}", "…")
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return f"*{name.strip('_').replace('_', ' ')}*"
        case _:
            return "*…*"


def cell(said: str) -> str:
    """As a cell of a table: inside code, what differs needs no italics."""
    parts = said.replace("|", "\\|").replace("<", "&lt;").replace("**", "* *").split("`")
    return "`".join(part.replace("*", "").replace("&lt;", "<") if number % 2 else part for number, part in enumerate(parts)).strip()


if __name__ == "__main__":
    PAGE.write_text(page())
