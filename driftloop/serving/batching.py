"""From many callers to few batches: images wait in one bounded queue, and each worker takes what has gathered while it was busy.

Nothing ever waits for a batch to fill: where no one queues, an image is on its own. Decoding is done by the workers too, so that one
image's decoding overlaps another's prediction, and a caller's thread does neither. The images of one request are answered by one model,
and none of them before all are decoded: a request that is refused leaves no answers in the log.
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


@dataclass(eq=False)
class Together:
    """The images of one request, of several."""

    jobs: "list[Job]"
    undecoded: int
    """Of them; counted under the batcher's lock."""


@dataclass(eq=False)
class Job:
    """One image that wants an answer."""

    live: LiveModel
    """That is to give it."""
    image: bytes | np.ndarray
    """An image file, or pixels as the model takes them: uint8 (side, side, channels)."""
    request_id: str
    group: str | None
    tags: dict[str, str]
    began: float
    """Monotonic seconds at which the request had come in."""
    answer: "asyncio.Future[tuple[Answers, int]]"
    """The answers of its batch, and its place among them; of the caller's event loop."""
    together: Together | None = None
    """Its request's images, until all of them are decoded; None for a single one."""
    decoded: bool = False
    """Whether they are: from then on it is answered, however late."""
    cut: bool = False
    """Whether its file has levels above those that the model was trained on, which became the highest of these."""


class Batcher:
    """Workers that answer jobs; what a batch did is handed to `done` before any caller has it."""

    def __init__(
        self,
        done: Callable[[Answers, np.ndarray, list[Job]], None],
        *,
        workers: int,
        most_queued: int,
        most_batched: int,
        most_pixels: int,
        patience_seconds: float,
    ) -> None:
        """Args:
        done: gets answers, images and jobs of a batch.
        workers: threads.
        most_queued: jobs that may wait.
        most_batched: jobs of a batch.
        most_pixels: of an image file.
        patience_seconds: that a job may wait to be decoded before it is turned away.
        """
        self._done, self._most_pixels = done, most_pixels
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
        if len(jobs) > 1:
            together = Together(jobs, len(jobs))
            for job in jobs:
                job.together = together
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
                # A fair share: another worker may be about to take the rest. A batch has one model.
                share, live = min(self._most_batched, -(-len(self._queue) // self._workers)), self._queue[0].live
                jobs: list[Job] = []
                while len(jobs) < share and self._queue and self._queue[0].live is live:
                    jobs.append(self._queue.popleft())
            try:
                self._answer(live, jobs)
            except BaseException as error:
                _resolve(jobs, error)

    def _answer(self, live: LiveModel, jobs: list[Job]) -> None:
        taken, images = [], []
        for job in jobs:
            if job.answer.cancelled():
                continue  # its caller has gone
            try:
                # Looked at for each: those before it may have taken long to decode.
                if not job.decoded and time.monotonic() - job.began > self._patience:
                    raise Overloaded
                pixels, cut = _pixels(job.image, live, self._most_pixels)
                job.cut |= cut
            except Exception as error:
                _refuse(job, error)
                continue
            if job.together is None:
                images.append(pixels)
                taken.append(job)
            else:
                job.image = pixels
                self._decoded(job.together)
        if not taken:
            return
        stack = np.stack(images)
        answers = live.answer(stack)
        self._done(answers, stack, taken)
        _resolve(taken, answers)

    def _decoded(self, together: Together) -> None:
        """One more image of a request; with the last of them all are queued again, at the front, to be answered."""
        with self._ready:
            together.undecoded -= 1
            if together.undecoded:
                return
            for job in together.jobs:
                job.together, job.decoded = None, True
            self._queue.extendleft(reversed(together.jobs))
            self._ready.notify(min(len(together.jobs), self._workers))


def _refuse(job: Job, error: Exception) -> None:
    """Tell its caller, who gets no answer to the other images of that request either."""
    together = job.together
    if together and isinstance(error, UnreadableImage):
        error = UnreadableImage(f"image {together.jobs.index(job) + 1} of {len(together.jobs)}: {error}")
    _resolve(together.jobs if together else [job], error)


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


def _pixels(image: bytes | np.ndarray, live: LiveModel, most: int) -> tuple[np.ndarray, bool]:
    """The image as the model takes it, and whether levels of its file were cut for that.

    Raises:
        UnreadableImage: no image, too large, in colour where the model takes grey ones, or of another size than it takes.
    """
    description = live.model.description
    side, channels = description.image_size, description.channels
    if isinstance(image, np.ndarray):
        if image.shape != (side, side, channels):
            raise UnreadableImage(f"images of shape {image.shape}; this model takes ({side}, {side}, {channels})")
        return image, False
    decoded = decode_image(image, side, description.resize, description.deep_range, most_pixels=most)
    return with_channels(decoded.pixels, channels), decoded.full > decoded.scaled
