"""Repeats a promotion in forked processes, each of which kills itself at the next point where it touches the store's files.

Run by `test_killed.py` in a process of its own: forking needs one without threads. Prints what it found as JSON, one line a kill.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from components.model_promotion.step import run
from driftloop import registry
from driftloop.store import open_store
from tests.unit.registry.bundles import write_candidate, write_dataset_artifact, write_gate_evidence

#: Each comes just before the system call of that name, as Python's own auditing announces it.
EVENTS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir", "fcntl.flock"})


def main(folder: Path) -> None:
    """Prepare a store with a champion; then kill at the first point, the second, and so on, until one promotion gets through."""
    base = folder / "base"
    dataset = write_dataset_artifact(folder / "dataset", str(base))
    first = write_candidate(folder / "candidate-1", seed=1)
    run(first, dataset, write_gate_evidence(folder / "evidence-1", first, champion=None), store=str(base))
    second = write_candidate(folder / "candidate-2", seed=2)
    arguments = second, dataset, write_gate_evidence(folder / "evidence-2", second, champion="1")
    point = 0
    while True:
        home = folder / f"store-{point}"
        shutil.copytree(base, home)
        killed = _run_and_kill(arguments, home, point)
        print(json.dumps({"point": point, "killed": killed, **_found(arguments, home, folder / f"copy-{point}")}), flush=True)
        if not killed:
            return
        point += 1


def _run_and_kill(arguments: tuple[Path, Path, Path], home: Path, point: int) -> bool:
    child = os.fork()
    if child == 0:
        _arm(home, point)
        run(*arguments, store=str(home))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _arm(home: Path, point: int) -> None:
    """Let this process die by SIGKILL just before it touches a file of the store for the `point`-th time."""
    left = point

    def watch(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        if event in EVENTS and (event == "fcntl.flock" or str(details[0]).startswith(str(home))):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def _found(arguments: tuple[Path, Path, Path], home: Path, copy: Path) -> dict[str, object]:
    """Who served after the kill (its files fetched and verified), and what repeating the promotion came to."""
    store = open_store(str(home))
    champion = registry.current(store)
    assert champion is not None
    registry.download(store, champion.version, copy)
    again = run(*arguments, store=str(home))
    now = registry.current(store)
    assert now is not None
    for info in registry.versions(store):
        registry.download(store, info.version, copy.with_name(f"{copy.name}-{info.version}"))
    return {
        "served": champion.version,
        "again": again,
        "now": now.version,
        "moves": len(now.history),
        "complete": len(registry.versions(store)),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
