"""Which drifted image trains, which stops the training, which is kept for the gate, and which stand for what is accepted from now on.

By group, through a fixed hash: a patient is on one side only, more labels later move nobody, and retraining, gate and reference all
mean the same hold-out.
"""

import numpy as np
import pandas as pd

from driftloop.dataset import UNLABELLED, split_by_group
from driftloop.inference.labels import RANDOM
from driftloop.settings import RetrainSettings

TRAIN, VAL, GATE = "drifted_train", "drifted_val", "drifted_gate"
LABELLED = (TRAIN, VAL, GATE)
REGIME = "regime"
REGIME_PREFIX = f"{REGIME}-"
LEFT_OUT = ""
#: Where a patient that the dataset knows already must go: trained on stays trained on, held out stays held out. The stream is
#: production itself, so its patients are free.
FOLLOWS = {"train": TRAIN, "val": VAL, "test": GATE, "reference": GATE, TRAIN: TRAIN, VAL: VAL, GATE: GATE}
#: The source's own splits were cut by the same hash: without a salt all patients of the stream would fall on one side here.
SALT = "drifted/"


def assign_sides(rows: pd.DataFrame, known: pd.DataFrame, settings: RetrainSettings) -> np.ndarray:
    """The side of each row, (N,) of names: one of `LABELLED`, `REGIME` for an unlabelled one, or `LEFT_OUT`.

    Only uniformly random labels may judge, so others (ranked, imported) train or, where their patient is held out, do nothing.
    An unlabelled row whose patient is trained on, or stops the training, is no witness of what the model accepts unseen.

    Args:
        rows: request_id, group, label, origin.
        known: the parent dataset's samples: path, split, group. Requests that it has already are left out.
        settings: the proportions.
    """
    groups = rows["group"].tolist()
    labelled = (rows["label"] != UNLABELLED).to_numpy(dtype=bool)
    random = labelled & (rows["origin"] == RANDOM).to_numpy(dtype=bool)
    followed = followed_sides(known)
    side_of = hashed_sides(groups, settings) | followed
    judging = {group for group, drawn in zip(groups, random, strict=True) if drawn} | followed.keys()

    sides = np.full(len(rows), LEFT_OUT, dtype=object)
    for row in np.flatnonzero(labelled):
        side = side_of[groups[row]]
        if random[row] or side == TRAIN:
            sides[row] = side
        elif groups[row] not in judging:
            sides[row] = TRAIN
    seen = {group for group, side in (*followed.items(), *zip(groups, sides, strict=True)) if side in (TRAIN, VAL)}
    sides[[not has and group not in seen for has, group in zip(labelled, groups, strict=True)]] = REGIME
    sides[rows["request_id"].isin(known["path"]).to_numpy(dtype=bool)] = LEFT_OUT
    return sides


def hashed_sides(groups: list[str], settings: RetrainSettings) -> dict[str, str]:
    """The side of each group by its name alone, in the proportions of the settings."""
    shares = {TRAIN: settings.train_parts, VAL: settings.val_parts, GATE: settings.gate_parts}
    names = sorted(set(groups))
    return dict(zip(names, split_by_group([SALT + name for name in names], shares), strict=True))


def followed_sides(known: pd.DataFrame) -> dict[str, str]:
    """The side of each group that the dataset knows; one that was ever trained on is trained on, whatever else it was."""
    sides: dict[str, str] = {}
    for split, group in known[["split", "group"]].drop_duplicates().itertuples(index=False):
        side = GATE if split.startswith(REGIME_PREFIX) else FOLLOWS.get(split, LEFT_OUT)
        if side and (group not in sides or LABELLED.index(side) < LABELLED.index(sides[group])):
            sides[group] = side
    return sides
