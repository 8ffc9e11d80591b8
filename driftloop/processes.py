"""Work spread over processes, in order and without holding more than a few results at a time; and processes that outlive nobody."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from driftloop.errors import RunFailed

Item = TypeVar("Item")
Result = TypeVar("Result")
#: More processes than this gain little, and each takes memory.
MOST_WORKERS = 8


def end_with_parent() -> None:
    """From now on end this process with its parent, killed perhaps: it would go on holding what nobody else knows of."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="driftloop-parent", daemon=True).start()


def default_workers() -> int:
    """One per core that this process may use, at most `MOST_WORKERS`."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def spread(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, chunk: int = 1, setting: str = "data_config.workers"
) -> Iterator[Result]:
    """`map(work, items)` over processes: results in order, memory bounded by the chunks under way.

    Args:
        work: a function that can be pickled.
        items: its arguments.
        workers: processes; 0 takes `default_workers()`, 1 works in this process.
        chunk: items handed over at a time.
        setting: which sets the number of processes, for the message.

    Raises:
        RunFailed: a process died; for lack of memory, or for what it printed.
    """
    workers = min(workers or default_workers(), -(-len(items) // chunk))
    if workers <= 1:
        yield from map(work, items)
        return
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    with ProcessPoolExecutor(workers, mp_context=_context()) as pool:
        try:
            yield from _in_order(pool, work, chunks, ahead=3 * workers)
        except BrokenProcessPool:
            raise RunFailed(_why_broken(pool, setting)) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, work: Callable[[Item], Result], chunks: Sequence[Sequence[Item]], ahead: int) -> Iterator[Result]:
    waiting = iter(chunks)
    under_way: deque[Future[list[Result]]] = deque(pool.submit(_work_through, work, chunk) for chunk in islice(waiting, ahead))
    while under_way:
        yield from under_way.popleft().result()
        under_way.extend(pool.submit(_work_through, work, chunk) for chunk in islice(waiting, 1))


def _work_through(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _why_broken(pool: ProcessPoolExecutor, setting: str) -> str:
    """By how the process that died has ended; those that the pool then ended itself do not count."""
    processes = list((pool._processes or {}).values())
    # Until then another thread may be about to read how they ended.
    pool.shutdown()
    statuses = [process.exitcode for process in processes]
    if -signal.SIGKILL in statuses:
        return f"a worker process was killed, mostly for lack of memory; give the step more memory or set {setting}=1"
    status = next((status for status in statuses if status not in (None, 0, -signal.SIGTERM)), None)
    how = "died" if status is None else f"ended with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
    return f"a worker process {how}; what it printed before says why, and {setting}=1 does without such processes"


def _context() -> multiprocessing.context.BaseContext:
    """Fork where it is safe and quick; a process that has loaded torch holds threads and locks that must not be copied."""
    safe = sys.platform == "linux" and "torch" not in sys.modules
    return multiprocessing.get_context("fork" if safe else "forkserver" if sys.platform == "linux" else "spawn")
