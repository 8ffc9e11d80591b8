"""Facts travel in files: each output directory carries the facts of every step before it, by step name, as `facts.json`.

Artifact metadata is not used for this: KFP turns its integers into floats and local runs lose it.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from driftloop.contracts import FACTS, USED


def _spent() -> tuple[float, float]:
    """Seconds by the clock, and of processor time of this process and its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(part.ru_utime + part.ru_stime for part in parts)


_LOADED = _spent()


def read_facts(directory: str | Path) -> dict[str, Any]:
    """The facts in `directory` by step name; empty where it has none."""
    return _read(directory, FACTS)


def read_used(directory: str | Path) -> dict[str, dict[str, float | None]]:
    """What the steps used, by step name, as `resources_used` says it; those of an older release said nothing."""
    return _read(directory, USED)


def write_facts(directory: str | Path, step: str, facts: dict[str, Any], *inherited: str | Path) -> None:
    """Write the facts of `step` into `directory`, with what its process has used, and those that the `inherited` directories carry."""
    # Apart: a step that is tried again finds the same facts, but never uses the same.
    for name, own in ((FACTS, facts), (USED, resources_used())):
        by_step: dict[str, Any] = {}
        for source in inherited:
            by_step |= _read(source, name)
        write_json(Path(directory, name), by_step | {step: own})


def _read(directory: str | Path, name: str) -> dict[str, Any]:
    path = Path(directory, name)
    return json.loads(path.read_text()) if path.exists() else {}


def resources_used() -> dict[str, float | None]:
    """What this process and its children have used until now: a step is a process of its own.

    Returns:
        `seconds` by the clock and `cpu_seconds` of processor time, both since this module was loaded; `peak_mb` of memory of the largest
        process; `gpu_peak_mb` that torch has taken of a GPU's memory, None without one.
    """
    clock, processor = (now - then for now, then in zip(_spent(), _LOADED, strict=True))
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    torch = sys.modules.get("torch")  # steps without it do not load it for this
    gpu = torch.cuda if torch is not None and torch.cuda.is_initialized() else None
    return {
        "seconds": round(clock, 1),
        "cpu_seconds": round(processor, 1),
        "peak_mb": round(max(_own_peak() or own.ru_maxrss * unit, children.ru_maxrss * unit) / 1e6, 1),
        "gpu_peak_mb": round(gpu.max_memory_reserved() / 1e6, 1) if gpu else None,
    }


def _own_peak() -> int:
    """In bytes, as Linux counts it since the program began: `ru_maxrss` would start with what the process had that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON in one step: readers see the old file or the new one, never half of it. NaN is refused."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    partial.replace(path)
