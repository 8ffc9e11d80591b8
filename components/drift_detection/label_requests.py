"""Which images to label: uniformly random ones of every window, which show harm and test the next candidate, and ranked ones to train on.

The most shifted images teach most, and for that very reason they would bias any estimate of accuracy. Of each window the images with the
smallest hashes are drawn, so a longer list continues a shorter one, and each has the same known probability: drawn over all of its window.
"""

import hashlib
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.mmd import shift_scores
from components.drift_detection.reference import Sample, window_sample
from components.drift_detection.windows import Coverage
from driftloop.contracts import FOR_TRAINING, QUOTA, RANDOM, RANKED, SKIPPED
from driftloop.settings import DriftSettings

#: `label` is left empty for the person who labels (? where it cannot be told); the file then goes back by `driftloop labels import`.
COLUMNS = (
    *("request_id", "label", "origin", "rank", "time", "predicted", "confidence", "shift", "image"),
    # why it is asked for, within which window (watch/index), and with which probability a request of that window is
    *("purpose", "stratum", "probability"),
)


def requests_for(
    rows: pd.DataFrame,
    coverage: Coverage,
    places: WindowPlaces,
    concerned: np.ndarray,
    reference: Sample,
    settings: DriftSettings,
    rng: np.random.Generator,
    *,
    teaching: np.ndarray,
    purpose: str,
    until: str,
) -> pd.DataFrame:
    """The lists of a watch: a quota of each of its windows, and, for a purpose, `random_requests` over the windows concerned.

    Those are shared out as the windows count for harm: by their rows, half as many for each half-life. Only requests whose image was kept
    can be labelled; which are kept is decided at random when they are logged.

    Args:
        rows, coverage, places: of the watch.
        concerned: (W,) bool, the windows whose harm is in question.
        reference: what the most shifted images are most unlike of.
        settings: how many.
        rng: of the shifts.
        teaching: (N,) bool, the rows that may train once somebody has chosen to label them; those that stand for what is accepted may not.
        purpose: `contracts.HARM` or `GATE`; empty asks for quotas only.
        until: end of the watch, ISO 8601.
    """
    fresh = places.fresh
    asked = fresh | concerned if purpose else fresh
    at = coverage.window + places.past
    eligible = rows["image"].notna().to_numpy() & coverage.covered & np.isin(at, np.flatnonzero(asked))
    table, at = rows.assign(teaching=teaching)[eligible], at[eligible]
    if len(table) == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    end = datetime.fromisoformat(until)
    ages = np.array([(end - datetime.fromisoformat(window.last)) / timedelta(days=1) for window in places.windows])
    there = np.bincount(at, minlength=len(ages))
    quotas = np.where(fresh, np.minimum(quota(settings, int((ages <= 1).sum())), there), 0)
    recorded = np.array([window.rows for window in places.windows])
    counts = quotas
    if purpose:
        weights = np.where(concerned, recorded * 0.5 ** (ages / settings.harm_half_life_days), 0.0)
        counts = np.maximum(quotas, allotted(weights, settings.random_requests, there))
    # Of an earlier window that did not drift only a sample of the rows is still here.
    whole = fresh | places.drifted
    names = np.array([f"{watch}/{index}" for watch, index in places.places])
    probability = counts / np.maximum(np.where(whole, there, recorded), 1)
    plan = pd.DataFrame({"wanted": counts, "quota": quotas, "probability": probability, "concerned": concerned}, index=names)
    scores = shift_scores(reference.embedding, window_sample(table).embedding, rng)
    ranked = settings.ranked_requests if purpose else 0
    return label_requests(table.assign(stratum=names[at]), scores, plan, ranked=ranked, purpose=purpose or QUOTA, seed=settings.seed)


def quota(settings: DriftSettings, windows_a_day: int) -> int:
    """Images of each window that are asked for whatever it looks like."""
    a_window = max(1, settings.quota_per_day // max(1, windows_a_day)) if settings.quota_per_day else 0
    return min(settings.quota_requests, a_window)


def allotted(weights: np.ndarray, total: int, most: np.ndarray) -> np.ndarray:
    """At most `total` requests over windows, in proportion to their weights: (W,) whole numbers, none above `most` (W,).

    What one window cannot give, the others do.
    """
    counts = np.zeros(len(weights), dtype=np.int64)
    while True:
        free = (weights > 0) & (counts < most)
        left = total - int(counts.sum())
        if left <= 0 or not free.any():
            return counts
        exact = np.where(free, left * weights / weights[free].sum(), 0.0)
        share = np.floor(exact).astype(np.int64)
        share[np.argsort(share - exact, kind="stable")[: left - share.sum()]] += 1
        counts = np.minimum(counts + share, np.maximum(most, counts))


def label_requests(rows: pd.DataFrame, scores: np.ndarray, plan: pd.DataFrame, *, ranked: int, purpose: str, seed: int) -> pd.DataFrame:
    """Both lists, one below the other, with `COLUMNS`.

    An image labelled as "ranked" stays in the random list where it was drawn, because leaving out the most shifted would bias it. What
    labellers have skipped is not asked for again.

    Args:
        rows: of the log whose image was kept: request_id, time, predicted, confidence, image, label, label_origin, stratum, and teaching,
            whether the ranked list may have it.
        scores: (N,) shift of each.
        plan: by stratum: `wanted`, how many images of it are drawn, already labelled ones included (these are not asked for again);
            `quota`, how many of these are its quota; `probability`, with which each of its requests is drawn; `concerned`, whether it is
            of the windows whose most shifted images are listed.
        ranked: length of the ranked list.
        purpose: of what is drawn beyond the quotas.
        seed: of the random order.
    """
    rows = rows.reset_index(drop=True)
    order = np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in rows["request_id"]], kind="stable")
    place = rows.iloc[order].groupby("stratum").cumcount().reindex(rows.index).to_numpy()
    planned = plan.reindex(rows["stratum"])
    drawn = place < planned["wanted"].to_numpy()
    skipped = (rows["label_origin"] == SKIPPED).to_numpy()
    unlabelled = rows["label"].isna().to_numpy() & ~skipped
    uniform = order[(drawn & ~skipped & (unlabelled | (rows["label_origin"] != RANDOM).to_numpy()))[order]]
    others = np.flatnonzero(unlabelled & ~drawn & rows["teaching"].to_numpy(dtype=bool) & planned["concerned"].to_numpy(dtype=bool))
    shifted = others[np.argsort(-scores[others], kind="stable")[:ranked]]
    rows = rows.assign(
        probability=planned["probability"].to_numpy(), purpose=np.where(place < planned["quota"].to_numpy(), QUOTA, purpose), shift=scores
    )
    return pd.concat(
        [_list(rows.iloc[uniform], RANDOM), _list(rows.iloc[shifted].assign(probability=np.nan, purpose=FOR_TRAINING), RANKED)],
        ignore_index=True,
    )


def _list(rows: pd.DataFrame, origin: str) -> pd.DataFrame:
    return rows.assign(label="", origin=origin, rank=np.arange(1, len(rows) + 1))[list(COLUMNS)]
