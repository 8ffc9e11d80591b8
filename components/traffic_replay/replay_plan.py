"""The plan of a replay: which images of the dataset's stream split are asked about, in which order, and which of them get labels.

An image is never shown twice to a store's champions, so a plan begins with what earlier replays have played. The request ids of a
replay are `replay-<key>-<image>`: `key` names the replay, `image` is the beginning of the source image's sha256. A replay that ends
leaves a receipt; the same replay started again before that is the same one and goes on where it stopped, afterwards it is a new one,
with new images.
"""

import hashlib
import io
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from driftloop.contracts import STREAM
from driftloop.dataset import Description, Split, open_split
from driftloop.errors import Conflict, InputError
from driftloop.inference.log_files import LOGS_PREFIX as LOGS
from driftloop.scenarios import Scenario, parse
from driftloop.store import Store

#: What ended replays leave in the store, by key.
RECEIPTS = f"{LOGS}replays/"
#: How the request ids of replays begin.
REQUEST_MARK = "replay-"
#: Hexadecimal digits of the source image's sha256 in a request id: enough that two images never share one.
IMAGE_ID_DIGITS = 32


@dataclass(frozen=True)
class ReplayPlan:
    """What a replay plays."""

    rows: np.ndarray
    """Of the stream split, in the order of the requests."""
    clean: int
    """So many of the first requests stay as they are; the others drift."""
    labelled: np.ndarray
    """Positions in `rows`: the requests whose labels arrive."""

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
) -> ReplayPlan:
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
    clean, drifted = fit_to_stream(clean, drifted, len(free), window_size)
    truth, groups = samples["label"].to_numpy(), samples["group"].to_numpy()
    first = _arrange(free, truth, groups, parse("none"), clean, window_size, rng)
    second = _arrange(np.setdiff1d(free, first), truth, groups, scenario, drifted, window_size, rng)
    start, stop = (clean, clean + len(second)) if len(second) else (0, clean)
    count = min(labels, int((stop - start) * max_label_share))
    labelled = start + np.sort(rng.permutation(stop - start)[:count])
    return ReplayPlan(np.concatenate([first, second]), len(first), labelled)


def _arrange(
    free: np.ndarray, truth: np.ndarray, groups: np.ndarray, scenario: Scenario, n: int, window_size: int, rng: np.random.Generator
) -> np.ndarray:
    """`n` of the rows in `free` as the scenario selects them, arranged so that groups do not meet in a window."""
    # A prior shift needs exactly the rows it asked for, and starts from the whole stream's shares, which earlier replays must not move;
    # of a uniform draw the arrangement may pass over images whose group is in the window.
    wanted = n if scenario.shifts_prior else len(free)
    chosen = free[scenario.select(truth[free], wanted, rng, population=truth)]
    return np.array(list(islice(separate_groups(chosen, groups, window_size), n)), dtype=np.int64)


def fit_to_stream(clean: int, drifted: int, available: int, window_size: int) -> tuple[int, int]:
    """Clean and drifted requests when only `available` images are left: the same proportion, the clean ones in whole windows."""
    if clean + drifted <= available:
        return clean, drifted
    if drifted == 0:
        return available, 0
    windows = round(available * clean / (clean + drifted) / window_size)
    fewer = min(windows * window_size, clean, available)
    return fewer, available - fewer


def separate_groups(rows: np.ndarray, groups: np.ndarray, window_size: int) -> Iterator[int]:
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


def open_stream(description: Description) -> Split:
    """The stream split of a dataset.

    Raises:
        InputError: it has none.
    """
    if not description.counts.get(STREAM):
        raise InputError(
            "the champion's dataset kept no images for a replay: give others with --source, or train in a new store with "
            "--set data_config.stream_share=0.15"
        )
    return open_split(description, STREAM)


def replay_key(store: Store, description: dict[str, Any]) -> str:
    """The key of the replay with this description that has not ended yet.

    Args:
        description: everything that fixes the replay, as JSON values.
    """
    number = 0
    while True:
        key = hashlib.sha256(json.dumps({**description, "number": number}, sort_keys=True).encode()).hexdigest()[:12]
        if not store.exists(f"{RECEIPTS}{key}.json"):
            return key
        number += 1


def leave_receipt(store: Store, key: str, description: dict[str, Any]) -> None:
    """Say that the replay `key` has ended; nothing happens when that was said before."""
    try:
        store.create(f"{RECEIPTS}{key}.json", json.dumps(description, indent=1).encode())
    except Conflict:
        return


def request_id(key: str, sha256: str) -> str:
    """The id under which the replay `key` asks about the source image with this checksum."""
    return f"{REQUEST_MARK}{key}-{image_id(sha256)}"


def image_id(sha256: str) -> str:
    """How request ids name a source image: the beginning of its checksum."""
    return sha256[:IMAGE_ID_DIGITS]


def played_rows(store: Store) -> pd.DataFrame:
    """Every row of every replay in the log: request_id, time, key and image (its `image_id`).

    Reads two columns of each log file, one file at a time.
    """
    parts = [pd.DataFrame({"request_id": pd.Series(dtype=str), "time": pd.Series(dtype="datetime64[us, UTC]")})]
    for entry in store.list(LOGS):
        if entry.key.endswith(".parquet"):
            rows = pq.read_table(io.BytesIO(store.read(entry.key)), columns=["request_id", "time"]).to_pandas()
            parts.append(rows[rows["request_id"].str.startswith(REQUEST_MARK)])
    rows = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    names = rows["request_id"].str.removeprefix(REQUEST_MARK).str.split("-", n=1)
    return rows.assign(key=names.str[0], image=names.str[1])
