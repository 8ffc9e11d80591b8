"""Splits by group: who is on an image is read from its file name, and a stable hash of that picks the split.

So one patient never sits on two sides, and adding images does not move the others.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from driftloop.errors import SettingError

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


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], ...]:
    """The patterns to use: the user's own, or the known ones when it is empty.

    Raises:
        SettingError: not a valid regular expression, or one without a group.
    """
    if not pattern:
        return KNOWN_PATTERNS
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"data_config.group_pattern: {pattern!r} is not a valid regular expression ({error})") from None
    if compiled.groups < 1:
        raise SettingError(f"data_config.group_pattern: {pattern!r} needs a group in parentheses around the patient, as in '(person\\d+)_'")
    return (compiled,)


def group_of(name: str, sha256: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    """The group of a file called `name`: what a pattern finds in it, else the file's content, which no renaming changes."""
    for pattern in patterns:
        match = pattern.search(name)
        if match and match.group(1):
            return match.group(1)
    return f"sha256:{sha256[:16]}"


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
