"""Which images to label: a uniformly random list, which shows harm and tests the next candidate, and a ranked one, which may only train.

The most shifted images teach most, and for that very reason they would bias any estimate of accuracy.
"""

import hashlib

import numpy as np
import pandas as pd

from components.drift_detection.mmd import shift_scores
from components.drift_detection.reference import Sample, window_sample
from driftloop.contracts import RANDOM, RANKED
from driftloop.settings import DriftSettings

#: `label` is left empty for the person who labels; the file then goes back by `driftloop labels import`.
COLUMNS = ("request_id", "label", "origin", "rank", "time", "predicted", "confidence", "shift", "image")


def requests_for(rows: pd.DataFrame, reference: Sample, settings: DriftSettings, rng: np.random.Generator) -> pd.DataFrame:
    """The lists for these rows of the log: of the confirmed windows, or of the drifted ones while nothing is confirmed.

    Only requests whose image was kept can be labelled; which are kept is decided at random when they are logged.
    """
    rows = rows[rows["image"].notna()]
    if len(rows) == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    scores = shift_scores(reference.embedding, window_sample(rows).embedding, rng)
    return label_requests(rows, scores, random=settings.random_requests, ranked=settings.ranked_requests, seed=settings.seed)


def label_requests(rows: pd.DataFrame, scores: np.ndarray, *, random: int, ranked: int, seed: int) -> pd.DataFrame:
    """Both lists, one below the other, with `COLUMNS`.

    The random order is a hash of seed and request id: watching again asks for the same images, and a longer list continues a
    shorter list. An image labelled as "ranked" stays in the random list where it was drawn, because leaving out the most shifted would
    bias it.

    Args:
        rows: requests of the drifted windows: request_id, time, predicted, confidence, image, label, label_origin.
        scores: (N,) shift of each.
        random: length of the random list, already labelled ones included (these are not asked for again).
        ranked: length of the ranked list.
        seed: of the random order.
    """
    rows = rows.reset_index(drop=True)
    order = np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in rows["request_id"]], kind="stable")
    drawn = order[:random]
    unlabelled = rows["label"].isna().to_numpy()
    uniform = drawn[(unlabelled | (rows["label_origin"] != RANDOM).to_numpy())[drawn]]
    others = np.setdiff1d(np.flatnonzero(unlabelled), drawn)
    shifted = others[np.argsort(-scores[others], kind="stable")[:ranked]]
    return pd.concat([_list(rows, scores, uniform, RANDOM), _list(rows, scores, shifted, RANKED)], ignore_index=True)


def _list(rows: pd.DataFrame, scores: np.ndarray, chosen: np.ndarray, origin: str) -> pd.DataFrame:
    listed = rows.iloc[chosen].assign(label="", origin=origin, rank=np.arange(1, len(chosen) + 1), shift=scores[chosen])
    return listed[list(COLUMNS)]
