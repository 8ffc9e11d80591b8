"""The service without its web side: champion, workers, log and labels, put together, started and ended in the right order."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from driftloop.dataset.group_names import GroupNames
from driftloop.errors import StoreError
from driftloop.inference.log_writer import InferenceLogger, LogLimits
from driftloop.inference.provider import warn_once
from driftloop.runtime import available_threads
from driftloop.serving.batching import Batcher, Job, NotReady
from driftloop.serving.feedback import Feedback
from driftloop.serving.follower import ChampionFollower
from driftloop.serving.live_model import Answers, LiveModel
from driftloop.serving.metrics import Metrics, Seen, added_up
from driftloop.serving.settings import ServingSettings
from driftloop.serving.siblings import Siblings
from driftloop.serving.unanswered import Unanswered
from driftloop.store import Store

LOG = logging.getLogger("driftloop.serving")
#: Ids of requests that are drawn at once.
IDS_DRAWN = 64


class Service:
    """Answers with the champion of a store, and logs what it answered there."""

    def __init__(self, store: Store, settings: ServingSettings) -> None:
        self.store, self.settings = store, settings
        self.metrics = Metrics(siblings=settings.siblings)
        self.unanswered = Unanswered.of(settings)
        self._ids = _ids()
        #: Known before there is a model to answer with.
        self.names = GroupNames(b"")
        self.siblings = Siblings(settings.siblings, self._told)
        self.follower = ChampionFollower(
            store,
            self.metrics,
            poll_seconds=settings.poll_seconds,
            provider=settings.provider,
            threads=settings.threads,
            turn=self.siblings.one_at_a_time,
            first=self._know_names,
        )
        limits = LogLimits(seconds=settings.flush_seconds, spool_bytes=settings.spool_mib << 20, writers=settings.processes)
        labels = settings.spool / "labels" if settings.spool else None
        rows = settings.spool / "rows" if settings.spool else None
        self.log = InferenceLogger(store, image_share=settings.image_share, limits=limits, spool=rows)
        self.feedback = Feedback(store, seconds=settings.flush_seconds, spool=labels)
        self.batcher = Batcher(
            self._record,
            workers=settings.workers or available_threads(),
            most_queued=settings.most_queued,
            most_batched=settings.most_batched,
            most_pixels=settings.most_megapixels * 1_000_000,
            patience_seconds=settings.patience_seconds,
        )
        self.siblings.start()
        self.closing = False

    @property
    def live(self) -> LiveModel | None:
        """What answers; None before the first champion."""
        return self.follower.live

    @property
    def ready(self) -> bool:
        """Whether there is a model, and the service is not about to end."""
        return self.live is not None and not self.closing

    def start(self, *, patient: bool = False) -> None:
        """Load the champion and follow it. Raises DriftloopError where store or champion cannot be used; `patient` waits for the store."""
        self.follower.start(patient=patient)

    def close(self) -> None:
        """Answer what was accepted, write the log, end. What the store does not take stays in the spool, where there is one."""
        self.closing = True
        self.batcher.close()
        self.follower.stop()
        self.siblings.close()
        for part in (self.log, self.feedback):
            try:
                part.close()
            except StoreError as refused:
                LOG.error("the store does not take the rest: %s", refused)
                part.close(write=False)

    async def predict(
        self,
        images: Sequence[bytes | np.ndarray],
        *,
        group: str | None = None,
        tags: dict[str, str] | None = None,
        request_ids: Sequence[str] = (),
        began: float | None = None,
        live: LiveModel | None = None,
    ) -> list[tuple[Job, Answers, int]]:
        """The answers to the images of one request, in their order.

        Args:
            images: files as they were sent, or pixels as the model takes them.
            group: patient, source or session that they all come from, by its name.
            tags: of all of them.
            request_ids: one for each image; drawn where there are none.
            began: monotonic seconds at which the request had come in.
            live: the model that is to answer; else the one that answers at the moment. A swap meanwhile changes nothing.

        Raises:
            Overloaded, NotReady: try again later.
            UnreadableImage: one of them is no image for this model; the message says which where there are several.
        """
        live = live or self.live
        if live is None:
            raise NotReady
        began = time.monotonic() if began is None else began
        hidden = self.names.hashed(group) if group else None
        names = request_ids or [next(self._ids) for _ in images]
        loop = asyncio.get_running_loop()
        jobs = [Job(live, image, name, hidden, tags or {}, began, loop.create_future()) for image, name in zip(images, names, strict=True)]
        self.batcher.submit(jobs)
        if len(jobs) == 1:
            return [(jobs[0], *await jobs[0].answer)]
        answers = await asyncio.gather(*(job.answer for job in jobs))
        return [(job, *answer) for job, answer in zip(jobs, answers, strict=True)]

    def activity(self) -> dict[str, Any]:
        """What the page shows of the service: of all processes behind its port."""
        live, told = self.live, self.siblings.all()
        running = [process for process in told if not process["ended"]]
        return {
            "version": live.version if live else None,
            "swaps": max(process["swaps"] for process in told),
            "since": live.since.isoformat(timespec="seconds") if live else None,
            "classes": live.model.description.classes if live else [],
            "image_size": live.model.description.image_size if live else None,
            "processes": len(running),
            "queue": sum(process["queue"] for process in running),
            "log_backlog_rows": sum(process["log_backlog_rows"] for process in running),
            "log_dropped_rows": sum(process["log_dropped_rows"] for process in told),
            **added_up(told),
        }

    def metrics_text(self) -> bytes:
        """What Prometheus reads."""
        self._told()
        return self.metrics.text()

    def _know_names(self) -> None:
        self.names = GroupNames.of(self.store)

    def _told(self) -> dict[str, Any]:
        """What the other processes may know of this one."""
        counts, queued = self.log.counts, self.batcher.queued
        self.metrics.observe_log(counts, queued)
        backlog = {"queue": queued, "log_backlog_rows": counts.waiting, "log_dropped_rows": counts.dropped_rows}
        return {"swaps": self.follower.swaps, **backlog, **self.metrics.lately()}

    def _record(self, answers: Answers, images: np.ndarray, jobs: list[Job]) -> None:
        """Log a batch, before its callers have their answers."""
        now, at = datetime.now(UTC), time.monotonic()
        latencies = [(at - job.began) * 1000 for job in jobs]
        self.log.log(
            images,
            answers.predictions,
            latencies,
            version=answers.version,
            classes=answers.classes,
            groups=[job.group for job in jobs],
            tags=[job.tags for job in jobs],
            request_ids=[job.request_id for job in jobs],
            times=[now] * len(jobs),
            statistics=answers.statistics,
        )
        cut = sum(job.cut for job in jobs)
        if cut:
            self.metrics.cut.inc(cut)
            highest_level = jobs[0].live.model.description.deep_range
            warn_once(
                f"version {answers.version}: images of more than 8 bits came with levels above {highest_level:,}, the highest that it was "
                "trained on, and are read as if these were that one; driftloop_cut_images_total counts such images"
            )
        labels, confidences = answers.predictions.labels, answers.predictions.confidences
        self.metrics.answered(
            [
                Seen(at, now, job.request_id, answers.classes[int(label)], float(sure), odd.p_value, latency, answers.version)
                for job, label, sure, odd, latency in zip(jobs, labels, confidences, answers.unusual, latencies, strict=True)
            ]
        )


def _ids() -> Iterator[str]:
    """Ids of requests, which nobody can guess.

    Drawn beforehand: a draw is a call of the system, during which a worker takes Python over and keeps the event loop waiting.
    """
    while True:
        drawn = os.urandom(16 * IDS_DRAWN)
        yield from (drawn[at : at + 16].hex() for at in range(0, len(drawn), 16))
