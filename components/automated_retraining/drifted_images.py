"""The drifted images to learn from: requests of the confirmed windows whose image was kept, and what each of them is for.

A retraining that cannot succeed is refused here: too few labels to train, to stop the training, or to judge by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.automated_retraining.grown_dataset import in_regime, known_samples
from driftloop.contracts import DRIFTED_GATE, LABEL_REQUESTS, RECENT_GATE, REGIME_WINDOWS, WINDOW_ROWS
from driftloop.dataset import UNLABELLED, Description
from driftloop.dataset.group_names import GroupNames
from driftloop.dataset.roles import LEFT_OUT, REGIME, assign_roles, count_labels, missing_labels
from driftloop.errors import InputError
from driftloop.inference.confirmed_rows import confirmed_rows, group_names
from driftloop.inference.log import read_kept_images
from driftloop.inference.traffic import LABEL, Traffic
from driftloop.inference.watch_tables import WINDOW
from driftloop.settings import RetrainSettings
from driftloop.store import Store

CURE = f"label the images in {LABEL_REQUESTS} of the drift evidence and bring them in with 'driftloop labels import FILE.csv'"

#: Labelled images that are taken whatever their size: a drift is asked for 660 labels and more, and 256 MiB hold 341 images of 512 pixels.
LABELLED_IMAGES = 1_000


@dataclass(frozen=True)
class DriftedImages:
    """What a retraining learns from."""

    parent: Description
    """the champion's dataset"""
    rows: pd.DataFrame
    """requests of the confirmed windows, with `COLUMNS`"""
    images: np.ndarray
    """of each row, uint8 (N, H, W, C)"""
    roles: np.ndarray
    """what each row is for, (N,), from `assign_roles`"""
    unknown_labels: dict[str, int]
    """labels that are not a class of the model, with their numbers"""
    regime_groups: int
    """groups that could stand for what is accepted"""
    wanted_groups: int
    """so many are needed: with fewer nothing stands for it"""
    hold_out: str = DRIFTED_GATE
    """split of those kept for the gate"""


def collect_drifted_images(
    store: Store, traffic: Traffic, coverage: pd.DataFrame, parent: Description, settings: RetrainSettings, watched: Mapping[str, Any]
) -> DriftedImages:
    """Collect the rows and decide what each is for; a regime of fewer than `REGIME_WINDOWS` windows is none.

    Where the calendar asked and no drift is confirmed, what came fits what is accepted already: no regime begins, which would push out one
    that was learned of a drift.

    Args:
        store: the model's home.
        traffic: of the watch.
        coverage: what `read_coverage` gives.
        parent: the champion's dataset.
        settings: the proportions, and how many labels are needed.
        watched: the facts of drift_detection.

    Raises:
        InputError: too few labels.
    """
    by_calendar = bool(watched.get("nothing_to_win"))
    rows, images = fetch_images(store, confirmed_rows(traffic, coverage, parent.classes), parent, settings.image_mib)
    roles = assign_roles(rows, known_samples(store, parent), settings, GroupNames.known(store))
    unknown = unknown_labels(traffic, coverage, parent.classes)
    require_labels(count_labels(roles), settings, unknown=unknown)
    groups, wanted = rows.loc[in_regime(roles), "group"].nunique(), REGIME_WINDOWS * groups_per_window(traffic, coverage)
    fits_already = by_calendar and not watched["confirmed"]
    if groups < wanted or fits_already:
        roles[roles == REGIME] = LEFT_OUT
    if fits_already:
        groups = wanted = 0
    return DriftedImages(parent, rows, images, roles, unknown, groups, wanted, RECENT_GATE if by_calendar else DRIFTED_GATE)


def fetch_images(store: Store, rows: pd.DataFrame, parent: Description, mib: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows whose images are there, in their order, and these, uint8 (N, H, W, C); of more than fit into `mib` MiB the labelled ones
    first, `LABELLED_IMAGES` of them in any case, then the newest. Rows whose image a retention rule has deleted are left out."""
    shape = (parent.image_size, parent.image_size, parent.channels)
    labelled = rows["label"] != UNLABELLED
    order = np.lexsort([rows["time"], labelled])
    most = max(int(mib * 2**20 // np.prod(shape)), min(int(labelled.sum()), LABELLED_IMAGES))
    chosen = np.sort(order[max(0, len(order) - most) :])
    rows = rows.iloc[chosen].reset_index(drop=True)
    images = read_kept_images(store, rows)
    there = sorted(images)
    stacked = np.stack([images[row] for row in there]) if there else np.zeros((0, *shape), np.uint8)
    return rows.iloc[there].reset_index(drop=True), stacked


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


def unknown_labels(traffic: Traffic, coverage: pd.DataFrame, classes: list[str]) -> dict[str, int]:
    """Labels of the confirmed windows that are not a class of the model, with their numbers: nothing can be learned from them here."""
    confirmed = traffic.rows["request_id"].isin(coverage.loc[coverage["confirmed"].astype(bool), "request_id"])
    named = traffic.rows.loc[confirmed & traffic.rows[LABEL].notna(), LABEL]
    counts = named[~named.isin(classes)].value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def groups_per_window(traffic: Traffic, coverage: pd.DataFrame) -> int:
    """Distinct groups of a confirmed window, the median over them; 0 where none is confirmed."""
    confirmed = coverage[coverage["confirmed"].astype(bool)].drop_duplicates("request_id")
    rows = traffic.rows.drop(columns=WINDOW, errors="ignore").merge(confirmed[["request_id", "window"]], on="request_id")
    groups = rows.assign(group=group_names(rows)).groupby("window")["group"].nunique()
    return int(groups.median()) if len(groups) else 0


def require_labels(counts: Mapping[str, int], settings: RetrainSettings, *, unknown: Mapping[str, int]) -> None:
    """Check the labels of the confirmed windows.

    Args:
        counts: labelled images by role.
        settings: how many are needed in all.
        unknown: labels that are not a class of the model.

    Raises:
        InputError: too few, with how many there are, how many are missing and how to label.
    """
    missing = missing_labels(counts, settings)
    besides = f"; {sum(unknown.values())} more are labelled {', '.join(sorted(unknown))}, which this model does not know" if unknown else ""
    if missing:
        raise InputError(f"retraining: {missing}{besides}; {CURE}")
