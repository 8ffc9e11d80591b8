"""Everything that a watch found out: what the report shows and the evidence records."""

from dataclasses import dataclass

import pandas as pd

from components.drift_detection.harm import Drop
from components.drift_detection.history import History
from components.drift_detection.judging import Judged
from components.drift_detection.label_free import LabelFree
from components.drift_detection.level import Level
from components.drift_detection.policy import Verdict
from components.drift_detection.spotlight import Spotlight
from components.drift_detection.windows import Cut
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.window import WindowInfo
from driftloop.settings import DriftSettings


@dataclass(frozen=True)
class Findings:
    """`spotlight` is None where no window was judged, `drop` where drift is not confirmed or no random label is there.
    `labels` counts the random ones of all confirmed windows.

    `coverage` has a row for each request that a window covers: request_id, window, drifted, confirmed; `requests` the images to label.
    """

    info: WindowInfo
    settings: DriftSettings
    level: Level
    size: int
    cut: Cut
    regimes: list[str]
    history: History
    judged: list[Judged]
    confirmed: bool
    spotlight: Spotlight | None
    clean: Proportion | None
    drop: Drop | None
    labels: int
    label_free: LabelFree | None
    verdict: Verdict
    coverage: pd.DataFrame
    requests: pd.DataFrame
