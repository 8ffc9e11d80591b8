"""Simulated production: windows of new images through the champion of that time, and the team that labels them.

The team takes a watch's list of requests, works on it for some days, and hands in the truth.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.drift_detection.windows import NEARLY_FULL, effective_size
from components.traffic_replay.replay import Amounts, Replayed, replay
from driftloop.contracts import LABEL_REQUESTS, LEAST_GROUPS, RANDOM, RANKED
from driftloop.dataset import Description, Split, open_split
from driftloop.errors import InputError
from driftloop.inference.labels import write_labels
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.plurals import counted
from driftloop.rehearsal.timeline import first_drift
from driftloop.scenarios import Scenario
from driftloop.settings import DriftSettings, TrafficSettings
from driftloop.store import Store

#: Requests of a window of traffic at least. A drift test of few groups has smaller ones; what is played at once is one of these in part,
#: and holds no group twice either.
LEAST_WINDOW = 10


@dataclass(frozen=True)
class Production:
    """Where the traffic comes from and goes to."""

    store: Store
    """Whose champion answers, and whose log is written."""
    stream: Split
    """The images that are played."""
    description: Description
    """Of the dataset that they belong to."""
    size: int
    """Images a window."""
    labels: int
    """Of each window, images whose labels arrive at once."""
    seed: int
    """Of the order of the images, of the drift and of those labels."""
    config: dict[str, Any]
    """Overrides of the traffic settings."""

    def traffic(self, scenario: Scenario, clock: Callable[[], datetime]) -> Replayed:
        """A window of traffic for the champion, none of its images shown before.

        Raises:
            InputError: no image left, or a prior shift further than these classes allow.
        """
        amounts = Amounts(0, self.size, self.labels) if scenario.drifts else Amounts(self.size, 0, self.labels)
        return replay(
            self.store,
            self.stream,
            self.description,
            version="",
            scenario=scenario,
            amounts=amounts,
            seed=self.seed,
            settings=TrafficSettings.complete(self.config | {"window_size": max(self.size, LEAST_WINDOW), "max_label_share": 1.0}),
            clock=clock,
        )


def window_size(description: Description, settings: DriftSettings) -> int:
    """Images that the drift test will judge together, so that what is played at once is one window whatever the size of the reference."""
    groups = open_split(description, CLEAN_REGIME).samples["group"].nunique()
    return effective_size(settings.window_size, groups)


def fewest_groups(size: int, settings: DriftSettings) -> int:
    """Of so many groups at least is a window that is tested, whatever it waits for: of fewer, no drift can be confirmed."""
    return min(LEAST_GROUPS, size, max(2, settings.minimum_window), math.ceil(NEARLY_FULL * size))


def what_can_be_played(timeline: Sequence[Scenario], stream: Split, size: int, fewest: int) -> tuple[list[Scenario], list[str]]:
    """The windows for which the stream has distinct images, and a note where these are not all.

    Args:
        timeline: what is to be played.
        stream: where its images come from.
        size: images a window.
        fewest: groups without which no window is tested.

    Raises:
        InputError: not even one, none of the drifted ones, images of so few groups that nothing would be tested, or a prior shift further
            than these classes allow.
    """
    for scenario in timeline:
        scenario.select(stream.labels, 1, np.random.default_rng(0))
    groups = stream.samples["group"].nunique()
    if groups < fewest:
        raise InputError(
            f"the stream's {len(stream):,} images are of only {counted(groups, 'patient or site', 'patients or sites')}, and a window is "
            f"tested with {fewest} or more: no window would be; raise data_config.stream_share, or use a source of more of them"
        )
    images = stream.samples["sha256"].nunique()
    possible = min(len(timeline), images // size)
    first = first_drift(timeline)
    if possible < (first or 1):
        raise InputError(
            f"the stream's {images:,} images are {possible} windows of {size}, and the drift sets in at window {first or 1}: "
            "raise data_config.stream_share, lower --drift-at, or use a larger source"
        )
    short = f"The stream's {images:,} images are {possible} windows of {size}: {possible} of {len(timeline)} windows can be played."
    return list(timeline[:possible]), [short] if possible < len(timeline) else []


@dataclass(frozen=True)
class Job:
    """A list of requests that is being labelled."""

    origins: dict[str, str]
    """Of which list each request is, by its id."""
    due: int
    """The window with which the labels arrive."""


class LabellingTeam:
    """Labels one watch's list at a time, never wrongly; `delay` windows after it took it all its labels arrive."""

    def __init__(self, delay: int, *, ranked: bool = False) -> None:
        """A team without work.

        Args:
            delay: windows, at least 1.
            ranked: whether it labels the most shifted images as well, or the uniformly random ones only.
        """
        self.delay, self.ranked = delay, ranked
        self.job: Job | None = None

    def take(self, evidence: Path, window: int) -> Job | None:
        """Begin with the list of a watch's evidence; None while another one is being worked on, or where it is empty."""
        if self.job is not None:
            return None
        listed = pd.read_csv(evidence / LABEL_REQUESTS, dtype={"request_id": str, "origin": str})
        wanted = listed[listed["origin"].isin((RANDOM, RANKED) if self.ranked else (RANDOM,))]
        origins = dict(zip(wanted["request_id"], wanted["origin"], strict=True))
        self.job = Job(origins, window + self.delay) if origins else None
        return self.job

    def hand_in(self, store: Store, truth: Mapping[str, str], window: int) -> int:
        """Write the labels that are due with this window; how many.

        Args:
            truth: true class by request id.
        """
        if self.job is None or self.job.due > window:
            return 0
        origins, self.job = self.job.origins, None
        rows = [(request, truth[request], origin) for request, origin in origins.items()]
        write_labels(store, pd.DataFrame(rows, columns=["request_id", "label", "origin"]))
        return len(rows)
