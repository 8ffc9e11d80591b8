"""Facts travel in files: each output directory carries the facts of every step before it, by step name, as `facts.json`.

Artifact metadata is not used for this: KFP turns its integers into floats and local runs lose it.
"""

import json
import os
from pathlib import Path
from typing import Any

from driftloop.contracts import FACTS


def read_facts(directory: str | Path) -> dict[str, Any]:
    """The facts in `directory` by step name; empty where it has none."""
    path = Path(directory, FACTS)
    return json.loads(path.read_text()) if path.exists() else {}


def write_facts(directory: str | Path, step: str, facts: dict[str, Any], *inherited: str | Path) -> None:
    """Write the facts of `step` into `directory`, together with those that the `inherited` directories carry."""
    facts_by_step: dict[str, Any] = {}
    for source in inherited:
        facts_by_step |= read_facts(source)
    facts_by_step[step] = facts
    write_json(Path(directory, FACTS), facts_by_step)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON in one step: readers see the old file or the new one, never half of it. NaN is refused."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    partial.replace(path)
