"""The processes that share a step's trainings: those of its further GPUs, started once, or those that torchrun starts on several machines.

Of one machine the step is rank 0: it decides, measures and writes. Each follower is a process of this module, which reads what to do from
its standard input: first a piece of work, pickled by the step itself, then the numbers of the epochs, as the step comes to them, and in the
end nothing.
Between the processes of one machine go gradients and sums alone, over the loopback interface or from GPU to GPU.
"""

import atexit
import io
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from driftloop.runtime import available_threads
from driftloop.training.distributed import Rank, taking_part

#: Seconds that a process waits for another that should be at the same point.
TIMEOUT_S = 600
#: Seconds that the step has to end by itself, once a follower was lost.
GRACE_S = 30
#: Seconds in which the end of a process is seen.
SEEN_S = 20
#: By kind of device. Plain values and sums of a CPU go by gloo in any case.
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
#: Bytes before each message that say how long it is. An empty message ends a piece of work, and after that the process.
HEADER = 8
END_OF_WORK = b""


class Work(Protocol):
    """What is shared: it is sent to every follower, where its tensors come to lie on the follower's device."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""

    def follow(self, epochs: Iterator[int]) -> None:
        """Do a follower's part of each epoch."""


class Followers:
    """The processes of ranks 1 to `size` - 1.

    Args:
        size: processes in all, with this one.
        kind: "cuda", each on the GPU of its rank, or "cpu".
    """

    def __init__(self, size: int, kind: str) -> None:
        self.rank, self._ending = Rank(0, size), False
        self._lost: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Everything stays on this machine; a host's name may not even resolve in a container.
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, "lo")
        self._meeting = Path(mkdtemp(prefix="driftloop-ranks-"), "store")
        self._processes = [self._started(number, kind) for number in range(1, size)]
        join(self._meeting, self.rank, kind)

    def _started(self, number: int, kind: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", __spec__.name, str(number), str(self.rank.size), kind, str(self._meeting)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        threading.Thread(target=self._watch, args=(number, process), daemon=True).start()
        return process

    def _watch(self, number: int, process: subprocess.Popen[bytes]) -> None:
        """A step that waits for a GPU whose process is gone would wait for long: NCCL does not notice."""
        code = process.wait()
        if self._ending:
            return
        how = f"was killed by signal {-code}, as when memory runs out" if code < 0 else f"ended with {code}"
        self._lost.put(f"the process of rank {number} {how}; a step that is run again goes on after the last epoch")
        time.sleep(GRACE_S)
        if not self._ending:
            print(self._lost.get(), file=sys.stderr, flush=True)
            os._exit(1)

    @contextmanager
    def sharing(self, work: Work) -> Iterator[None]:
        """Have the followers take part in `work`, which this process does meanwhile.

        Raises:
            RuntimeError: a follower is gone.
        """
        self._tell(_packed(work))
        try:
            yield
        finally:
            if not self._ending:
                self._tell(END_OF_WORK)

    @contextmanager
    def together(self, epoch: int | None = None) -> Iterator[None]:
        """What all do now: an epoch, or getting ready for the first. Fails it here, the others are in the midst of it, and no use any more.

        Raises:
            RuntimeError: a follower is gone.
        """
        if epoch is not None:
            self._tell(_packed(epoch))
        try:
            with taking_part(self.rank):
                yield
        except BaseException as error:
            reason = self._why_lost() if isinstance(error, RuntimeError) else None
            self.end(at_once=True)
            if reason:
                raise RuntimeError(reason) from error
            raise

    def _why_lost(self) -> str | None:
        """What became of a follower that is gone, which shows here at the same time as the end of its connections."""
        try:
            return self._lost.get(timeout=SEEN_S)
        except queue.Empty:
            return None

    def _tell(self, message: bytes) -> None:
        for number, process in enumerate(self._processes, 1):
            assert process.stdin
            try:
                process.stdin.write(len(message).to_bytes(HEADER, "big"))
                process.stdin.write(message)
                process.stdin.flush()
            except (OSError, ValueError):
                raise RuntimeError(self._why_lost() or f"the process of rank {number} is gone") from None

    def end(self, *, at_once: bool = False) -> None:
        """End the processes; harmless where they have ended."""
        if self._ending:
            return
        self._ending = True
        for process in self._processes:
            assert process.stdin
            if at_once:
                process.kill()
            process.stdin.close()  # the end of their work
        if not at_once:
            dist.destroy_process_group()
        for process in self._processes:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._meeting.unlink(missing_ok=True)
        self._meeting.parent.rmdir()


class Equals:
    """The processes of several machines, each of which comes to the same work by itself, in torchrun's environment.

    Args:
        kind: of device, "cuda" or "cpu".
    """

    def __init__(self, kind: str) -> None:
        self.rank = Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        dist.init_process_group(BACKENDS[kind], timeout=timedelta(seconds=TIMEOUT_S))

    @contextmanager
    def sharing(self, work: Work) -> Iterator[None]:
        """All begin with the weights of the first: fitted to pretrained ones on other processors, theirs may differ in the last digits."""
        for tensor in work.model.state_dict().values():
            dist.broadcast(tensor, 0)
        yield

    @contextmanager
    def together(self, epoch: int | None = None) -> Iterator[None]:
        """What all do now. Whoever fails ends, and torchrun ends the others."""
        with taking_part(self.rank):
            yield

    def end(self) -> None:
        dist.destroy_process_group()


_followers: Followers | Equals | None = None


def start(size: int, kind: str) -> None:
    """Share the trainings of this process from now on among `size` processes; 1 for alone again.

    Args:
        size: processes in all, with this one.
        kind: of device, "cuda" or "cpu".
    """
    global _followers
    stop()
    if size > 1:
        _followers = Followers(size, kind)


def meet(kind: str) -> Rank:
    """Share the trainings of this process from now on with the others that torchrun started; this one's rank among them.

    Args:
        kind: of device, "cuda" or "cpu".
    """
    global _followers
    stop()
    _followers = Equals(kind)
    return _followers.rank


@atexit.register
def stop() -> None:
    """End the followers that there are."""
    global _followers
    if _followers:
        _followers.end()
    _followers = None


def started() -> Followers | Equals | None:
    """Who shares the trainings of this process."""
    return _followers


def join(meeting: Path, rank: Rank, kind: str) -> None:
    """Meet the other processes at a file."""
    store = dist.FileStore(str(meeting), rank.size)  # type: ignore[attr-defined] # documented, but not in its __all__
    dist.init_process_group(BACKENDS[kind], store=store, rank=rank.number, world_size=rank.size, timeout=timedelta(seconds=TIMEOUT_S))


def follow(number: int, size: int, kind: str, meeting: Path) -> None:
    """The life of a follower: one piece of work after the other, until the step closes its end of the pipe."""
    rank = Rank(number, size)
    device = torch.device(kind, number) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, available_threads() // size))
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    join(meeting, rank, kind)
    while message := messages.get():
        work = _unpacked(message, device)
        with taking_part(rank):
            work.follow(_unpacked(epoch, device) for epoch in iter(messages.get, END_OF_WORK))
    dist.destroy_process_group()


def _read(messages: "queue.SimpleQueue[bytes]") -> None:
    """Hand on what the step sends. A step that is gone in the midst of a work leaves nothing to be done."""
    message = END_OF_WORK
    while header := sys.stdin.buffer.read(HEADER):
        message = sys.stdin.buffer.read(int.from_bytes(header, "big"))
        messages.put(message)
    if message != END_OF_WORK:
        os._exit(1)
    messages.put(END_OF_WORK)


def _packed(message: Work | int) -> bytes:
    stream = io.BytesIO()
    torch.save(message, stream)
    return stream.getvalue()


def _unpacked(message: bytes, device: torch.device) -> Any:
    """Of the process that started this one, over a pipe of their own. In the thread that computes: another has the first GPU as its own."""
    return torch.load(io.BytesIO(message), map_location=device, weights_only=False)


if __name__ == "__main__":
    follow(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
