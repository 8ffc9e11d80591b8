"""The plan of a replay: which stream images are asked about, in which order, and which of them get labels."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from components.traffic_replay.history import image_id
from driftloop.scenarios import Scenario, parse


@dataclass(frozen=True)
class Plan:
    """Rows of the stream split in the order of the requests; the first `clean` of them stay as they are.

    `labelled` are positions in `rows`: the requests whose labels arrive.
    """

    rows: np.ndarray
    clean: int
    labelled: np.ndarray

    @property
    def drifted(self) -> int:
        return len(self.rows) - self.clean

    @property
    def position(self) -> np.ndarray:
        """Where each drifted request lies between the first (0) and the last (1): (drifted,)."""
        return np.linspace(0, 1, self.drifted)


def make_plan(
    samples: pd.DataFrame,
    played: set[str],
    scenario: Scenario,
    *,
    clean: int,
    drifted: int,
    window_size: int,
    labels: int,
    max_label_share: float,
    rng: np.random.Generator,
) -> Plan:
    """Draw a replay from the stream images that were not played before.

    Where fewer images are left than asked for, clean and drifted traffic shrink in proportion, the clean one in whole windows. No
    window holds two images of one group as long as there are others.

    Args:
        samples: of the stream split, with label, group and sha256.
        played: `image_id` of the source images that other replays have used.
        scenario: of the drifted part; without any drift all traffic is clean.
        clean, drifted: wanted numbers of requests.
        window_size: requests a window.
        labels: wanted number of labels, drawn uniformly from the drifted requests (from all of them when nothing drifts).
        max_label_share: at most this share of those requests is labelled, so that unlabelled ones remain.
        rng: draws everything.
    """
    images = samples["sha256"].map(image_id)
    free = np.flatnonzero(~images.isin(played).to_numpy() & ~images.duplicated().to_numpy())
    if not scenario.drifts:
        clean, drifted = clean + drifted, 0
    clean, drifted = shrink(clean, drifted, len(free), window_size)
    truth, groups = samples["label"].to_numpy(), samples["group"].to_numpy()
    first = arranged(free, truth, groups, parse("none"), clean, window_size, rng)
    second = arranged(np.setdiff1d(free, first), truth, groups, scenario, drifted, window_size, rng)
    start, stop = (clean, clean + len(second)) if len(second) else (0, clean)
    count = min(labels, int((stop - start) * max_label_share))
    labelled = start + np.sort(rng.permutation(stop - start)[:count])
    return Plan(np.concatenate([first, second]), len(first), labelled)


def arranged(
    free: np.ndarray, truth: np.ndarray, groups: np.ndarray, scenario: Scenario, n: int, window_size: int, rng: np.random.Generator
) -> np.ndarray:
    """`n` of the rows in `free` as the scenario selects them, arranged so that groups do not meet in a window."""
    # A prior shift needs exactly the rows it asked for, and starts from the whole stream's shares, which earlier replays must not move;
    # of a uniform draw the arrangement may pass over images whose group is in the window.
    wanted = n if scenario.shifts_prior else len(free)
    chosen = free[scenario.select(truth[free], wanted, rng, population=truth)]
    return np.array(list(islice(apart(chosen, groups, window_size), n)), dtype=np.int64)


def shrink(clean: int, drifted: int, available: int, window_size: int) -> tuple[int, int]:
    """Clean and drifted requests when only `available` images are left: the same proportion, the clean ones in whole windows."""
    if clean + drifted <= available:
        return clean, drifted
    if drifted == 0:
        return available, 0
    windows = round(available * clean / (clean + drifted) / window_size)
    fewer = min(windows * window_size, clean, available)
    return fewer, available - fewer


def apart(rows: np.ndarray, groups: np.ndarray, window_size: int) -> Iterator[int]:
    """`rows` in an order in which no window of `window_size` holds a group twice, as long as that can be had.

    The order is kept otherwise: an image whose group is in the window already waits for the next one. (Sorting by group instead
    would leave the patients with many images, who are often the ill ones, for the last windows.)
    """
    waiting: deque[int] = deque()
    coming = deque(int(row) for row in rows)
    while waiting or coming:
        queue = deque([*waiting, *coming])
        waiting, seen, size = deque(), set(), 0
        while queue and size < window_size:
            row = queue.popleft()
            if groups[row] in seen:
                waiting.append(row)
                continue
            seen.add(groups[row])
            size += 1
            yield row
        # The window is not full and only repeated groups are left: it takes them after all.
        while not queue and waiting and size < window_size:
            size += 1
            yield waiting.popleft()
        coming = queue
