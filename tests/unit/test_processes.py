"""Work over processes: in order, like a plain loop, and clear about a process that died."""

import multiprocessing
import os
import signal
import sys
import types

import pytest

from driftloop import processes
from driftloop.errors import InputError, RunFailed
from driftloop.processes import default_workers, spread
from driftloop.tracking.trackers import TrackerUnavailable


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os._exit(number)


def kill(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def crash(number: int) -> int:
    os.kill(os.getpid(), signal.SIGUSR1)
    return number


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


def refuse(number: int) -> int:
    raise TrackerUnavailable(f"{number}: not there") if number == 2 else InputError(f"{number}: not an image")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(spread(square, range(25), workers=workers, chunk=3)) == [number * number for number in range(25)]


def test_nothing_to_do() -> None:
    assert list(spread(square, [], workers=2)) == []


def test_an_error_comes_through() -> None:
    with pytest.raises(ValueError, match="no 1"):
        list(spread(fail, [1, 2, 3], workers=2))


@pytest.mark.parametrize(("number", "kind", "line"), [(1, InputError, "1: not an image"), (2, TrackerUnavailable, "2: not there")])
def test_an_error_with_a_cure_comes_through_as_what_it_is(number: int, kind: type[Exception], line: str) -> None:
    with pytest.raises(kind, match=line):
        list(spread(refuse, [number, number], workers=2))


def test_a_killed_process_is_one_clear_line() -> None:
    with pytest.raises(RunFailed, match="a worker process was killed, mostly for lack of memory"):
        list(spread(kill, [1, 2, 3], workers=2))


def test_a_process_that_ends_by_itself_is_not_taken_for_one_that_lacked_memory() -> None:
    with pytest.raises(RunFailed, match="a worker process ended with status 7; what it printed before says why"):
        list(spread(die, [7, 7, 7], workers=2))
    with pytest.raises(RunFailed, match="a worker process was ended by SIGUSR1; what it printed before says why"):
        list(spread(crash, [1, 2, 3], workers=2))


def test_a_process_that_cannot_import_the_work_is_not_either(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("only_here")
    exec("def work(number):\n    return number\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    monkeypatch.setattr(processes, "_context", lambda: multiprocessing.get_context("spawn"))
    with pytest.raises(RunFailed, match="a worker process ended with status 1; what it printed before says why"):
        list(spread(module.work, [1, 2, 3], workers=2))
    assert "No module named 'only_here'" in capfd.readouterr().err


def test_as_many_as_cores_but_not_too_many() -> None:
    assert 1 <= default_workers() <= 8
