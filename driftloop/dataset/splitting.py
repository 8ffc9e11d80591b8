"""Splits by group: who is on an image is read from its file name, so that one patient never sits on two sides.

Many groups are split by a stable hash of the name, which meets the shares by their number. Few are balanced, by their sizes and classes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from driftloop.spelling import composed

#: Patterns of well-known layouts, tried in order; the first group of the match names the patient or site.
KNOWN_PATTERNS = (
    # Kaggle's chest X-rays. Bacterial and viral images of one number are taken as one patient: too large a group leaks nothing.
    re.compile(r"^(person\d+)_(?:bacteria|virus)_\d+"),
    re.compile(r"^((?:[A-Z]+\d*-)?IM-\d+)-\d+"),
    # Their original by Kermany et al. (Mendeley Data).
    re.compile(r"^((?:BACTERIA|VIRUS|NORMAL)-\d+)-\d+"),
    # NIH ChestX-ray14.
    re.compile(r"^(\d{8})_\d{3}\b"),
    re.compile(r"^((?:patient|person|subject|case|site)[-_]?\d+)(?![0-9])", re.IGNORECASE),
)


#: How the name of a group begins that no file name tells: its only image's content follows.
CONTENT = "sha256:"
#: Up to so many groups change places after they were dealt out; of more each is too small to matter.
SWAPPED_GROUPS = 200


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], ...]:
    """The patterns to use: the user's own, which `DataSettings` has checked, or the known ones when it is empty."""
    return (re.compile(composed(pattern)),) if pattern else KNOWN_PATTERNS


