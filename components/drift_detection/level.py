"""The error rate of one watch, from what was asked for and the budget of false alarms."""

from dataclasses import dataclass

from components.drift_detection.confirm import effective_alpha, permutations_for
from driftloop.errors import SettingError
from driftloop.settings import DriftSettings


@dataclass(frozen=True)
class Level:
    """`alpha` of one window's test, given the level asked for, the budget and the number of windows in 90 days."""

    asked: float
    alpha: float
    permutations: int
    windows_per_90_days: float
    budget: float


def level_of(alpha: float, settings: DriftSettings, *, windows: int) -> Level:
    """The level at which each window is tested.

    Args:
        alpha: asked for.
        windows: judged in the last 90 days, this watch's included; where they are more than the setting expects, they count.

    Raises:
        SettingError: alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise SettingError(f"drift_alpha: {alpha!r} should be between 0 and 1, 0.05 for example (level of one window's drift test)")
    per_90_days = max(settings.windows_per_90_days, float(windows))
    effective = effective_alpha(alpha, budget=settings.false_alarms_per_90_days, windows=per_90_days)
    permutations = permutations_for(effective, at_least=settings.permutations)
    return Level(alpha, effective, permutations, per_90_days, settings.false_alarms_per_90_days)
