"""Which split each image goes to: the source's own, and what it lacks cut from its training images by group.

What no later step could work with is refused here, and what it could hardly decide by is said, before anything is trained.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from driftloop.contracts import LEAST_GROUPS, REFERENCE, REGIME_WINDOWS, SPLITS, STREAM, TEST, TRAIN, VAL
from driftloop.dataset.splitting import CONTENT, balanced_split, hash_position, split_by_group
from driftloop.errors import InputError
from driftloop.plurals import counted

#: Without each class in these, nothing can be trained or judged.
NEEDED = (TRAIN, VAL, TEST)
#: Groups of equal size that a class should have in the smallest split for a hash to meet its share (within a fifth, mostly).
HASHED_GROUPS = 30
#: Groups of the reference from which on it is a good one.
SURE_GROUPS = REGIME_WINDOWS * LEAST_GROUPS
#: Classes that a note names.
MOST_NAMED = 5
#: From how many groups in all a split that is cut gets `LEAST_GROUPS`, whatever its share.
FLOOR_FROM = {REFERENCE: 2 * LEAST_GROUPS, TEST: 5 * LEAST_GROUPS}


def assign_splits(frame: pd.DataFrame, shares: Mapping[str, float], source: str, known: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The frame with `split` filled in.

    Many groups are split by a hash, few are balanced. A class that then has no group in a split that is cut gets the one whose hash
    lies nearest to it.

    Args:
        frame: audited rows with source_split, group and label.
        shares: by split.
        source: for messages.
        known: the split of groups that an earlier dataset has: they stay there.

    Raises:
        InputError: a class has too few groups to be in train, val and test, or the source's own split lacks a class.
    """
    own = set(frame["source_split"]) - {"", TRAIN}
    shares = {split: share for split, share in shares.items() if split not in own}
    free = frame["source_split"].isin(["", TRAIN]).to_numpy()
    split = frame["source_split"].to_numpy(object).copy()
    known = {group: place for group, place in (known or {}).items() if place in shares}
    split[free] = _cut(frame[free], shares, known)
    frame = frame.assign(split=split)
    movable = free & ~frame["group"].isin(known).to_numpy()
    for name in (name for name in shares if name != TRAIN and shares[name] > 0):
        for label in sorted(set(frame["label"])):
            frame = _with_class_in(frame, movable, name, label, shares, source)
    _check_own(frame, source)
    return frame


def _cut(frame: pd.DataFrame, shares: Mapping[str, float], known: Mapping[str, str]) -> np.ndarray:
    """The split of each of the rows that the source left to us."""
    groups, labels = frame["group"].tolist(), frame["label"].tolist()
    smallest = min(share for share in shares.values() if share > 0) / sum(shares.values())
    if equal_groups(frame) * smallest >= HASHED_GROUPS:
        hashed = split_by_group(groups, shares)
        return np.array([known.get(group, place) for group, place in zip(groups, hashed, strict=True)], dtype=object)
    count = len(set(groups))
    floors = {split: LEAST_GROUPS for split, least in FLOOR_FROM.items() if shares.get(split, 0) > 0 and count >= least}
    # Ties go to the first split: in the order of SPLITS few groups lie where earlier releases put them.
    in_order = {split: shares[split] for split in SPLITS if split in shares}
    return balanced_split(groups, labels, in_order, known, floors)


def equal_groups(frame: pd.DataFrame) -> float:
    """How many groups of equal size the rows are worth (Kish), in the class where that is least; rows with group and label."""
    sizes = frame.groupby(["label", "group"]).size()
    return float(min((part.sum() ** 2 / (part**2).sum() for _, part in sizes.groupby(level="label")), default=0.0))


def check_replayable(frame: pd.DataFrame, shares: Mapping[str, float], source: str) -> None:
    """Refuse what a pipeline that replays traffic would train for an hour and then have nothing to replay from.

    Raises:
        InputError: no image is in the stream.
    """
    if not (frame["split"] == STREAM).any():
        cure = "add images or give another --store" if shares[STREAM] > 0 else "raise data_config.stream_share"
        why = "each stays where an earlier dataset has it" if shares[STREAM] > 0 else "its share is 0"
        raise InputError(f"{source}: no image is left to replay as traffic ({why}); {cure}")


