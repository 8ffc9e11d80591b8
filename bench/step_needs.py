"""What each step needs: peak memory, processor time, and what it leaves on disk; the requests of pipelines/placement.py come from here.

    python -m bench.step_needs [--out bench/results/step_needs.json] [-- --source ... --set ...]

Runs the full loop on this machine, with the arguments after `--`, and looks at the processes of its steps five times a second, on Linux.
Memory is what a step and its children hold together; pages that they share count more than once. Processor time is the step's own, with
children that have ended.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.gate_error_rates import environment

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
TICKS = os.sysconf("SC_CLK_TCK")
INTERVAL_S = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "step_needs.json")
    parser.add_argument("arguments", nargs="*", help="of `driftloop run full-loop`")
    chosen = parser.parse_args()
    command = [sys.executable, "-c", "from driftloop.cli.main import main; main()", "run", "full-loop", *chosen.arguments]
    steps: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(command) as run:
        while run.poll() is None:
            look(run.pid, steps)
            time.sleep(INTERVAL_S)
    artifacts = Path("runs/latest/artifacts")
    for name, needs in steps.items():
        needs["disk_mb"] = round(sum(file.stat().st_size for file in artifacts.glob(f"*/{name}*/**/*") if file.is_file()) / 1e6, 1)
        print(f"{name}: {needs['peak_mb']:,.0f} MB, {needs['cpu_s']:.1f} s of processor time, {needs['disk_mb']:,.1f} MB on disk")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    report = environment() | {"arguments": chosen.arguments, "rows": [{"step": name} | needs for name, needs in steps.items()]}
    chosen.out.write_text(json.dumps(report, indent=1) + "\n")
    return run.returncode


def look(root: int, steps: dict[str, dict[str, Any]]) -> None:
    """Bring the peaks of the steps up to date with what runs below process `root` now."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat(int(entry))):
            parents[int(entry)] = int(fields[1])
    for process in descendants(root, parents):
        name = step_of(process)
        if name:
            below = [process, *descendants(process, parents)]
            counts = [counters for process in below if (counters := stat(process))]
            needs = steps.setdefault(name, {"peak_mb": 0.0, "cpu_s": 0.0})
            needs["peak_mb"] = round(max(needs["peak_mb"], sum(int(counters[21]) for counters in counts) * PAGE_MB), 1)
            # Own and ended children's time of the step; running children's own.
            spent = sum(int(counters[11]) + int(counters[12]) for counters in counts) + sum(
                int(counts[0][index]) for index in (13, 14) if counts
            )
            needs["cpu_s"] = round(max(needs["cpu_s"], spent / TICKS), 1)


def stat(process: int) -> list[str]:
    """The fields of /proc/<process>/stat after the name, from the state on; none where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    family = [root]
    for process in family:
        family += [child for child, parent in parents.items() if parent == process]
    return family[1:]


def step_of(process: int) -> str:
    """The step that this process runs, as KFP names it on the command line of its executor."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    flag = "--function_to_execute"
    return words[words.index(flag) + 1].replace("_", "-") if flag in words and "python" in Path(words[0]).name else ""


if __name__ == "__main__":
    sys.exit(main())
