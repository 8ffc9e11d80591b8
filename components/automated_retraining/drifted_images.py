"""The drifted images to learn from: requests of the confirmed windows whose image was kept, and what each of them is for.

A retraining that cannot succeed is refused here: too few labels to train, to stop the training, or to judge by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.automated_retraining.grown_dataset import known_samples
from components.automated_retraining.roles import assign_roles
from driftloop.contracts import DRIFTED_GATE, DRIFTED_SPLITS, DRIFTED_TRAIN, DRIFTED_VAL, LABEL_REQUESTS, RANDOM, WINDOW_ROWS
from driftloop.dataset import UNLABELLED, Description
from driftloop.errors import InputError
from driftloop.inference.traffic import IMAGE_INDEX, LABEL, LABEL_ORIGIN, Traffic, label_indices
from driftloop.settings import RetrainSettings
from driftloop.store import Store

#: Of a row to learn from.
COLUMNS = ("request_id", "time", "model_version", "window", "group", "image_sha256", "image_index", "label", "origin")
#: With fewer labels in a role there is nothing to learn from, to stop by, or to judge by.
LEAST_LABELS = {DRIFTED_TRAIN: 10, DRIFTED_VAL: 1, DRIFTED_GATE: 10}
#: The roles as a sentence names them.
PURPOSES = {DRIFTED_TRAIN: "training", DRIFTED_VAL: "early stopping", DRIFTED_GATE: "the gate"}
CURE = f"label the images in {LABEL_REQUESTS} of the drift evidence and bring them in with 'driftloop labels import FILE.csv'"


@dataclass(frozen=True)
class DriftedImages:
    """What a retraining learns from."""

    parent: Description
    """the champion's dataset"""
    rows: pd.DataFrame
    """requests of the confirmed windows, with `COLUMNS`"""
    roles: np.ndarray
    """what each row is for, (N,), from `assign_roles`"""
    unknown_labels: dict[str, int]
    """labels that are not a class of the model, with their numbers"""
    window_rows: int
    """rows of a window"""


def collect_drifted_images(
    store: Store, traffic: Traffic, coverage: pd.DataFrame, parent: Description, settings: RetrainSettings
) -> DriftedImages:
    """Collect the rows and decide what each is for.

    Args:
        store: the model's home.
        traffic: of the watch.
        coverage: what `read_coverage` gives.
        parent: the champion's dataset.
        settings: the proportions, and how many labels are needed.

    Raises:
        InputError: too few labels.
    """
    rows = confirmed_rows(traffic, coverage, parent.classes)
    roles = assign_roles(rows, known_samples(store, parent), settings)
    unknown = unknown_labels(traffic, coverage, parent.classes)
    require_labels(count_labels(roles), settings, unknown=unknown)
    return DriftedImages(parent, rows, roles, unknown, rows_per_window(coverage))


def read_coverage(evidence: str | Path) -> pd.DataFrame:
    """Which request lies in which window, and whether that window took part in a confirmation.

    Returns:
        One row a request of a window: request_id, window, drifted, confirmed.

    Raises:
        InputError: the directory holds no drift evidence.
    """
    path = Path(evidence, WINDOW_ROWS)
    if not path.exists():
        raise InputError(f"{evidence}: no {WINDOW_ROWS}; pass the `evidence` output of drift_detection")
    return pd.read_parquet(path)


def confirmed_rows(traffic: Traffic, coverage: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The rows of the confirmed windows, in time order, with `COLUMNS`.

    `group` is never empty: a request without one gets its image's bytes as its group, so that copies stay together. `label` is an
    index into `classes`, -1 without a label or with one that is not a class of the model; `origin` is empty where there is no label.
    Of images with the same bytes one row is kept, one with a random label if there is any, else one with a label: copies could get
    two roles.

    Args:
        traffic: of the watch.
        coverage: what `read_coverage` gives.
        classes: of the champion, in order.
    """
    confirmed = coverage[coverage["confirmed"].astype(bool)].drop_duplicates("request_id")
    rows = traffic.rows.merge(confirmed[["request_id", "window"]], on="request_id", how="inner", sort=False)
    rows = rows[(rows[IMAGE_INDEX] >= 0) & (rows["status"] == "ok")].reset_index(drop=True)
    labels = label_indices(rows, classes)
    origins = rows[LABEL_ORIGIN].where(rows[LABEL_ORIGIN].notna() & (labels != UNLABELLED), "")
    rows = rows.assign(label=labels, origin=origins.astype(str), group=_groups(rows))[list(COLUMNS)]
    worth = np.select([rows["origin"] == RANDOM, rows["label"] != UNLABELLED], [0, 1], 2)
    order = np.argsort(worth, kind="stable")
    kept = rows.iloc[order].drop_duplicates("image_sha256").index
    return rows.loc[np.sort(kept)].reset_index(drop=True)


def unknown_labels(traffic: Traffic, coverage: pd.DataFrame, classes: list[str]) -> dict[str, int]:
    """Labels of the confirmed windows that are not a class of the model, with their numbers: nothing can be learned from them here."""
    confirmed = traffic.rows["request_id"].isin(coverage.loc[coverage["confirmed"].astype(bool), "request_id"])
    named = traffic.rows.loc[confirmed & traffic.rows[LABEL].notna(), LABEL]
    counts = named[~named.isin(classes)].value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def rows_per_window(coverage: pd.DataFrame) -> int:
    """Rows of a confirmed window, the median over them; 0 where none is confirmed."""
    sizes = coverage.loc[coverage["confirmed"].astype(bool), "window"].value_counts()
    return int(sizes.median()) if len(sizes) else 0


def count_labels(roles: np.ndarray) -> dict[str, int]:
    """Labelled images in each of the three roles that need labels."""
    return {role: int((roles == role).sum()) for role in DRIFTED_SPLITS}


def require_labels(counts: Mapping[str, int], settings: RetrainSettings, *, unknown: Mapping[str, int]) -> None:
    """Check the labels of the confirmed windows.

    Args:
        counts: labelled images by role.
        settings: how many are needed in all.
        unknown: labels that are not a class of the model.

    Raises:
        InputError: too few, with how many there are, how many are missing and how to label.
    """
    total = sum(counts.values())
    besides = f"; {sum(unknown.values())} more are labelled {', '.join(sorted(unknown))}, which this model does not know" if unknown else ""
    there = ", ".join(f"{counts[role]} for {PURPOSES[role]}" for role in DRIFTED_SPLITS)
    if total < settings.minimum_labels:
        missing = settings.minimum_labels - total
        raise InputError(
            f"retraining: {total} labelled images of the confirmed drift ({there}){besides}, {settings.minimum_labels} are needed: "
            f"{missing} more; {CURE}"
        )
    for role, least in LEAST_LABELS.items():
        if counts[role] < least:
            raise InputError(
                f"retraining: {counts[role]} labelled drifted images for {PURPOSES[role]}, at least {least} are needed (there are {there}; "
                f"only uniformly random labels count for early stopping and the gate){besides}; {CURE}"
            )


def _groups(rows: pd.DataFrame) -> pd.Series:
    known = rows["group"].notna() & (rows["group"] != "")
    return rows["group"].where(known, "sha256:" + rows["image_sha256"].str[:16]).astype(str)
