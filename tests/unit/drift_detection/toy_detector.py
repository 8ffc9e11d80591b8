"""A toy detector, as somebody would write it: has the mean of the first image statistic moved?"""

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from components.drift_detection.detectors import Detector, DetectorResult, Picture
from components.drift_detection.reference import Sample
from driftloop.reporting.plot_style import axes


def _first_statistic(sample: Sample) -> np.ndarray:
    return sample.statistics[:, 0].astype(np.float64)


def _test_mean(reference: Sample, window: Sample, permutations: int, rng: np.random.Generator) -> DetectorResult:
    before, now = _first_statistic(reference), _first_statistic(window)
    result = stats.permutation_test(
        (before, now), lambda x, y: abs(x.mean() - y.mean()), n_resamples=permutations, alternative="greater", rng=rng
    )
    return DetectorResult(float(result.pvalue), effect=float(now.mean() - before.mean()))


def _histogram(reference: Sample, window: Sample) -> Figure:
    figure, (plot,) = axes()
    plot.hist([_first_statistic(reference), _first_statistic(window)], density=True)
    return figure


DETECTOR = Detector(
    name="toy",
    title="mean of a statistic",
    method="permutations",
    sentence="the mean of its first image statistic ({permutations:,} permutations)",
    test=_test_mean,
    effect="mean_shift",
    effect_title="shift of the mean",
    picture=Picture("Histogram of the toy detector", "The first statistic in the reference and in window {window}.", _histogram),
)
