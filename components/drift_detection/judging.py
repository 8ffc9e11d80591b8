"""Judging all fresh windows of a watch, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.drift_detection.harm import correct_answers
from components.drift_detection.judge import Judgement, judge
from components.drift_detection.level import Level
from components.drift_detection.regimes import Regimes
from components.drift_detection.samples import Sample, window_sample
from components.drift_detection.windows import CutWindow
from driftloop.errors import InputError
from driftloop.progress import progress
from driftloop.watch_record import JudgedWindow


@dataclass(frozen=True)
class Judged:
    """A fresh window as it will be recorded, the test behind it, and the images that were tested."""

    window: JudgedWindow
    judgement: Judgement
    sample: Sample


def judge_windows(
    rows: pd.DataFrame, windows: Sequence[CutWindow], regimes: Regimes, level: Level, rng: np.random.Generator
) -> list[Judged]:
    """Test each window of `rows` (the log's columns, in time order) and write down what will be recorded of it.

    Raises:
        InputError: vectors of another length than the reference's, or numbers that are not finite.
    """
    judged = []
    for index, window in enumerate(windows):
        judged.append(_judge_window(rows, window, regimes, level, rng))
        progress((index + 1) / len(windows), f"window {index + 1} of {len(windows)}")
    return judged


def _judge_window(rows: pd.DataFrame, window: CutWindow, regimes: Regimes, level: Level, rng: np.random.Generator) -> Judged:
    sample = window_sample(rows.iloc[window.sample])
    expected = regimes.samples[0]
    for what in ("embedding", "statistics", "probabilities"):
        here, there = getattr(sample, what).shape[1], getattr(expected, what).shape[1]
        if here != there:
            raise InputError(f"inference log: {what} of {here} numbers, the champion's reference has {there}; was another model served?")
    judgement = judge(sample, regimes, alpha=level.alpha, permutations=level.permutations, rng=rng)
    covered = rows.iloc[window.rows]
    correct, labels = correct_answers(covered)
    record = JudgedWindow(
        first=covered["time"].iloc[0].isoformat(),
        last=covered["time"].iloc[-1].isoformat(),
        rows=len(covered),
        p_statistics=judgement.statistics.p_value,
        p_embedding=judgement.embedding.p_value,
        drifted=judgement.drifted,
        accuracy=correct / labels if labels else None,
    )
    return Judged(record, judgement, sample)
