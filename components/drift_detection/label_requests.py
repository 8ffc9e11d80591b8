"""Which images to label: uniformly random ones of every window, which show harm and test the next candidate, and ranked ones to train on.

The most shifted images teach most, and for that very reason they would bias any estimate of accuracy. Of each window the images with the
smallest hashes are drawn, so a longer list continues a shorter one, and each has the same known probability: drawn over all of its window.
Of requests predicted as a rare class few are among them: more of these are drawn in the same order, with a probability of their own.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from components.drift_detection.judged_harm import JudgedHarm
from components.drift_detection.label_tallies import WindowPlaces, can_be_labelled
from components.drift_detection.mmd import shift_scores
from components.drift_detection.policy import Verdict
from components.drift_detection.reference import Sample, window_sample
from components.drift_detection.windows import Coverage
from driftloop.contracts import BY_CLASS, DRAWN, FOR_CLASS, FOR_TRAINING, HARM, QUOTA, RANDOM, RANKED, SKIPPED
from driftloop.settings import DriftSettings
from driftloop.watch_record import AskedLabels

#: A class is rare that a smaller share of the requests is predicted as.
RARE_SHARE = 0.05
#: A class that so many drawn requests are predicted as needs no more of them.
ENOUGH_OF_A_CLASS = 30
#: `label` is left empty for the person who labels (? where it cannot be told); the file then goes back by `driftloop labels import`. What
#: the model said is not among them: it would lead whoever labels.
COLUMNS = (
    *("request_id", "label", "origin", "rank", "time", "group", "shift", "image"),
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
    judging: np.ndarray,
    purpose: str,
    critical: Collection[str],
    until: str,
    goes_on: bool = True,
) -> pd.DataFrame:
    """The lists of a watch: a quota of each of its windows, and, for a purpose, `random_requests` over the windows concerned, with
    `class_requests` among those predicted as critical classes, or else as rare ones.

    A quota is there to show harm, so it is drawn from the rows that may: those not kept for the gate, a part fixed by hash. The others
    are shared out as the windows count for harm: by their rows, half as many for each half-life. Only requests whose image was kept can
    be labelled; which are kept is decided at random when they are logged. Where all that would be drawn is settled, the list may go on
    by as many more: no new window may come, and what is asked must not end while labels could still decide.

    Args:
        rows, coverage, places: of the watch.
        concerned: (W,) bool, the windows whose harm is in question.
        reference: what the most shifted images are most unlike of.
        settings: how many.
        rng: of the shifts.
        teaching: (N,) bool, the rows that may train once somebody has chosen to label them; those that stand for what is accepted may not.
        judging: (N,) bool, the rows kept for the gate.
        purpose: `contracts.HARM` or `GATE`; empty asks for quotas only.
        critical: classes that need labels before the others.
        until: end of the watch, ISO 8601.
        goes_on: whether a list of which all is settled goes on.
    """
    fresh = places.fresh
    asked = fresh | concerned if purpose else fresh
    at = coverage.window + places.past
    eligible = rows["image"].notna().to_numpy() & coverage.covered & np.isin(at, np.flatnonzero(asked))
    table, at = rows.assign(teaching=teaching, judging=judging)[eligible], at[eligible]
    if len(table) == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    end = datetime.fromisoformat(until)
    ages = np.array([(end - datetime.fromisoformat(window.last)) / timedelta(days=1) for window in places.windows])
    there = np.bincount(at, minlength=len(ages))
    quotas = np.where(fresh, quota(settings, int((ages <= 1).sum())), 0)
    recorded = np.array([window.rows for window in places.windows])
    wanted = np.zeros(len(ages), dtype=np.int64)
    if purpose:
        weights = np.where(concerned, recorded * 0.5 ** (ages / settings.harm_half_life_days), 0.0)
        order = _drawing_order(table, settings.seed)
        place = table.iloc[order].groupby(at[order]).cumcount().reindex(table.index).to_numpy()
        open_place, at_open = place[_open(table)], at[_open(table)]
        total = settings.random_requests
        wanted = allotted(weights, total, there)
        while goes_on and total and not (open_place < wanted[at_open]).any() and (wanted < there)[weights > 0].any():
            total += settings.random_requests
            wanted = allotted(weights, total, there)
    # Of an earlier window that did not drift only a sample of the rows is still here.
    whole = fresh | (places.drifted & ~np.array([window.together for window in places.windows], dtype=bool))
    names = np.array([f"{watch}/{index}" for watch, index in places.places])
    kept = there / np.maximum(np.where(whole, there, recorded), 1)
    plan = pd.DataFrame({"wanted": wanted, "quota": quotas, "kept": kept, "concerned": concerned}, index=names)
    scores = shift_scores(reference.embedding, window_sample(table).embedding, rng)
    ranked, by_class = (settings.ranked_requests, settings.class_requests) if purpose else (0, 0)
    table = table.assign(stratum=names[at])
    shares = table["predicted"].value_counts(normalize=True)
    rare = list(critical) or sorted(shares.index[shares < RARE_SHARE])
    return label_requests(table, scores, plan, ranked=ranked, by_class=by_class, rare=rare, purpose=purpose or QUOTA, seed=settings.seed)


def asked_labels(
    requests: pd.DataFrame,
    rows: pd.DataFrame,
    harm: JudgedHarm,
    places: WindowPlaces,
    settings: DriftSettings,
    *,
    judging: np.ndarray,
    verdict: Verdict,
) -> AskedLabels:
    """What the list can decide, counted as harm is judged: without the rows kept for the gate.

    Args:
        requests: the list.
        rows: of the log.
        harm: as judged, with the coverage of the rows.
        places: all windows.
        settings: of the policy.
        judging: (N,) bool, the rows kept for the gate.
        verdict: of the watch; only where it asks for labels to see whether a drift matters is a number needed.
    """
    in_question = harm.concerned if verdict.purpose else places.fresh
    inside = harm.coverage.covered & np.isin(harm.coverage.window + places.past, np.flatnonzero(in_question))
    judged = rows[inside & ~judging]
    drawn = judged["request_id"].isin(requests.loc[requests["origin"] == RANDOM, "request_id"]).to_numpy()
    can_be = can_be_labelled(judged)
    lost = rows[inside & rows["image"].isna().to_numpy()]
    needed = 0
    if verdict.purpose == HARM:
        needed = max(settings.harm_labels, harm.judging_labels_to_decide(settings) or 0)
    return AskedLabels(
        images=len(requests),
        listed=int((can_be & drawn).sum()),
        have=harm.judged.n if harm.judged else 0,
        needed=needed,
        in_vain=verdict.purpose == HARM and harm.too_few_accepted(settings) is not None,
        obtainable=int(can_be.sum()),
        without_image=int((lost["label"].isna() & (lost["label_origin"] != SKIPPED)).sum()),
    )


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


def more_by_class(drawn: dict[str, int], others: dict[str, int], total: int) -> dict[str, int]:
    """How many more requests predicted as each class to draw, at most `total`: one after the other of the class that has fewest.

    Args:
        drawn: by class, how many were drawn; one that has `ENOUGH_OF_A_CLASS` gets none.
        others: how many there are beside them.
        total: of all classes.
    """
    more = dict.fromkeys(drawn, 0)
    for _ in range(total):
        short = [name for name in drawn if more[name] < others[name] and drawn[name] + more[name] < ENOUGH_OF_A_CLASS]
        if not short:
            break
        more[min(short, key=lambda name: drawn[name] + more[name])] += 1
    return more


def label_requests(
    rows: pd.DataFrame,
    scores: np.ndarray,
    plan: pd.DataFrame,
    *,
    ranked: int,
    purpose: str,
    seed: int,
    by_class: int = 0,
    rare: Sequence[str] = (),
) -> pd.DataFrame:
    """All lists, one below the other, with `COLUMNS`.

    An image labelled as "ranked" stays in the random list where it was drawn, because leaving out the most shifted would bias it. What
    labellers have skipped is not asked for again.

    Args:
        rows: of the log whose image was kept: request_id, time, group, predicted, image, label, label_origin, stratum, teaching,
            whether the ranked list may have it, and judging, whether it is kept for the gate.
        scores: (N,) shift of each.
        plan: by stratum: `wanted`, how many images of it are drawn, already labelled ones included (these are not asked for again);
            `quota`, how many are drawn at least of those not kept for the gate; `kept`, the share of its requests that is in `rows`;
            `concerned`, whether it is of the windows whose most shifted images are listed.
        ranked: length of the ranked list.
        purpose: of what is drawn beyond the quotas.
        seed: of the random order.
        by_class: how many requests predicted as `rare` classes to draw in all, of those not kept for the gate.
        rare: these classes.
    """
    rows = rows.reset_index(drop=True)
    order = _drawing_order(rows, seed)
    place = rows.iloc[order].groupby("stratum").cumcount().reindex(rows.index).to_numpy()
    own_place = rows.iloc[order].groupby(["stratum", "judging"]).cumcount().reindex(rows.index).to_numpy()
    planned = plan.reindex(rows["stratum"])
    of_quota = ~rows["judging"].to_numpy(dtype=bool) & (own_place < planned["quota"].to_numpy())
    drawn = of_quota | (place < planned["wanted"].to_numpy())
    # Both sides of a window are samples of it, drawn from at rates of their own.
    probability = rows.assign(drawn=drawn).groupby(["stratum", "judging"])["drawn"].transform("mean").to_numpy()
    skipped = (rows["label_origin"] == SKIPPED).to_numpy()
    unlabelled = rows["label"].isna().to_numpy() & ~skipped
    uniform = order[(drawn & _open(rows))[order]]
    extra = _drawn_by_class(rows, drawn, planned["concerned"].to_numpy(dtype=bool), order, by_class, rare)
    own_probability = rows.assign(drawn=drawn | extra).groupby(["stratum", "judging", "predicted"])["drawn"].transform("mean").to_numpy()
    of_classes = order[(extra & ~skipped & (unlabelled | ~rows["label_origin"].isin(DRAWN).to_numpy()))[order]]
    others = np.flatnonzero(
        unlabelled & ~drawn & ~extra & rows["teaching"].to_numpy(dtype=bool) & planned["concerned"].to_numpy(dtype=bool)
    )
    shifted = others[np.argsort(-scores[others], kind="stable")[:ranked]]
    kept = planned["kept"].to_numpy()
    rows = rows.assign(probability=probability * kept, purpose=np.where(of_quota, QUOTA, purpose), shift=scores)
    # The class as which a request was predicted is named by nothing: it would lead whoever labels.
    drawn_by_class = rows.assign(probability=own_probability * kept, purpose=FOR_CLASS)
    return pd.concat(
        [
            _list(rows.iloc[uniform], RANDOM),
            _list(drawn_by_class.iloc[of_classes], BY_CLASS),
            _list(rows.iloc[shifted].assign(probability=np.nan, purpose=FOR_TRAINING), RANKED),
        ],
        ignore_index=True,
    )


def _drawing_order(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """The random order in which rows are drawn, (N,) positions."""
    return np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in rows["request_id"]], kind="stable")


def _open(rows: pd.DataFrame) -> np.ndarray:
    """Which rows a random list would name where it draws them, (N,) bool: those without a random label, and not skipped."""
    return ((rows["label_origin"] != SKIPPED) & (rows["label"].isna() | (rows["label_origin"] != RANDOM))).to_numpy(dtype=bool)


def _drawn_by_class(
    rows: pd.DataFrame, drawn: np.ndarray, concerned: np.ndarray, order: np.ndarray, total: int, rare: Sequence[str]
) -> np.ndarray:
    """Which rows are drawn beside the uniform ones, (N,) bool: of each class the next in the random order."""
    extra = np.zeros(len(rows), dtype=bool)
    open_to_it = concerned & ~rows["judging"].to_numpy(dtype=bool)
    predicted = rows["predicted"].to_numpy(dtype=object)
    of_class = {name: open_to_it & (predicted == name) for name in rare} if total else {}
    counts = more_by_class(
        {name: int((rows_of & drawn).sum()) for name, rows_of in of_class.items()},
        {name: int((rows_of & ~drawn).sum()) for name, rows_of in of_class.items()},
        total,
    )
    for name, count in counts.items():
        extra[order[(of_class[name] & ~drawn)[order]][:count]] = True
    return extra


def _list(rows: pd.DataFrame, origin: str) -> pd.DataFrame:
    return rows.assign(label="", origin=origin, rank=np.arange(1, len(rows) + 1))[list(COLUMNS)]
