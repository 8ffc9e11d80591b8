"""Files of alert rules: what they may say, when they fire, and the one line where they say something else."""

from pathlib import Path

import pytest

from driftloop.alerts.rules import Rule, read_rules
from driftloop.alerts.series import METRICS, WITH_BASELINE, Point
from driftloop.errors import InputError


def rule(**given: object) -> Rule:
    return Rule(**{"name": "r", "metric": "p95_ms"} | given)


def points(*values: float, baseline: float | None = None) -> list[Point]:
    return [Point(value, number, "why", baseline) for number, value in enumerate(values, start=1)]


def test_the_usual_rules_are_rules() -> None:
    assert [known.name for known in read_rules()] == ["late", "failed", "labels wanted", "drift", "limit passed"]


def test_what_has_a_baseline_is_a_metric() -> None:
    assert set(WITH_BASELINE) <= METRICS.keys()


@pytest.mark.parametrize(("values", "fires"), [((5, 6, 7), True), ((7, 5, 6), True), ((6, 4, 7), False), ((7, 7), False), ((), None)])
def test_a_rule_fires_where_it_holds_so_often_in_a_row(values: tuple[float, ...], fires: bool | None) -> None:
    assert rule(above=4.5, **{"for": 3}).fires(points(*values)) is fires


def test_the_limit_itself_is_no_alert() -> None:
    assert rule(above=5).fires(points(5)) is False
    assert rule(below=5).fires(points(5)) is False
    assert rule(below=5).fires(points(4.9)) is True


def test_a_rule_compares_with_the_champion_s_own_number() -> None:
    measured = points(8, 9, baseline=2.5)
    assert rule(compare="ratio", above=3.5).fires(measured) is True
    assert rule(compare="ratio", above=3.7).fires(measured) is False
    assert rule(compare="difference", above=6.4).fires(measured) is True
    assert rule(compare="difference", below=6.4).fires(measured) is False
    assert rule(compare="ratio", above=3).fires(points(8)) is None
    assert rule(compare="ratio", above=3).fires(points(8, baseline=0)) is None


def test_the_message_says_value_limit_and_baseline() -> None:
    said = rule(compare="ratio", above=3, message="{value:.1f} times {baseline} ms (limit {limit:g}, watch {watch}): {detail}")
    assert said.say(points(9, baseline=2)[0], "") == "4.5 times 2 ms (limit 3, watch 1): why"
    assert rule(metric="p_value", below=0.01).say(Point(0.002, 1), "mmd") == "p_value mmd is 0.002, limit 0.01"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected `rules:`"),
        ("rules: [", "not YAML"),
        ("rules: []", "rules: .*at least 1 item"),
        ("rulez: []", "expected `rules:`"),
        ("rules: [{name: a, metric: p95_m, above: 1}]", r"rule 1 \(a\): metric: 'p95_m' is not known; did you mean p95_ms\?"),
        ("rules: [{name: a, metric: p95_ms}]", r"rule 1 \(a\): give `above` or `below`"),
        ("rules: [{name: a, metric: p95_ms, above: 1, below: 2}]", "give `above` or `below`"),
        ("rules: [{name: a, metric: p95_ms, above: .nan}]", r"rule 1 \(a\): above: "),
        ("rules: [{name: a, metric: p95_ms, above: 1, for: 0}]", r"rule 1 \(a\): for: "),
        ("rules: [{name: a, metric: p95_ms, above: 1, severity: high}]", r"rule 1 \(a\): severity: .*critical"),
        ("rules: [{name: a, metric: p95_ms, above: 1, webhook: x}]", r"rule 1 \(a\): webhook: "),
        ("rules: [{name: a, metric: accuracy, compare: ratio, above: 1}]", "accuracy has no baseline; those that have one: p95_ms"),
        ("rules: [{name: a, metric: p95_ms, above: 1, message: '{value.__class__}'}]", "value.__class__} is none of value, limit"),
        ("rules: [{name: a, metric: p95_ms, above: 1, message: '{secret}'}]", "message: {secret} is none of"),
        ("rules: [{name: a, metric: p95_ms, above: 1, message: '{detail:.2f}'}]", "message: "),
        ("rules: [{name: a, metric: late, above: 0}, {name: a, metric: failed, above: 0}]", "two rules are called 'a'"),
    ],
)
def test_what_is_no_rule_is_one_line_that_says_which(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=line) as refused:
        read_rules(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: No such file"):
        read_rules(tmp_path / "none.yaml")
