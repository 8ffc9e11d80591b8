"""The text form of a scenario: `none`, `blur+noise:0.6`, `prior:0.2`, `gradual:brightness:0.5`, `recurring`, `blur:1@0.1`."""

import difflib
import math

from driftloop.errors import InputError
from driftloop.scenarios.scenario import CONSTANT, DRIFT_KINDS, SEVERITY_OVER_TIME, Scenario

#: What a kind without a severity means, and `gradual` or `recurring` without a kind.
DEFAULT_SEVERITY = 0.6
DEFAULT_KINDS = ("blur", "noise")
#: The prefixes that make a drift change over time.
CHANGING = tuple(name for name in SEVERITY_OVER_TIME if name != CONSTANT)
EXAMPLE = "for example blur+noise:0.6, prior:0.2, gradual:brightness:0.5 or none"


def parse(text: str) -> Scenario:
    """Read `[gradual:|recurring:][kind[+kind...]][:severity][@share]`.

    The severity is 0.6 where none is given; `gradual` and `recurring` alone mean blur+noise. `-` may stand for `_`. The share is that of
    the traffic that drifts: all of it where none is given.

    Raises:
        InputError: an unknown name (with the nearest known one), a severity that is not a number in [0, 1], a share that is not one in
            (0, 1], or a combination that has no meaning.
    """
    drift, at, of_traffic = text.strip().lower().partition("@")
    share = _share(text, of_traffic.strip()) if at else 1.0
    parts = [part.strip() for part in drift.split(":")]
    if parts == [""]:
        raise InputError(f"drift: nothing given; write {EXAMPLE.removeprefix('for example ')}")
    if parts == ["none"] and not at:
        return Scenario((), 0.0)
    if parts[0] == "none":
        raise InputError(f"drift {text!r}: none takes no severity and no share; write none")
    over_time = parts.pop(0) if parts[0] in CHANGING else CONSTANT
    kinds: tuple[str, ...] = DEFAULT_KINDS if over_time != CONSTANT else ()
    if parts and parts[0] and not _is_number(parts[0]):
        kinds = _kinds(text, parts.pop(0))
    if not kinds:
        raise InputError(f"drift {text!r}: no scenario named ({EXAMPLE})")
    severity = _severity(text, parts.pop(0)) if parts else DEFAULT_SEVERITY
    if parts:
        raise InputError(f"drift {text!r}: nothing may follow the severity ({EXAMPLE})")
    shifting = [kind for kind in kinds if DRIFT_KINDS[kind].shares]
    if over_time != CONSTANT and shifting:
        raise InputError(f"drift {text!r}: {shifting[0]} cannot change over time; write {shifting[0]}:{severity:g}")
    return Scenario(kinds, severity, over_time, share)


def _kinds(text: str, part: str) -> tuple[str, ...]:
    kinds = tuple(name.strip().replace("-", "_") for name in part.split("+"))
    for name in kinds:
        if name not in DRIFT_KINDS:
            raise InputError(f"drift {text!r}: no scenario {name!r} ({_hint(name)})")
    if len(set(kinds)) < len(kinds):
        raise InputError(f"drift {text!r}: a scenario is named twice; each may occur once")
    return kinds


def _hint(name: str) -> str:
    known = (*DRIFT_KINDS, *CHANGING, "none")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _severity(text: str, part: str) -> float:
    if not _is_number(part):
        raise InputError(f"drift {text!r}: {part!r} is not a severity; write a number from 0 to 1 ({EXAMPLE})")
    severity = float(part)
    if not (math.isfinite(severity) and 0 <= severity <= 1):
        raise InputError(f"drift {text!r}: severity {part} is out of range; write a number from 0 to 1")
    return severity


def _share(text: str, part: str) -> float:
    if not _is_number(part) or not 0 < float(part) <= 1:
        raise InputError(f"drift {text!r}: {part!r} is not a share of the traffic; write a number above 0 and up to 1, such as 0.1")
    return float(part)


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True
