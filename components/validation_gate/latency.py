"""Latency of two models, measured in turns on the same images, so that a busy machine slows both alike."""

import time
from dataclasses import dataclass

import numpy as np

from driftloop.inference.served_model import ServedModel

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Requests to each model before the first that counts.
WARM_UP = 10
#: Different images at most; they are used in turn.
MOST_IMAGES = 64
#: Disturbed rounds are repeated until there have been this many times the rounds asked for, or this many seconds were spent on them.
MOST_ATTEMPTS, MOST_WASTED_S = 5, 10.0
#: Bootstrap samples behind the bounds.
RESAMPLES = 400


@dataclass(frozen=True)
class Latency:
    """How long a single-image request takes with each model."""

    candidate_p50_ms: float
    """median of the candidate, in milliseconds"""
    candidate_p95_ms: float
    """95th percentile of the candidate"""
    champion_p50_ms: float
    """median of the champion"""
    champion_p95_ms: float
    """95th percentile of the champion"""
    ratio: float
    """of the 95th percentiles, candidate over champion"""
    low: float
    """one-sided lower 95 % bound of the ratio"""
    high: float
    """one-sided upper 95 % bound of the ratio"""
    rounds: int
    """how often each model was timed"""


def measure_latency(candidate: ServedModel, champion: ServedModel, images: np.ndarray, *, rounds: int, seed: int = 0) -> Latency:
    """Time both models one image at a time, in alternating order (A B, B A, ...).

    Rounds in which the scheduler took the core away are measured again, up to a point: on a busy machine they, and not the models, would
    make up the 95th percentile.

    Args:
        candidate, champion: opened with the same number of threads, best a single thread, so that they run on this one.
        images: uint8 (N, side, side, channels), N >= 1, used in turn.
        rounds: how often each model is timed, >= 20.
        seed: of the bootstrap behind the bounds.
    """
    models = (candidate, champion)
    requests = [np.ascontiguousarray(image[None]) for image in images[:MOST_IMAGES]]
    for turn in range(WARM_UP):
        for model in models:
            model.predict(requests[turn % len(requests)])
    undisturbed: list[tuple[float, float]] = []
    disturbed: list[tuple[float, float]] = []
    for turn in range(rounds * MOST_ATTEMPTS):
        before = interruptions()
        taken = time_round(models, requests[turn % len(requests)], first=turn % 2)
        (undisturbed if interruptions() == before else disturbed).append(taken)
        enough = len(undisturbed) + len(disturbed) >= rounds
        if len(undisturbed) == rounds or (enough and sum(sum(seconds) for seconds in disturbed) > MOST_WASTED_S):
            break
    kept = (undisturbed + disturbed)[:rounds]
    return ratio_of_p95(np.array(kept) * 1000, seed=seed)


def time_round(models: tuple[ServedModel, ServedModel], request: np.ndarray, *, first: int) -> tuple[float, float]:
    """Seconds that each model takes for the same request; `first` (0 or 1) goes first."""
    taken = [0.0, 0.0]
    for which in (first, 1 - first):
        started = time.perf_counter()
        models[which].predict(request)
        taken[which] = time.perf_counter() - started
    return taken[0], taken[1]


def interruptions() -> int:
    """How often the scheduler has taken the core from this thread; always 0 where the system does not say."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw if resource and hasattr(resource, "RUSAGE_THREAD") else 0


def ratio_of_p95(taken_ms: np.ndarray, *, seed: int) -> Latency:
    """The ratio of the columns' 95th percentiles; bounds from a bootstrap of the rounds.

    Args:
        taken_ms: (rounds, 2), candidate and champion.
        seed: of the bootstrap.
    """
    rounds = len(taken_ms)
    p50, p95 = np.percentile(taken_ms, [50, 95], axis=0)
    draws = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    resampled = np.percentile(taken_ms[draws], 95, axis=1)
    low, high = np.percentile(resampled[:, 0] / resampled[:, 1], [5, 95])
    return Latency(float(p50[0]), float(p95[0]), float(p50[1]), float(p95[1]), float(p95[0] / p95[1]), float(low), float(high), rounds)