def group_of(name: str, sha256: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    """The group of a file called `name`: what a pattern finds in it, else the file's content, which no renaming changes."""
    for pattern in patterns:
        match = pattern.search(composed(name))
        if match and match.group(_group(pattern)):
            return str(match.group(_group(pattern)))
    return f"{CONTENT}{sha256[:16]}"


def pattern_tags(name: str, patterns: tuple[re.Pattern[str], ...]) -> dict[str, str]:
    """The tags of a file called `name`: the named groups of the first pattern found in it, but for that of the patient."""
    for pattern in patterns:
        match = pattern.search(composed(name))
        if match:
            own = _group(pattern)
            named = {tag: number for tag, number in pattern.groupindex.items() if own not in (tag, number)}
            return {tag: match.group(number) for tag, number in named.items() if match.group(number)}
    return {}


def _group(pattern: re.Pattern[str]) -> str | int:
    """Which of a pattern's groups is the patient: the one called `group`, else the first."""
    return "group" if "group" in pattern.groupindex else 1


def hash_position(group: str) -> float:
    """Where a group falls in [0, 1): by its name alone, the same on every machine, whatever the seed and the other groups."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64


def split_by_group(groups: Sequence[str], shares: Mapping[str, float]) -> np.ndarray:
    """The split of each image, (N,) of names: its group's position among the cumulative shares.

    Args:
        groups: by image.
        shares: by split, in order; they are divided by their sum. Splits with the share 0 get nothing.

    Raises:
        ValueError: shares that are negative or all 0.
    """
    names, sizes = list(shares), np.array(list(shares.values()), np.float64)
    if (sizes < 0).any() or sizes.sum() == 0:
        raise ValueError(f"shares must not be negative, nor all 0: {dict(shares)}")
    edges = np.cumsum(sizes) / sizes.sum()
    where = {group: names[min(int(np.searchsorted(edges, hash_position(group), side="right")), _last(sizes))] for group in set(groups)}
    return np.array([where[group] for group in groups], dtype=object)


def _last(sizes: np.ndarray) -> int:
    """The last split with a share; rounding of the edges must not put a group into one without."""
    return int(np.flatnonzero(sizes)[-1])


def balanced_split(
    groups: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], known: Mapping[str, str], floors: Mapping[str, int]
) -> np.ndarray:
    """The split of each image, (N,) of names, so that each split gets its share of every class, of all images, and of the groups.

    Group after group, the largest first and equal ones in the order of their hashes, goes where the squared deviations from what the
    shares promise, each divided by the promise, grow least. For groups of one image that is Sainte-Lague's division of seats. Few groups
    then change places, two at a time, as long as that makes the deviations smaller.

    Args:
        groups: by image.
        labels: the class of each.
        shares: by split, in order; they are divided by their sum. Splits with the share 0 get nothing.
        known: the split of groups that have one already.
        floors: least number of groups of a split; its share grows so far. Where the balance still gives fewer, the smallest of other
            splits join, but never the last one of a split.

    Raises:
        ValueError: shares that are negative or all 0.
    """
    splits, parts = list(shares), np.array(list(shares.values()), np.float64)
    if (parts < 0).any() or parts.sum() == 0:
        raise ValueError(f"shares must not be negative, nor all 0: {dict(shares)}")
    names, classes = sorted(set(groups)), sorted(set(labels))
    group_number, label_number = ({name: number for number, name in enumerate(all_names)} for all_names in (names, classes))
    group = np.array([group_number[name] for name in groups], np.int64)
    by_class = np.zeros((len(names), len(classes)))
    np.add.at(by_class, (group, np.array([label_number[name] for name in labels], np.int64)), 1)
    counts = np.column_stack([by_class, by_class.sum(1), np.ones(len(names))])
    used = np.flatnonzero(parts > 0)
    parts = _with_floors(parts / parts.sum(), {splits.index(split): floor / len(names) for split, floor in floors.items()})
    promised = np.outer(parts[used], counts.sum(0))
    filled = np.zeros_like(promised)

    # By number of split; -1 for a group that has none yet.
    where = np.array([splits.index(known[name]) if known.get(name) in shares else -1 for name in names], np.int64)
    for row, index in enumerate(used):
        filled[row] = counts[where == index].sum(0)
    free = [number for number in range(len(names)) if where[number] < 0]
    for number in sorted(free, key=lambda number: (-counts[number, -2], hash_position(names[number]))):
        at = np.flatnonzero(counts[number])
        size, so_far, goal = counts[number, at], filled[:, at], promised[:, at]
        row = int(np.argmin((size * (2 * (so_far - goal) + size) / goal).sum(1)))
        where[number] = used[row]
        filled[row] += counts[number]

    if len(free) <= SWAPPED_GROUPS:
        _swap(where, counts, np.array(free, np.int64), promised, filled, {int(split): row for row, split in enumerate(used)})
    numbers = {splits.index(split): floor for split, floor in floors.items()}
    for number in sorted(free, key=lambda number: (counts[number, -2], hash_position(names[number]))):
        held = np.bincount(where, minlength=len(splits))
        short = [split for split, floor in numbers.items() if held[split] < floor]
        if short and held[where[number]] > numbers.get(int(where[number]), 1):
            where[number] = short[0]
    return np.array(splits, dtype=object)[where[group]]


def _swap(
    where: np.ndarray, counts: np.ndarray, free: np.ndarray, promised: np.ndarray, filled: np.ndarray, row_of: Mapping[int, int]
) -> None:
    """Let pairs of the free groups change places, in `where` and `filled`, until no pair would bring the splits nearer to the promise."""
    improved = True
    while improved:
        improved = False
        for number in free:
            here = row_of[int(where[number])]
            there = np.array([row_of[int(split)] for split in where[free]])
            change = counts[free] - counts[number]
            apart = filled - promised
            grown = (change * (change + 2 * apart[here]) / promised[here] + change * (change - 2 * apart[there]) / promised[there]).sum(1)
            best = int(np.argmin(np.where(there == here, 0.0, grown)))
            if there[best] != here and grown[best] < -1e-9:
                filled[here] += change[best]
                filled[there[best]] -= change[best]
                where[number], where[free[best]] = where[free[best]], where[number]
                improved = True


def _with_floors(parts: np.ndarray, floors: Mapping[int, float]) -> np.ndarray:
    """The shares, which sum to 1, raised where they lie below their floors, by number of split; the others shrink alike."""
    raised: dict[int, float] = {}
    while below := {number: floor for number, floor in floors.items() if parts[number] < floor - 1e-12}:
        raised |= below
        others = np.setdiff1d(np.arange(len(parts)), list(raised))
        parts = parts.copy()
        parts[others] *= (1 - sum(raised.values())) / parts[others].sum()
        parts[list(raised)] = list(raised.values())
    return parts
