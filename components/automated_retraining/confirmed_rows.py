"""The production rows to learn from: requests of the confirmed windows whose image was kept."""

from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.dataset import UNLABELLED
from driftloop.errors import InputError
from driftloop.inference.labels import RANDOM
from driftloop.inference.traffic import IMAGE_INDEX, LABEL, LABEL_ORIGIN, Traffic, labels_of

#: In the evidence of drift_detection: request_id, window, drifted, confirmed.
COVERAGE = "windows.parquet"
COLUMNS = ("request_id", "time", "model_version", "window", "group", "image_sha256", "image_index", "label", "origin")


def read_coverage(evidence: str | Path) -> pd.DataFrame:
    """Which request lies in which window, and whether that window took part in a confirmation.

    Raises:
        InputError: the directory holds no drift evidence.
    """
    path = Path(evidence, COVERAGE)
    if not path.exists():
        raise InputError(f"{evidence}: no {COVERAGE}; pass the `evidence` output of drift_detection")
    return pd.read_parquet(path)


def confirmed_rows(window: Traffic, coverage: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The rows of the confirmed windows, in time order, with `COLUMNS`.

    `group` is never empty: a request without one gets its image's bytes as its group, so that copies stay together. `label` is an
    index into `classes`, -1 without a label or with one that is no class of the model; `origin` is empty where there is no label.
    Of images with the same bytes one row is kept, one with a random label if there is any, else one with a label: copies could sit on
    two sides.

    Args:
        window: of the watch.
        coverage: what `read_coverage` gives.
        classes: of the champion, in order.
    """
    confirmed = coverage[coverage["confirmed"].astype(bool)].drop_duplicates("request_id")
    rows = window.rows.merge(confirmed[["request_id", "window"]], on="request_id", how="inner", sort=False)
    rows = rows[(rows[IMAGE_INDEX] >= 0) & (rows["status"] == "ok")].reset_index(drop=True)
    labels = labels_of(rows, classes)
    origins = rows[LABEL_ORIGIN].where(rows[LABEL_ORIGIN].notna() & (labels != UNLABELLED), "")
    rows = rows.assign(label=labels, origin=origins.astype(str), group=_groups(rows))[list(COLUMNS)]
    worth = np.select([rows["origin"] == RANDOM, rows["label"] != UNLABELLED], [0, 1], 2)
    order = np.argsort(worth, kind="stable")
    kept = rows.iloc[order].drop_duplicates("image_sha256").index
    return rows.loc[np.sort(kept)].reset_index(drop=True)


def unknown_classes(window: Traffic, coverage: pd.DataFrame, classes: list[str]) -> dict[str, int]:
    """Labels of the confirmed windows that are no class of the model, with their numbers: nothing can be learned from them here."""
    confirmed = window.rows["request_id"].isin(coverage.loc[coverage["confirmed"].astype(bool), "request_id"])
    named = window.rows.loc[confirmed & window.rows[LABEL].notna(), LABEL]
    counts = named[~named.isin(classes)].value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def rows_per_window(coverage: pd.DataFrame) -> int:
    """Rows of a confirmed window, the median over them; 0 where none is confirmed."""
    sizes = coverage.loc[coverage["confirmed"].astype(bool), "window"].value_counts()
    return int(sizes.median()) if len(sizes) else 0


def _groups(rows: pd.DataFrame) -> pd.Series:
    known = rows["group"].notna() & (rows["group"] != "")
    return rows["group"].where(known, "sha256:" + rows["image_sha256"].str[:16]).astype(str)
