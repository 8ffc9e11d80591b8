"""Alert rules, from one YAML file that is checked as a whole before anything is compared.

rules:
  - name: slow                 # unique
    metric: p95_ms             # one of `driftloop.alerts.series.METRICS`
    compare: ratio             # value (default), or difference from or ratio to the champion's own number
    above: 3                   # or `below`
    for: 2                     # so many watches (windows, where the metric is of windows) in a row; default 1
    severity: warning          # info, warning (default), critical
    message: "p95 is {value:.1f} times the benchmark ({baseline:.1f} ms)"
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from driftloop.alerts.series import METRICS, WITH_BASELINE, Point
from driftloop.errors import InputError

DEFAULT_RULES = Path(__file__).with_name("rules.yaml")
PLACEHOLDERS = ("value", "limit", "baseline", "instance", "detail", "watch")


class Rule(BaseModel):
    """One rule. It fires where each of the last `points` points lies beyond the limit, and is over when one does not."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9 _-]{0,59}$", description="unique")
    metric: str = Field(description="what is compared")
    compare: Literal["value", "difference", "ratio"] = Field("value", description="itself, or with the champion's own number")
    above: float | None = Field(None, description="fires above it")
    below: float | None = Field(None, description="fires below it")
    points: int = Field(1, ge=1, le=1000, alias="for", description="in a row")
    severity: Literal["info", "warning", "critical"] = "warning"
    message: str = Field("", max_length=500, description="a sentence with placeholders as of str.format; empty takes a standard one")

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Rule":
        if self.metric not in METRICS:
            near = difflib.get_close_matches(self.metric, METRICS, 1)
            raise ValueError(
                f"metric: {self.metric!r} is not known" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(METRICS)}")
            )
        if (self.above is None) == (self.below is None):
            raise ValueError("give `above` or `below`, one of the two")
        if self.compare != "value" and self.metric not in WITH_BASELINE:
            raise ValueError(f"compare: {self.metric} has no baseline; those that have one: {', '.join(WITH_BASELINE)}")
        try:
            for _, name, _, _ in Formatter().parse(self.message):
                if name is not None and name not in PLACEHOLDERS:
                    raise ValueError(f"{{{name}}} is none of {', '.join(PLACEHOLDERS)}")
            self.say(Point(1.0, 1, "x", 1.0), "x")
        except ValueError as error:
            raise ValueError(f"message: {error}") from None
        return self

    @property
    def limit(self) -> float:
        """What is compared with."""
        return self.above if self.above is not None else self.below  # type: ignore[return-value]

    def compared(self, point: Point) -> float | None:
        """What of a point is compared; None where the baseline is missing."""
        if self.compare == "value":
            return point.value
        if point.baseline is None or (self.compare == "ratio" and point.baseline == 0):
            return None
        return point.value - point.baseline if self.compare == "difference" else point.value / point.baseline

    def comparable(self, points: Sequence[Point]) -> list[Point]:
        """Those that can be compared."""
        return [point for point in points if self.compared(point) is not None]

    def fires(self, points: Sequence[Point]) -> bool | None:
        """Whether the newest points say so; None where there is nothing to compare."""
        values = [value for point in points if (value := self.compared(point)) is not None][-self.points :]
        if not values:
            return None
        return len(values) == self.points and all(value > self.limit if self.above is not None else value < self.limit for value in values)

    def say(self, point: Point, instance: str) -> str:
        """The sentence about its newest point."""
        if not self.message:
            sort = "" if self.compare == "value" else f" ({self.compare} to {point.baseline:g})"
            return f"{self.metric} {instance} is {self.compared(point):.4g}{sort}, limit {self.limit:g}".replace("  ", " ")
        return self.message.format(
            value=self.compared(point), limit=self.limit, baseline=point.baseline, instance=instance, detail=point.detail, watch=point.watch
        )


class _RuleFile(BaseModel):
    rules: list[Rule] = Field(min_length=1)


def read_rules(path: str | Path = DEFAULT_RULES) -> list[Rule]:
    """The rules of a file.

    Raises:
        InputError: it cannot be read, or a rule is none; one line that says which, and why.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or list(content) != ["rules"]:
        raise InputError(f"{path}: expected `rules:` with a list below it, and nothing else")
    try:
        rules = _RuleFile(**content).rules
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, content)}") from None
    names = [rule.name for rule in rules]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}: two rules are called {sorted(twice)[0]!r}; what was fired is known by the name")
    return rules


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    problem = error.errors()[0]
    where, said = list(problem["loc"]), problem["msg"].removeprefix("Value error, ")
    if len(where) > 1 and isinstance(where[1], int):
        rule = content["rules"][where[1]]
        name = f" ({rule['name']})" if isinstance(rule, dict) and "name" in rule else ""
        field = ".".join(str(part) for part in where[2:])
        return f"rule {where[1] + 1}{name}: {field + ': ' if field else ''}{said}"
    return f"{'.'.join(str(part) for part in where)}: {said}"
