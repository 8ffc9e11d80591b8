"""What the service tells Prometheus of its processes, under the names that clients have for one; nothing where there is no /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from driftloop.serving.siblings import PREFIX

PROC = Path("/proc")


@dataclass(frozen=True)
class _Used:
    parent: int
    cpu_seconds: float
    """with that of its children that have ended, so that one that dies is not taken out of the sum"""
    started: float
    """seconds after the machine"""
    virtual_bytes: int
    resident_bytes: int
    open_files: int
    most_files: float


class ProcessMetrics(Collector):
    """Sums over the processes that answer and the one that watches over them; their start is that of the oldest.

    Every process behind the port tells the whole of it. Memory that they share counts once for each.
    """

    def __init__(self, siblings: Path | None) -> None:
        """Args:
        siblings: as `Metrics` has it.
        """
        self._siblings = siblings
        self._first = os.getpid() if siblings is None else os.getppid()
        self._booted = 0
        with suppress(OSError):
            self._booted = next(int(line.split()[1]) for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))

    def collect(self) -> Iterator[Metric]:
        """As the kernel counts it now."""
        used = self._used()
        if not used:
            return
        yield CounterMetricFamily(
            "process_cpu_seconds", "Processor time of all processes of the service.", sum(p.cpu_seconds for p in used)
        )
        for name, text, value in (
            ("start_time_seconds", "Start of the oldest of them, in seconds since 1970.", self._booted + min(p.started for p in used)),
            ("virtual_memory_bytes", "Their virtual memory.", sum(p.virtual_bytes for p in used)),
            ("resident_memory_bytes", "Their resident memory.", sum(p.resident_bytes for p in used)),
            ("open_fds", "Files that they have open.", sum(p.open_files for p in used)),
            ("max_fds", "Files that they may have open.", sum(p.most_files for p in used)),
        ):
            yield GaugeMetricFamily(f"process_{name}", text, value)

    def _used(self) -> list[_Used]:
        """Of the first and its children that still run: what one told lies there after its end, and its number may be another's by then."""
        told = self._siblings.glob(f"{PREFIX}*.json") if self._siblings else []
        used = []
        for process in {self._first, os.getpid(), *(int(path.stem.removeprefix(PREFIX)) for path in told)}:
            with suppress(OSError):
                one = _used_by(process)
                if process == self._first or one.parent == self._first:
                    used.append(one)
        return used


def _used_by(process: int) -> _Used:
    """Raises OSError where there is no such process, or it is another user's."""
    folder = PROC / str(process)
    # See proc(5); the name before may hold blanks and brackets.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    (limit,) = (line.split()[3] for line in (folder / "limits").read_text().splitlines() if line.startswith("Max open files"))
    return _Used(
        parent=int(fields[1]),
        cpu_seconds=sum(map(int, fields[11:15])) / ticks,
        started=int(fields[19]) / ticks,
        virtual_bytes=int(fields[20]),
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        open_files=len(os.listdir(folder / "fd")),
        most_files=float(limit.replace("unlimited", "inf")),
    )
