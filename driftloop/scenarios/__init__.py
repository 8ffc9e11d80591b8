"""Drift scenarios for replay, rehearsal and tests: what happens to images or to class shares, how strongly, and when."""

from driftloop.contracts import UNSEEN
from driftloop.scenarios.parsing import parse
from driftloop.scenarios.scenario import DRIFT_KINDS, DriftKind, Scenario

__all__ = ["DRIFT_KINDS", "UNSEEN", "DriftKind", "Scenario", "parse"]
