"""Which drifts the serving champion was accepted for, so that alarms on them can be told from alarms on new ones."""

from collections import Counter, deque
from collections.abc import Iterable

from components.automated_retraining.grown_dataset import MOST_REGIMES

NONE = "none"
#: Windows of a kind that make it learned.
LEAST = 2


class AcceptedDrifts:
    """Clean traffic always; besides, what the last promotions learned, as many as a champion carries references for."""

    def __init__(self) -> None:
        self._learned: deque[frozenset[str]] = deque(maxlen=MOST_REGIMES)

    def __contains__(self, drift: object) -> bool:
        return drift == NONE or any(drift in learned for learned in self._learned)

    def promote(self, drifts: Iterable[str]) -> None:
        """Accept what the champion was just replaced for.

        Args:
            drifts: of each window that drifted while it served. A kind seen in one window only is not counted as learned: that
                window hardly shows in the new reference.
        """
        played = [drift for drift in drifts if drift != NONE]
        kinds = Counter(map(kind, played))
        self._learned.append(frozenset(drift for drift in played if kinds[kind(drift)] >= LEAST))


def kind(drift: str) -> str:
    """A drift without its severity: what a gradual one keeps from window to window."""
    return drift.rpartition(":")[0] or drift
