"""Drift scenarios for replay, rehearsal and tests: what happens to images or to class shares, how strongly, and when."""

from driftloop.scenarios.parsing import parse
from driftloop.scenarios.scenario import UNSEEN, Scenario

__all__ = ["UNSEEN", "Scenario", "parse"]
