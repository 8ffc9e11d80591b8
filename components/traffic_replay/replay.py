"""A replay from beginning to end: plan it, let the champion answer, log it, let labels arrive."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from components.traffic_replay.client import ServiceClient, send, wait_for_log
from components.traffic_replay.replay_plan import leave_receipt, make_plan, played_rows, replay_key, request_id
from components.traffic_replay.traffic import TICK, AnsweredTraffic, PlayedTraffic, play, utc_now
from driftloop import registry
from driftloop.contracts import RANDOM, UNSEEN
from driftloop.dataset import Split
from driftloop.dataset.description import Description
from driftloop.errors import InputError, NoChampion
from driftloop.inference.labels import write_labels
from driftloop.inference.log_writer import InferenceLogger
from driftloop.inference.served_model import ServedModel
from driftloop.plurals import counted
from driftloop.scenarios import Scenario
from driftloop.settings import TrafficSettings
from driftloop.store import Store

#: The label of an image that shows none of the model's classes.
UNSEEN_LABEL = "(unseen class)"


@dataclass(frozen=True)
class Amounts:
    """How much to play."""

    clean: int
    """Requests that stay as they are; they come first."""
    drifted: int
    """Requests after them, which drift."""
    labels: int
    """Requests whose labels arrive."""

    @classmethod
    def of(cls, settings: TrafficSettings) -> "Amounts":
        """What the settings ask for."""
        size = settings.window_size
        return cls(settings.clean_windows * size, settings.drifted_windows * size, settings.labels)

    @property
    def requests(self) -> int:
        return self.clean + self.drifted


@dataclass(frozen=True)
class Replayed:
    """What was played."""

    clean: int
    """Requests that stayed as they were."""
    drifted: int
    labels: int
    """Labels that arrived."""
    wanted: int
    """Requests that were to be played; more than there are where the stream ran short."""
    drift: str
    """The scenario, as `parse` reads it."""
    version: str
    """The registered version that answered."""
    p50_ms: float | None
    """Median latency; None when nothing was left to answer."""
    until: str
    """ISO 8601 time in UTC just after the last request."""
    labels_wanted: int = 0
    """Labels that were to arrive; at most `max_label_share` of the requests have one."""
    source: str = ""
    """Where the images come from, if not from the champion's dataset."""
    truth: dict[str, str] = field(default_factory=dict, repr=False)
    """True class by request id."""

    @property
    def requests(self) -> int:
        return self.clean + self.drifted

    def record(self) -> dict[str, Any]:
        """What was played, as JSON values; without the true classes."""
        return {name: value for name, value in vars(self).items() if name != "truth"}

    def figures(self) -> str:
        """One line for the person who waits."""
        short = f" (of {self.wanted:,} asked for: the stream has no more new images)" if self.requests < self.wanted else ""
        drifted = f" + {self.drifted:,} with {self.drift}" if self.drifted else ""
        few = f" (of {self.labels_wanted:,} asked for: some requests stay without)" if self.labels < self.labels_wanted else ""
        speed = f", p50 {self.p50_ms:.2f} ms" if self.p50_ms is not None else ""
        requests = "request" if self.requests == 1 else "requests"
        # What a source of one's own shows need not be clean: only the images of the champion's dataset are known to be.
        kind, source = ("unchanged", f" of {self.source}") if self.source else ("clean", "")
        return (
            f"{self.clean:,} {kind}{drifted} {requests}{source}{short}, {counted(self.labels, 'label')}{few}, version {self.version}{speed}"
        )