def check_decidable(frame: pd.DataFrame, source: str) -> list[str]:
    """What a later step could hardly decide by these splits, a sentence each.

    Raises:
        InputError: no drift could be seen, whatever the training gives.
    """
    groups = frame.groupby("split")["group"].nunique()
    references = int(groups.get(REFERENCE, 0))
    if references < LEAST_GROUPS:
        named = sorted(group for group in set(frame["group"]) if not group.startswith(CONTENT))
        kind = f"patients, lots or sites by the file names, such as {named[0]}" if named else "single images"
        # A site is taken for a patient where the names tell nothing finer to the known patterns.
        apart = ", or say by data_config.group_pattern what one patient is: '(.+)' lets each image count by itself" if named else ""
        raise InputError(
            f"{source}: the drift reference gets images of {references} of {frame['group'].nunique()} distinct groups ({kind}), at least "
            f"{LEAST_GROUPS} are needed; add images of more groups, raise data_config.reference_share{apart}"
        )
    notes = []
    if references < SURE_GROUPS:
        notes.append(
            f"The drift reference has images of only {references} groups: whether clean windows alarm as rarely as promised depends on its "
            f"luck, and only strong drifts show; {SURE_GROUPS} groups are good."
        )
    sizes = frame.groupby("split").size()
    if groups[TEST] < LEAST_GROUPS <= sizes[TEST]:
        notes.append(
            f"The test split has {sizes[TEST]} images of only {counted(int(groups[TEST]), 'group')}: images of one group resemble each "
            f"other, so the gate can hardly tell a better model by them; {LEAST_GROUPS} groups are the least, some tens are good."
        )
    of_class = frame[frame["split"] == TEST].groupby("label")["group"].nunique()
    scarce = [f"{label} ({count})" for label, count in of_class.items() if count < LEAST_GROUPS <= groups[TEST]]
    if scarce:
        listed = ", ".join(scarce[:MOST_NAMED]) + (f" and {len(scarce) - MOST_NAMED} more" if scarce[MOST_NAMED:] else "")
        notes.append(
            f"The test split has too few groups of {listed} to tell well how often such images are recognised; {LEAST_GROUPS} groups of a "
            "class are the least, some tens are good."
        )
    share = sizes[REFERENCE] / len(frame)
    if share > 0.2 and not (frame["source_split"] == REFERENCE).any():
        notes.append(
            f"Of {frame['group'].nunique()} groups the drift reference takes {references} ({share:.0%} of the images), since fewer show no "
            f"drift; {sizes[TRAIN] / len(frame):.0%} of the images are left to train on."
        )
    return notes


def _with_class_in(
    frame: pd.DataFrame, movable: np.ndarray, split: str, label: str, shares: Mapping[str, float], source: str
) -> pd.DataFrame:
    """Move one group of the class to the split if it has none there: from train, or else from where the class is not needed."""
    of_class = (frame["label"] == label).to_numpy()
    if (of_class & (frame["split"] == split)).any():
        return frame
    in_train = of_class & (frame["split"] == TRAIN).to_numpy()
    groups = sorted(set(frame.loc[in_train & movable, "group"])) if frame.loc[in_train, "group"].nunique() > 1 else []
    if not groups and split in NEEDED:
        groups = sorted(set(frame.loc[of_class & movable & ~frame["split"].isin(NEEDED).to_numpy(), "group"]))
        if not groups:
            total = counted(frame.loc[of_class, "group"].nunique(), "patient or site", "patients or sites")
            raise InputError(
                f"{source}: class '{label}' has images of only {total}, too few for each of {', '.join(NEEDED)}; "
                f"add more, or check data_config.group_pattern"
            )
    if not groups:
        return frame
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
