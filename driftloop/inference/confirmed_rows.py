"""The production rows that a retraining learns from: requests of the confirmed windows whose image was kept."""

import numpy as np
import pandas as pd

from driftloop.contracts import RANDOM
from driftloop.dataset import UNLABELLED
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.roles import judging, stands_for_accepted
from driftloop.inference.log import STATUS_OK
from driftloop.inference.traffic import LABEL, LABEL_ORIGIN, Traffic, label_indices
from driftloop.inference.watch_tables import WINDOW
from driftloop.settings import RetrainSettings

#: Of a row to learn from.
COLUMNS = ("request_id", "time", "model_version", "window", "group", "tags", "image_sha256", "image", "label", "origin")


def confirmed_rows(traffic: Traffic, coverage: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The rows of the confirmed windows, in time order, with `COLUMNS`.

    `group` is never empty (`group_names`). `label` is an index into `classes`, -1 without a label; `origin` is empty where there is no
    label. An image that somebody gave a class unknown to the model is left out, with its copies: it can neither teach nor stand for
    what is accepted. Of images with the same bytes one row is kept, one with a random label if there is any, else one with a label:
    copies could get two roles.

    Args:
        traffic: of the watch.
        coverage: what `read_coverage` gives.
        classes: of the champion, in order.
    """
    confirmed = coverage[coverage["confirmed"].astype(bool)].drop_duplicates("request_id")
    rows = traffic.rows.drop(columns=WINDOW, errors="ignore").merge(
        confirmed[["request_id", "window"]], on="request_id", how="inner", sort=False
    )
    rows = rows[rows["image"].notna() & (rows["status"] == STATUS_OK)].reset_index(drop=True)
    foreign = rows[LABEL].notna() & ~rows[LABEL].isin(classes)
    rows = rows[~rows["image_sha256"].isin(rows.loc[foreign, "image_sha256"])].reset_index(drop=True)
    labels = label_indices(rows, classes)
    origins = rows[LABEL_ORIGIN].where(rows[LABEL_ORIGIN].notna() & (labels != UNLABELLED), "")
    rows = rows.assign(label=labels, origin=origins.astype(str), group=group_names(rows), tags=rows["tags"].fillna(""))[list(COLUMNS)]
    worth = np.select([rows["origin"] == RANDOM, rows["label"] != UNLABELLED], [0, 1], 2)
    order = np.argsort(worth, kind="stable")
    kept = rows.iloc[order].drop_duplicates("image_sha256").index
    return rows.loc[np.sort(kept)].reset_index(drop=True)


def accepted_rows(rows: pd.DataFrame, settings: RetrainSettings, names: GroupNames) -> np.ndarray:
    """Which rows of the log would stand for what is accepted, (N,) bool, unless a random label gives them another role."""
    return np.array([stands_for_accepted(names.hashed(group), settings) for group in group_names(rows)], dtype=bool)


def judging_rows(rows: pd.DataFrame, settings: RetrainSettings, names: GroupNames) -> np.ndarray:
    """Which rows of the log are kept for the gate, (N,) bool: their random labels have no say in whether to retrain."""
    return judging([names.hashed(group) for group in group_names(rows)], settings)


def group_names(rows: pd.DataFrame) -> pd.Series:
    """The group of each row; a request without one goes by its image's bytes, so that copies stay together."""
    known = rows["group"].notna() & (rows["group"] != "")
    return rows["group"].where(known, "sha256:" + rows["image_sha256"].str[:16]).astype(str)