def replay(
    store: Store,
    stream: Split,
    description: Description,
    *,
    version: str,
    scenario: Scenario,
    amounts: Amounts,
    seed: int,
    settings: TrafficSettings,
    clock: Callable[[], datetime] = utc_now,
    to: str = "",
    rate: float = 0.0,
) -> Replayed:
    """Play new images of `stream` through a registered version and log them as production does.

    Started again after it was cut off it goes on where it stopped; started again after it ended it plays other images.

    Args:
        store: where the version is registered and the log and the labels are written.
        stream: the images to play, at the model's input size.
        description: of the dataset that `stream` belongs to.
        version: the registered version that answers; empty takes the champion.
        scenario: what happens to the drifted requests.
        amounts: how much to play; less where the stream runs short.
        seed: of all draws; the same seed and the same store give the same replay.
        settings: window size, label and image shares, batch size.
        clock: the time of each request, with a zone; a rehearsal hands in a simulated one.
        to: address of a service on the same store, which is then asked, and logs; empty answers here.
        rate: requests a second to that service; 0 sends them as fast as it answers.

    Raises:
        NoChampion: no version given and the store names no champion.
        InputError: no image left to play, or a model of other classes or another size.
        IntegrityError: the version's files do not match their checksums.
    """
    version = version or _champion(store)
    identity = _identity(description, version, scenario, amounts, seed, settings)
    key = replay_key(store, identity)
    draws = [int(seed) % 2**63, int(key, 16)]
    before = played_rows(store)
    own = before[before["key"] == key]
    plan = make_plan(
        stream.samples,
        set(before.loc[before["key"] != key, "image"]),
        scenario,
        clean=amounts.clean,
        drifted=amounts.drifted,
        window_size=settings.window_size,
        labels=amounts.labels,
        max_label_share=settings.max_label_share,
        rng=np.random.default_rng(draws),
    )
    if not len(plan.rows) and amounts.requests:
        cure = "use another store, or a larger source"
        raise InputError(f"{store.uri}: all {len(stream):,} stream images were replayed before; {cure}")
    ids = [request_id(key, digest) for digest in stream.samples["sha256"].iloc[plan.rows]]
    traffic = PlayedTraffic(stream, plan, ids, scenario, draws)
    if to:
        answered, version = _ask(to, traffic, store, own, rate)
    else:
        with TemporaryDirectory() as directory:
            registry.download(store, version, directory)
            model = ServedModel.open(directory)
        _check_classes(model, description, version)
        with InferenceLogger(store, image_share=settings.image_share) as log:
            answered = play(traffic, model, log, own, version=version, batch_size=settings.batch_size, clock=clock)
    truth = class_names(answered.truth, description.classes)
    _label(store, [ids[row] for row in plan.labelled], [truth[row] for row in plan.labelled])
    leave_receipt(store, key, identity)
    return Replayed(
        clean=plan.clean,
        drifted=plan.drifted,
        labels=len(plan.labelled),
        labels_wanted=amounts.labels,
        wanted=amounts.requests,
        drift=str(scenario),
        version=version,
        p50_ms=answered.p50_ms,
        until=(answered.last + TICK).isoformat(),
        truth=dict(zip(ids, truth, strict=True)),
    )


def class_names(truth: np.ndarray, classes: list[str]) -> list[str]:
    """The names of true classes (n,)."""
    return [UNSEEN_LABEL if label == UNSEEN else classes[label] for label in truth]


def _ask(url: str, traffic: PlayedTraffic, store: Store, logged: pd.DataFrame, rate: float) -> tuple[AnsweredTraffic, str]:
    """Send the traffic to a service and wait for its log; and the version that answered, or several as "1, 2"."""
    begun = utc_now()
    with ServiceClient(url) as client:
        truth, latencies, versions = send(traffic, client, set(logged["request_id"]), rate=rate)
    last = wait_for_log(store, set(traffic.ids) - set(logged["request_id"]), begun)
    return AnsweredTraffic(truth, last, latencies), ", ".join(sorted(versions, key=int))


def _label(store: Store, ids: list[str], names: list[str]) -> None:
    """Write the labels of requests that were drawn uniformly."""
    if ids:
        write_labels(store, pd.DataFrame({"request_id": ids, "label": names, "origin": RANDOM}))


def _identity(
    description: Description, version: str, scenario: Scenario, amounts: Amounts, seed: int, settings: TrafficSettings
) -> dict[str, object]:
    return {
        "dataset": description.manifest_hash,
        "version": version,
        "drift": str(scenario),
        "clean": amounts.clean,
        "drifted": amounts.drifted,
        "labels": amounts.labels,
        "seed": int(seed),
        "settings": settings.model_dump(),
    }


def _check_classes(model: ServedModel, description: Description, version: str) -> None:
    if list(model.description.classes) != list(description.classes):
        known, given = ", ".join(model.description.classes), ", ".join(description.classes)
        raise InputError(f"version {version} knows the classes {known}, the stream has {given}; replay the dataset it was trained on")


def _champion(store: Store) -> str:
    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to answer the traffic; run `driftloop run training --store {store.uri}` first")
    return champion.version
