"""A registered version, ready to answer: its graph in a warm session, and the reference that images are judged against."""

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from driftloop import registry
from driftloop.bundle import REFERENCE
from driftloop.errors import DriftloopError, InputError, IntegrityError
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.reference import read_reference
from driftloop.inference.served_model import ServedModel, ServedPredictions
from driftloop.serving.familiarity import Familiarity, Unusual
from driftloop.store import Store

#: Batches that a new session answers before it gets a request. Few images: requests wait for the core that these take, and warming larger
#: batches takes longer than what a first large one is slower by (`bench.serving`, p99 around a swap).
WARM_UP_BATCHES = (1, 1, 2, 4)
#: What a thread that only prepares yields to those that answer: the least claim to a processor.
LOWEST_PRIORITY = 19

T = TypeVar("T")


@dataclass(frozen=True)
class Answers:
    """What a model says of N images."""

    version: str
    """The registered version that answered."""
    classes: list[str]
    predictions: ServedPredictions
    statistics: np.ndarray
    """float32 (N, F)."""
    unusual: list[Unusual]


@dataclass(frozen=True)
class LiveModel:
    """A version that answers."""

    version: str
    model: ServedModel
    familiarity: Familiarity
    since: datetime
    """When it was ready."""

    @classmethod
    def load(cls, store: Store, version: str, *, provider: str = "", threads: int = 0) -> Self:
        """Fetch, check, open and warm a version, beside whatever answers at the moment.

        Args:
            provider: onnxruntime's execution provider; empty takes the one that suits graph and machine.
            threads: of a session within an operator; 0 takes the cores this process may use.

        Raises:
            IntegrityError: a file does not match its checksum, or the version cannot answer, whatever the reason.
            InputError: the version cannot answer, or `provider` is not to be had.
            StoreError: the store is away.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="driftloop-serve-") as folder:
                familiarity = _at_low_priority(lambda: _fetch(store, version, folder))
                # Not in the thread above: onnxruntime's threads would inherit its priority for good.
                model = ServedModel.open(folder, threads=threads, provider=provider)
            if provider and model.provider != provider:
                raise InputError(f"version {version}: {provider} was asked for, and {model.provider} is what onnxruntime could open")
            live = cls(version, model, familiarity, datetime.now(UTC))
            live._warm_up()
        except (DriftloopError, OSError):  # a full disk is not the version's fault
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise IntegrityError(f"version {version} cannot answer: {type(error).__name__}: {reason}") from error
        return live

    def answer(self, images: np.ndarray) -> Answers:
        """Classify uint8 images (N, side, side, channels), N at least 1."""
        predictions = self.model.predict(images, batch_size=len(images))
        statistics = image_statistics(images)
        unusual = self.familiarity.judge(statistics, predictions.embedding)
        return Answers(self.version, self.model.description.classes, predictions, statistics, unusual)

    def _warm_up(self) -> None:
        side, channels = self.model.description.image_size, self.model.description.channels
        rng = np.random.default_rng(0)
        for size in WARM_UP_BATCHES + self.model.batches:
            self.answer(rng.integers(0, 256, (size, side, side, channels), dtype=np.uint8))


def _fetch(store: Store, version: str, folder: str) -> Familiarity:
    registry.download(store, version, folder)
    return Familiarity(read_reference(Path(folder, REFERENCE)))


def _at_low_priority(work: Callable[[], T]) -> T:
    """What `work` returns or raises, done in a thread of its own that requests need not share a processor with."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="driftloop-prepare")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
