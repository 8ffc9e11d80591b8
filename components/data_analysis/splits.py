"""Which split each image goes to: the source's own, and what it lacks cut from its training images by group."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from driftloop.contracts import SPLITS, TEST, TRAIN, VAL
from driftloop.dataset.splitting import hash_position, split_by_group
from driftloop.errors import InputError
from driftloop.settings import DataSettings

#: Without each class in these, nothing can be trained or judged.
NEEDED = (TRAIN, VAL, TEST)


def assign_splits(frame: pd.DataFrame, settings: DataSettings, source: str) -> pd.DataFrame:
    """The frame with `split` filled in.

    A class that by bad luck has no group in a split that is cut gets the one whose hash lies nearest to it.

    Args:
        frame: audited rows with source_split, group and label.
        settings: the shares.
        source: for messages.

    Raises:
        InputError: a class has too few groups to be in train, val and test, or the source's own split lacks a class.
    """
    own = set(frame["source_split"]) - {"", TRAIN}
    shares = {split: float(getattr(settings, f"{split}_share")) for split in SPLITS if split not in own}
    free = frame["source_split"].isin(["", TRAIN]).to_numpy()
    split = frame["source_split"].to_numpy(object).copy()
    split[free] = split_by_group(frame.loc[free, "group"].tolist(), shares)
    frame = frame.assign(split=split)
    for name in (name for name in shares if name != TRAIN and shares[name] > 0):
        for label in sorted(set(frame["label"])):
            frame = _with_class_in(frame, free, name, label, shares, source)
    _check_own(frame, source)
    return frame


def _with_class_in(frame: pd.DataFrame, free: np.ndarray, split: str, label: str, shares: Mapping[str, float], source: str) -> pd.DataFrame:
    """Move one group of the class from train to the split if it has none there."""
    of_class = (frame["label"] == label).to_numpy()
    if (of_class & (frame["split"] == split)).any():
        return frame
    groups = sorted(set(frame.loc[of_class & free & (frame["split"] == TRAIN).to_numpy(), "group"]))
    if len(groups) < 2:
        if split not in NEEDED:
            return frame
        total = frame.loc[of_class, "group"].nunique()
        raise InputError(
            f"{source}: class '{label}' has images of only {total} patients or sites, too few for each of {', '.join(NEEDED)}; "
            f"add more, or check data_config.group_pattern"
        )
    target = _middle(split, shares)
    nearest = min(groups, key=lambda group: (abs(hash_position(group) - target), group))
    return frame.assign(split=frame["split"].mask(frame["group"] == nearest, split))


def _middle(split: str, shares: Mapping[str, float]) -> float:
    names = list(shares)
    before = sum(shares[name] for name in names[: names.index(split)])
    return (before + shares[split] / 2) / sum(shares.values())


def _check_own(frame: pd.DataFrame, source: str) -> None:
    counts = frame.groupby(["split", "label"]).size()
    for split in NEEDED:
        for label in sorted(set(frame["label"])):
            if (split, label) not in counts.index:
                raise InputError(f"{source}: no usable images of class '{label}' in {split}; add some, or leave the {split} folder out")
