"""SIGKILL between every two writes of every command that changes versions, pointer, datasets or marks; then the command again."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from driftloop import registry
from driftloop.errors import IntegrityError
from driftloop.prune_marks import read_marks
from driftloop.registry.champion import read_pointer
from driftloop.store import Store, open_store
from tests.factories.candidates import write_candidate, write_dataset_artifact, write_gate_evidence
from tests.factories.store_history import StoreHistory
from tests.unit.housekeeping.killed import COMMANDS, prune, run_and_die

#: The fewest writes of each command, so that a command that does nothing does not pass for one that survives everything.
FEWEST = {
    "promotion": 10,
    "rollback": 1,
    "release": 1,
    "restore-pointer": 1,
    "prune that marks": 1,
    "prune that deletes": 9,
    "dataset": 4,
    "grown dataset": 4,
}


class Case:
    """A store that is made anew for each kill, from the same objects."""

    def __init__(self, history: StoreHistory, folder: Path) -> None:
        self.folder = folder
        self.base = {info.key: history.store.read(info.key) for info in history.store.list()}
        candidate = write_candidate(folder / "candidate", seed=77)
        write_gate_evidence(folder / "evidence", candidate, champion="2")
        write_dataset_artifact(folder / "dataset", history.store.uri)
        self._server = multiprocessing.get_context("forkserver")

    def fill(self, uri: str, command: str) -> Store:
        """The store as it is before the command."""
        store = open_store(uri)
        for key, data in self.base.items():
            if key != "champion.json":
                store.put(key, data)
        time.sleep(0.002)  # S3 tells times to the millisecond, and what was claimed in that of the pointer may be in promotion
        if command != "restore-pointer":
            store.put("champion.json", self.base["champion.json"])
        if command == "release":
            registry.rollback(store, reason="bad", hold=True)
        if command == "prune that deletes":
            COMMANDS["prune that marks"](store, self.folder)
        return store

    def killed(self, command: str, store: Store, write: int) -> bool:
        """Run the command in a process that dies before that write; whether it came to it."""
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        process = self._server.Process(target=run_and_die, args=(command, store.uri, self.folder, write, environment))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


@pytest.fixture
def case(history: StoreHistory, tmp_path: Path) -> Case:
    return Case(history, tmp_path / "killed")


def check(store: Store, folder: Path, *, lost: bool) -> None:
    """Whatever looks whole is whole, and a champion that can be fetched serves; or the pointer that was lost is lost still."""
    if lost and read_pointer(store)[0] is None:
        with pytest.raises(IntegrityError, match="lost"):
            registry.current(store)
        return
    StoreHistory(store, folder).check()


def outcome(store: Store, command: str) -> dict[str, Any]:
    """All that a user can tell of a store, without the numbers that a killed registration has used up.

    Prunes come to an end first: the next one after a kill already marks what the killed one has made needless.
    """
    for days in (4, 6, 8) if command.startswith("prune") else ():
        prune(store, days=days)
    champion = registry.current(store)
    assert champion is not None
    return {
        "moves": [(change.action, change.candidate, change.hold) for change in champion.history],
        "hold": champion.hold is not None,
        "serves": registry.version_info(store, champion.version).serves,
        "versions": sorted(info.candidate for info in registry.versions(store)),
        "datasets": [info.key for info in store.list("datasets/")],
        "marks": sorted(read_marks(store)[0]),
        "probes": [info.key for info in store.list("doctor/")],
    }


@pytest.mark.parametrize("command", list(COMMANDS))
def test_killed_before_any_write_and_repeated_it_is_as_if_nothing_had_happened(case: Case, store_uri: str, command: str) -> None:
    lost = command == "restore-pointer"
    whole = case.fill(f"{store_uri}-whole", command)
    COMMANDS[command](whole, case.folder)
    expected = outcome(whole, command)
    write = 0
    while True:
        store = case.fill(f"{store_uri}-{write}", command)
        if not case.killed(command, store, write):
            break
        check(store, case.folder / f"{write}", lost=lost)
        COMMANDS[command](store, case.folder)
        check(store, case.folder / f"{write}-again", lost=False)
        assert outcome(store, command) == expected, write
        write += 1
    assert write >= FEWEST[command]
