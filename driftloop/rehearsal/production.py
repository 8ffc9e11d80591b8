"""Simulated production: a window of new images a day, through the champion of that day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from components.drift_detection.windows import effective_size
from components.traffic_replay.replay import Amounts, Replayed, replay
from driftloop.dataset import Description, Split, open_split
from driftloop.errors import InputError
from driftloop.inference.reference import CLEAN
from driftloop.rehearsal.timeline import first_drift
from driftloop.scenarios import Scenario
from driftloop.settings import DriftSettings, TrafficSettings
from driftloop.store import Store


@dataclass(frozen=True)
class Production:
    """Where the traffic comes from and goes to: `size` images of `stream` a window, `labels` of them with labels at once."""

    store: Store
    stream: Split
    description: Description
    size: int
    labels: int
    seed: int
    config: dict[str, Any]

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
            settings=TrafficSettings.complete(self.config | {"window_size": self.size, "max_label_share": 1.0}),
            clock=clock,
        )


def window_size(description: Description, settings: DriftSettings) -> int:
    """Images that the drift test will judge together, so that a day is one window whatever the size of the reference."""
    groups = open_split(description, CLEAN).samples["group"].nunique()
    return effective_size(settings.window_size, groups)


def what_can_be_played(timeline: Sequence[Scenario], stream: Split, size: int) -> tuple[list[Scenario], list[str]]:
    """The windows for which the stream has distinct images, and a note where these are not all.

    Raises:
        InputError: not even one, none of the drifted ones, or a prior shift further than these classes allow.
    """
    for scenario in timeline:
        scenario.select(stream.labels, 1, np.random.default_rng(0))
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
