"""Work over processes: in order, like a plain loop, and clear about a process that died."""

import os

import pytest

from driftloop.errors import RunFailed
from driftloop.processes import default_workers, spread


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os._exit(number)


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(spread(square, range(25), workers=workers, chunk=3)) == [number * number for number in range(25)]


def test_nothing_to_do() -> None:
    assert list(spread(square, [], workers=2)) == []


def test_an_error_comes_through() -> None:
    with pytest.raises(ValueError, match="no 1"):
        list(spread(fail, [1, 2, 3], workers=2))


def test_a_killed_process_is_one_clear_line() -> None:
    with pytest.raises(RunFailed, match="a worker process was killed, mostly for lack of memory"):
        list(spread(die, [1, 2, 3], workers=2))


def test_as_many_as_cores_but_not_too_many() -> None:
    assert 1 <= default_workers() <= 8
