"""Cutting the rows of a log into windows: in time order, of one size, one image a group in each.

Images of one patient (source, cluster of near-duplicates) are not independent: with each image twice in a window a test at 5 %
alarms far too often. So a window counts groups, and exact copies of an image count once.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class CutWindow:
    """Positions in the rows that were cut: `rows` all requests of the window, `sample` one for each group, both ascending."""

    rows: np.ndarray
    sample: np.ndarray


@dataclass(frozen=True)
class Cut:
    """The windows, oldest first; the rows at the end that wait for more, with their groups and distinct images; windows left out."""

    windows: list[CutWindow]
    waiting: int
    waiting_groups: int
    waiting_images: int
    skipped: int

    @property
    def stuck(self) -> bool:
        """Whether the waiting rows are mostly copies of the same few images: a dead camera rather than a quiet night."""
        return self.waiting >= 100 and self.waiting_images * 10 <= self.waiting


def effective_size(window_size: int, reference_rows: int) -> int:
    """At most a quarter of the reference: against a smaller one the level of the test depends on its luck."""
    return max(2, min(window_size, reference_rows // 4))


def cut(rows: pd.DataFrame, *, size: int, minimum: int, most: int) -> Cut:
    """Cut rows into windows of `size` distinct groups each.

    A window ends where its next new group would be one too many; further images of its own groups still belong to it. What is left
    at the end is judged as a smaller window if it has at least `minimum` groups, else it waits for the next watch.

    Args:
        rows: request_id, group and image_sha256, in time order.
        size: groups in a window.
        minimum: groups in the last one, at least 2.
        most: windows to return; the newest are.
    """
    windows: list[CutWindow] = []
    start = 0
    picked: list[int] = []
    groups: set[str] = set()
    copies: set[str] = set()
    keys = _keys(rows)
    for position, (group, copy) in enumerate(keys):
        if group in groups or copy in copies:
            continue
        if len(picked) == size:
            windows.append(CutWindow(np.arange(start, position), np.array(picked)))
            start, picked, groups, copies = position, [], set(), set()
        picked.append(position)
        groups.add(group)
        copies.add(copy)
    if len(picked) >= max(2, min(minimum, size)):
        windows.append(CutWindow(np.arange(start, len(rows)), np.array(picked)))
        start = len(rows)
    waiting = keys[start:]
    return Cut(
        windows=windows[-most:],
        waiting=len(waiting),
        waiting_groups=len({group for group, _ in waiting}),
        waiting_images=len({copy for _, copy in waiting}),
        skipped=max(0, len(windows) - most),
    )


def _keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """For each row what it must not share with another of its window: the group (or itself) and the image's bytes (or itself)."""
    names = [f"request {name}" for name in rows["request_id"]]
    return list(zip(_or(rows["group"], names), _or(rows["image_sha256"], names), strict=True))


def _or(values: pd.Series, names: list[str]) -> list[str]:
    """The values, and a name where there is none."""
    return [value if isinstance(value, str) and value else name for value, name in zip(values, names, strict=True)]
