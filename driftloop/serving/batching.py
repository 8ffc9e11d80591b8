"""From many callers to few batches: images wait in one bounded queue, and each worker takes what has gathered while it was busy.

Nothing ever waits for a batch to fill: where no one queues, an image is on its own. Decoding is done by the workers too, so that one
image's decoding overlaps another's prediction, and a caller's thread does neither.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from driftloop.dataset.decoding import UnreadableImage, decode_image, with_channels
from driftloop.serving.live_model import Answers, LiveModel


class Overloaded(Exception):
    """The queue is full, or a request has waited for too long in it."""


class NotReady(Exception):
    """There is no model yet."""


@dataclass
class Job:
    """One image that wants an answer."""

    image: bytes | np.ndarray
    """An image file, or pixels as the model takes them: uint8 (side, side, channels)."""
    request_id: str
    group: str | None
    tags: dict[str, str]
    began: float
    """Monotonic seconds at which the request came in."""
    answer: "asyncio.Future[tuple[Answers, int]]"
    """The answers of its batch, and its place among them; of the caller's event loop."""


class Batcher:
    """Workers that answer jobs; what a batch did is handed to `done` before any caller has it."""

    def __init__(
        self,
        live: Callable[[], LiveModel | None],
        done: Callable[[Answers, np.ndarray, list[Job]], None],
        *,
        workers: int,
        most_queued: int,
        most_batched: int,
        patience_seconds: float,
    ) -> None:
        """Args:
        live: gives the model that answers at the moment.
        done: gets answers, images and jobs of a batch.
        workers: threads.
        most_queued: jobs that may wait.
        most_batched: jobs of a batch.
        patience_seconds: that a job may wait before it is turned away.
        """
        self._live, self._done = live, done
        self._workers, self._most_queued, self._most_batched, self._patience = workers, most_queued, most_batched, patience_seconds
        self._queue: deque[Job] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"driftloop-answer-{index}", daemon=True) for index in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    def submit(self, jobs: list[Job]) -> None:
        """Queue the jobs of a request, all or none.

        Raises:
            Overloaded: there is no room for them.
        """
        with self._ready:
            if self._closed or len(self._queue) + len(jobs) > self._most_queued:
                raise Overloaded
            self._queue += jobs
            self._ready.notify(min(len(jobs), self._workers))

    def close(self) -> None:
        """Take no more jobs, answer those that wait, and end."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._closed:
                    self._ready.wait()
                if not self._queue:
                    return
                # A fair share: another worker may be about to take the rest.
                share = min(self._most_batched, -(-len(self._queue) // self._workers))
                jobs = [self._queue.popleft() for _ in range(share)]
            try:
                self._answer(jobs)
            except BaseException as error:
                _resolve(jobs, error)

    def _answer(self, jobs: list[Job]) -> None:
        live = self._live()
        late = time.monotonic() - self._patience
        taken, images = [], []
        for job in jobs:
            if job.answer.cancelled():
                continue  # its caller has gone
            try:
                if job.began < late:
                    raise Overloaded
                if live is None:
                    raise NotReady
                images.append(_pixels(job.image, live))
                taken.append(job)
            except Exception as error:
                _resolve([job], error)
        if not taken or live is None:
            return
        stack = np.stack(images)
        answers = live.answer(stack)
        self._done(answers, stack, taken)
        _resolve(taken, answers)


def _resolve(jobs: list[Job], outcome: Answers | BaseException) -> None:
    """Tell the callers of a batch, all of one event loop: one call into it for all of them, as each wakes it up."""

    def tell() -> None:
        for index, job in enumerate(jobs):
            if job.answer.done():  # cancelled, or refused before
                continue
            if isinstance(outcome, BaseException):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result((outcome, index))

    with suppress(RuntimeError):  # the loop has ended, and its callers with it
        jobs[0].answer.get_loop().call_soon_threadsafe(tell)


def _pixels(image: bytes | np.ndarray, live: LiveModel) -> np.ndarray:
    """The image as the model takes it.

    Raises:
        UnreadableImage: no image, in colour where the model takes grey ones, or of another size than it takes.
    """
    description = live.model.description
    side, channels = description.image_size, description.channels
    if isinstance(image, np.ndarray):
        if image.shape != (side, side, channels):
            raise UnreadableImage(f"images of shape {image.shape}; this model takes ({side}, {side}, {channels})")
        return image
    return with_channels(decode_image(image, side, description.resize).pixels, channels)
