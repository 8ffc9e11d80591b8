"""What each drifted image is for: it trains, stops the training, is kept for the gate, or stands for what is accepted from now on.

Decided by group, through fixed hashes, before anything is ranked: a patient has one role only, more labels later change nobody's, and
retraining, gate and reference all mean the same hold-out. Were the most shifted images taken out of the accepted regime because
somebody labelled them, its tail would be missing, and the accepted drift would alarm.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from driftloop.contracts import (
    DRIFTED_GATE,
    DRIFTED_SPLITS,
    DRIFTED_TRAIN,
    DRIFTED_VAL,
    RANDOM,
    RECENT_GATE,
    REFERENCE,
    REGIME_PREFIX,
    TEST,
    TRAIN,
    VAL,
)
from driftloop.dataset import UNLABELLED, split_by_group
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.splitting import hash_position
from driftloop.settings import RetrainSettings

#: With fewer labels in a role there is nothing to learn from, to stop by, or to judge by.
LEAST_LABELS = {DRIFTED_TRAIN: 10, DRIFTED_VAL: 1, DRIFTED_GATE: 10}
#: The roles as a sentence names them.
PURPOSES = {DRIFTED_TRAIN: "training", DRIFTED_VAL: "early stopping", DRIFTED_GATE: "the gate"}
#: Role of an image without a random label that stands for what is accepted. Others have the name of their split as their role, one of
#: `DRIFTED_SPLITS`.
REGIME = "regime"
#: Role of an image that is not used.
LEFT_OUT = ""
#: Where a patient that the dataset knows already must go: trained on stays trained on, held out stays held out. The stream is
#: production itself, so its patients are free.
ROLE_OF_SPLIT = {
    TRAIN: DRIFTED_TRAIN,
    VAL: DRIFTED_VAL,
    TEST: DRIFTED_GATE,
    REFERENCE: DRIFTED_GATE,
    **{split: split for split in DRIFTED_SPLITS},
    RECENT_GATE: DRIFTED_GATE,
}
#: The source's own splits were cut by the same hash: without a salt all patients of the stream would get one role here.
SALT = "drifted/"
#: A regime must not be cut by the hash that gives random labels their roles.
REGIME_SALT = "regime/"


def assign_roles(rows: pd.DataFrame, known: pd.DataFrame, settings: RetrainSettings, names: GroupNames) -> np.ndarray:
    """The role of each row, (N,) of names: one of `DRIFTED_SPLITS`, `REGIME`, or `LEFT_OUT`.

    Uniformly random labels train, stop or judge, by the hash of their patient. Other rows of a patient who `stands_for_accepted` are the
    regime, whether somebody chose to label them (ranked, imported) or not, unless he is trained on or stops the training: what was
    learned does not show what the model accepts unseen. Of the remaining patients labels that were chosen train, where no random label
    of his is held out.

    Args:
        rows: request_id, group, label, origin.
        known: the parent dataset's samples: path, split, group. Requests that it has already are left out.
        settings: the proportions.
        names: of the store: a patient whom the dataset knows by name is the same one whom the log knows by a hash.
    """
    groups = [names.hashed(group) for group in rows["group"]]
    labelled = (rows["label"] != UNLABELLED).to_numpy(dtype=bool)
    random = labelled & (rows["origin"] == RANDOM).to_numpy(dtype=bool)
    given = known_roles(known.assign(group=[names.hashed(group) for group in known["group"].astype(str)]))
    role_of = hashed_roles(groups, settings) | given
    accepted = {group for group in set(groups) if stands_for_accepted(group, settings)}
    judging = {group for group, drawn in zip(groups, random, strict=True) if drawn} | given.keys()

    roles = np.full(len(rows), LEFT_OUT, dtype=object)
    for row, group in enumerate(groups):
        if random[row]:
            roles[row] = role_of[group]
        elif group in accepted:
            roles[row] = LEFT_OUT if group in judging and role_of[group] != DRIFTED_GATE else REGIME
        elif labelled[row] and (role_of[group] == DRIFTED_TRAIN or group not in judging):
            roles[row] = DRIFTED_TRAIN
    roles[rows["request_id"].isin(known["path"]).to_numpy(dtype=bool)] = LEFT_OUT
    return roles


def stands_for_accepted(group: str, settings: RetrainSettings) -> bool:
    """Whether the rows of this patient that have no random label stand for what is accepted: labelling them teaches nothing.

    Args:
        group: as it is logged (hashed, in a store with a service).
        settings: the share of them.
    """
    return hash_position(REGIME_SALT + group) < settings.regime_share


def judging(groups: list[str], settings: RetrainSettings) -> np.ndarray:
    """Whose random labels are kept for the gate, (N,) bool: they must not have a say in whether to retrain.

    Args:
        groups: as they are logged (hashed, in a store with a service); a request without one goes by `confirmed_rows.group_names`.
        settings: the proportions.
    """
    roles = hashed_roles(groups, settings)
    return np.array([roles[group] == DRIFTED_GATE for group in groups], dtype=bool)


def hashed_roles(groups: list[str], settings: RetrainSettings) -> dict[str, str]:
    """The role of each group by its name alone, in the proportions of the settings."""
    shares = {DRIFTED_TRAIN: settings.train_parts, DRIFTED_VAL: settings.val_parts, DRIFTED_GATE: settings.gate_parts}
    names = sorted(set(groups))
    return dict(zip(names, split_by_group([SALT + name for name in names], shares), strict=True))


def known_roles(known: pd.DataFrame) -> dict[str, str]:
    """The role of each group that the dataset knows; one that was ever trained on is trained on, whatever else it was."""
    roles: dict[str, str] = {}
    for split, group in known[["split", "group"]].drop_duplicates().itertuples(index=False):
        role = DRIFTED_GATE if split.startswith(REGIME_PREFIX) else ROLE_OF_SPLIT.get(split, LEFT_OUT)
        if role and (group not in roles or DRIFTED_SPLITS.index(role) < DRIFTED_SPLITS.index(roles[group])):
            roles[group] = role
    return roles


def count_labels(roles: np.ndarray) -> dict[str, int]:
    """Labelled images in each of the three roles that need labels."""
    return {role: int((roles == role).sum()) for role in DRIFTED_SPLITS}


def missing_labels(counts: Mapping[str, int], settings: RetrainSettings, which: str = "of the confirmed drift") -> str:
    """Why a retraining cannot begin with these labelled images: how many there are and how many are needed; empty where it can.

    Args:
        counts: labelled images by role, of `count_labels`.
        settings: how many are needed in all.
        which: the images, in words.
    """
    total = sum(counts.values())
    there = ", ".join(f"{counts[role]} for {PURPOSES[role]}" for role in DRIFTED_SPLITS)
    if total < settings.needed_labels:
        needed = f"{settings.needed_labels} are needed: {settings.needed_labels - total} more"
        return f"{total} labelled images {which} ({there}), {needed}"
    for role, least in LEAST_LABELS.items():
        if counts[role] < least:
            return (
                f"{counts[role]} labelled drifted images for {PURPOSES[role]}, at least {least} are needed (there are {there}; "
                "only uniformly random labels count for early stopping and the gate)"
            )
    return ""
