"""The text form of a scenario: `none`, `blur+noise:0.6`, `prior:0.2`, `gradual:brightness:0.5`, `recurring`."""

import difflib
import math

from driftloop.errors import InputError
from driftloop.scenarios.scenario import COURSES, FAMILIES, PRIOR, Scenario

#: What a name without a severity means, and a course without a family.
DEFAULT_SEVERITY = 0.6
DEFAULT_FAMILIES = ("blur", "noise")
CHANGING = tuple(course for course in COURSES if course != "constant")
EXAMPLE = "for example blur+noise:0.6, prior:0.2, gradual:brightness:0.5 or none"


def parse(text: str) -> Scenario:
    """Read `[course:][family[+family...]][:severity]`.

    The severity is 0.6 where none is given; the courses `gradual` and `recurring` alone mean blur+noise. `-` may stand for `_`.

    Raises:
        InputError: an unknown name (with the nearest known one), a severity that is no number in [0, 1], or a combination that
            has no meaning.
    """
    parts = [part.strip() for part in text.strip().lower().split(":")]
    if parts == [""]:
        raise InputError(f"drift: nothing given; write {EXAMPLE.removeprefix('for example ')}")
    if parts == ["none"]:
        return Scenario((), 0.0)
    if parts[0] == "none":
        raise InputError(f"drift {text!r}: none takes no severity; write none")
    course = parts.pop(0) if parts[0] in CHANGING else "constant"
    families: tuple[str, ...] = DEFAULT_FAMILIES if course != "constant" else ()
    if parts and parts[0] and not _is_number(parts[0]):
        families = _families(text, parts.pop(0))
    if not families:
        raise InputError(f"drift {text!r}: no scenario named ({EXAMPLE})")
    severity = _severity(text, parts.pop(0)) if parts else DEFAULT_SEVERITY
    if parts:
        raise InputError(f"drift {text!r}: nothing may follow the severity ({EXAMPLE})")
    if course != "constant" and PRIOR in families:
        raise InputError(f"drift {text!r}: a prior shift has no course over time; write {PRIOR}:{severity:g}")
    return Scenario(families, severity, course)


def _families(text: str, part: str) -> tuple[str, ...]:
    families = tuple(name.strip().replace("-", "_") for name in part.split("+"))
    for name in families:
        if name not in FAMILIES:
            raise InputError(f"drift {text!r}: no scenario {name!r} ({_hint(name)})")
    if len(set(families)) < len(families):
        raise InputError(f"drift {text!r}: a scenario is named twice; each may occur once")
    return families


def _hint(name: str) -> str:
    known = (*FAMILIES, *CHANGING, "none")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _severity(text: str, part: str) -> float:
    if not _is_number(part):
        raise InputError(f"drift {text!r}: {part!r} is not a severity; write a number from 0 to 1 ({EXAMPLE})")
    severity = float(part)
    if not (math.isfinite(severity) and 0 <= severity <= 1):
        raise InputError(f"drift {text!r}: severity {part} is out of range; write a number from 0 to 1")
    return severity


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True
