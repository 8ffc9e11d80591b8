"""What a check of `driftloop doctor` found: a line, and for a failure its cure."""

from dataclasses import dataclass
from enum import StrEnum

from driftloop.errors import DriftloopError


class CheckState(StrEnum):
    """`not_checked`: it could not be looked at, or looking makes no sense yet; no failure."""

    ok = "ok"
    failed = "failed"
    not_checked = "not checked"


@dataclass(frozen=True)
class Check:
    """What a check found."""

    name: str
    """Of what was looked at."""
    state: CheckState
    """Whether it is as it should be."""
    text: str
    """What was found, or why nothing was looked at."""
    cure: str = ""
    """How to mend a failure."""


def ok(name: str, text: str) -> Check:
    """A check that passed."""
    return Check(name, CheckState.ok, text)


def not_checked(name: str, text: str) -> Check:
    """A check that was not made, and why."""
    return Check(name, CheckState.not_checked, text)


def failed(name: str, text: str, cure: str) -> Check:
    """A check that failed, and how to mend it."""
    return Check(name, CheckState.failed, text, cure)


def refused(name: str, error: DriftloopError | str) -> Check:
    """A failure as driftloop's own errors tell it: what is wrong, a semicolon, and the cure."""
    text, _, cure = str(error).rpartition("; ")
    return Check(name, CheckState.failed, text or cure, cure if text else "")
