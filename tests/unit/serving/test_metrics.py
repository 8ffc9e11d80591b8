"""What processes of one service count together."""

import os
import subprocess
import sys
from pathlib import Path

LOSES = """
import os, sys
from pathlib import Path
from prometheus_client.multiprocess import mark_process_dead
from driftloop.inference.log_writer import LogCounts
from driftloop.serving.metrics import Metrics

folder, rows, *gone = sys.argv[1:]
for process in gone:
    mark_process_dead(int(process))
metrics = Metrics(siblings=Path(folder))
metrics.observe_log(LogCounts(dropped_rows=int(rows) - 1), 0)
metrics.observe_log(LogCounts(dropped_rows=int(rows)), 0)
print(os.getpid())
print(metrics.text().decode())
"""


def losing(folder: Path, rows: int, *gone: str) -> tuple[str, dict[str, float]]:
    """A process that has lost so many rows, after others: its id, and what it would tell Prometheus."""
    command = [sys.executable, "-c", LOSES, str(folder), str(rows), *gone]
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    process, *lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    return process, {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}


def test_what_processes_lost_stays_counted_when_they_are_replaced(tmp_path: Path) -> None:
    first, told = losing(tmp_path, 60)
    assert told["driftloop_log_lost_rows_total"] == 60
    _, told = losing(tmp_path, 40, first)
    assert told['driftloop_log_rows{state="dropped_rows"}'] == 40, "the gauge is of those that live"
    assert told["driftloop_log_lost_rows_total"] == 100
