"""Runs the code cells of notebooks one after the other, as their users do: `python -m tests.documentation.notebooks NOTEBOOK...`."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def code_cells(notebook: Path) -> list[str]:
    """The code of each cell, from top to bottom."""
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def execute(notebook: Path) -> dict[str, Any]:
    """The names that the notebook's cells leave, run in this process and the current folder."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, code in enumerate(code_cells(notebook), 1):
        exec(compile(code, f"{notebook.name}, code cell {number}", "exec"), names)
    return names


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        began = time.process_time()
        theme = execute(Path(argument))["theme"]
        shown = {"theme": theme.number, "page": len(theme._repr_html_()), "facts": list(theme.facts), "files": list(theme.files)}
        print("\n" + json.dumps(shown | {"seconds": round(time.process_time() - began, 1)}), flush=True)
