"""The simulated labelling team: it takes a watch's list of requests, works on it for some days, and hands in the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.drift_detection.evidence import REQUESTS
from driftloop.inference.labels import RANDOM, write_labels
from driftloop.store import Store


@dataclass(frozen=True)
class Job:
    """A list of requests that is being labelled, and the window with which the labels arrive."""

    requests: list[str]
    due: int


class LabellingTeam:
    """Labels uniformly random lists only, one at a time, never wrongly; `delay` windows after it took a list all its labels arrive."""

    def __init__(self, delay: int) -> None:
        self.delay = delay
        self.job: Job | None = None

    def take(self, evidence: Path, window: int) -> Job | None:
        """Begin with the random list of a watch's evidence; None while another list is being worked on, or where it is empty."""
        if self.job is not None:
            return None
        listed = pd.read_csv(evidence / REQUESTS, dtype={"request_id": str, "origin": str})
        requests = listed.loc[listed["origin"] == RANDOM, "request_id"].tolist()
        self.job = Job(requests, window + self.delay) if requests else None
        return self.job

    def hand_in(self, store: Store, truth: Mapping[str, str], window: int) -> int:
        """Write the labels that are due with this window; how many.

        Args:
            truth: true class by request id.
        """
        if self.job is None or self.job.due > window:
            return 0
        requests, self.job = self.job.requests, None
        write_labels(store, pd.DataFrame({"request_id": requests, "label": [truth[one] for one in requests], "origin": RANDOM}))
        return len(requests)
