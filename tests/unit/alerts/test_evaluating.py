"""From watch records to what fires, what is over, and what is to be told: once each."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftloop.alerts.evaluating import evaluate
from driftloop.alerts.rules import Rule, read_rules
from driftloop.alerts.series import measured
from driftloop.alerts.state import Alert, AlertState, Silence
from driftloop.contracts import UNFINISHED_WATCH
from driftloop.housekeeping.watch_age import watch_age
from driftloop.watch_record import RecordedWindow, WatchRecord
from tests.factories.records import watch_record

START = datetime(2026, 1, 1, tzinfo=UTC)


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def watched(sequence: int, **given: Any) -> WatchRecord:
    """A watch an hour."""
    return watch_record(sequence, hour(sequence).isoformat(), **given)


class Looks:
    """Looks at a growing history, one after the other."""

    def __init__(self, *rules: Rule) -> None:
        self.rules, self.state = list(rules) or read_rules(), AlertState()

    def look(self, *records: WatchRecord, at: float, champion: str | None = "1", to: Sequence[str] = ("mail",)) -> list[str]:
        """What receivers are told then: what fires, and what is over (-)."""
        age = watch_age(records, hour(at), every=timedelta(hours=1), waiting_since=START)
        before = {entry.id for entry in self.state.outbox}
        series = measured(records, age, champion=champion)
        self.state = evaluate(self.state, self.rules, series, hour(at), champion=champion, store="s", receivers=to)
        return [
            ("" if entry.alert.firing else "-") + entry.alert.rule + (f"/{entry.alert.instance}" if entry.alert.instance else "")
            for entry in self.state.outbox
            if entry.id not in before
        ]

    @property
    def waiting(self) -> list[tuple[bool, list[str]]]:
        """Whether what is to be told fires, and whom."""
        return [(entry.alert.firing, entry.pending) for entry in self.state.outbox]

    @property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.state.alerts if alert.firing]


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_a_quiet_store_tells_nothing(looks: Looks) -> None:
    assert looks.look(watched(1), at=1.5) == []
    assert looks.state.alerts == []


def test_a_watch_that_does_not_come_is_told_once_and_its_coming_once(looks: Looks) -> None:
    assert looks.look(watched(1), at=2.9) == []
    assert looks.look(watched(1), at=3.1) == ["late"]
    assert "covers up to 2 h 6 min ago, and one should come every 1 h" in looks.firing[0].message
    assert looks.look(watched(1), at=3.2) == looks.look(watched(1), at=9) == []
    assert looks.look(watched(1), watched(9), at=9.1) == ["-late"]
    assert looks.look(watched(1), watched(9), at=9.2) == []
    assert looks.look(watched(1), watched(9), at=12) == ["late"]
    assert len({entry.id for entry in looks.state.outbox}) == 3


def test_another_severity_ends_what_was_told_and_begins_anew(looks: Looks) -> None:
    one = watched(1, alerts={"confidence": "0.7"})
    assert looks.look(one, at=1.1) == ["limit passed/confidence"]
    looks.rules = [rule.model_copy(update={"severity": "critical"}) for rule in looks.rules]
    assert looks.look(one, at=1.2) == ["-limit passed/confidence", "limit passed/confidence"]
    assert [(entry.alert.severity, entry.alert.firing) for entry in looks.state.outbox] == [
        ("warning", True),
        ("warning", False),
        ("critical", True),
    ]
    assert looks.look(one, at=1.3) == []


def test_a_champion_that_was_never_watched_is_told(looks: Looks) -> None:
    assert looks.look(at=1.9) == []
    assert looks.look(at=2.1) == ["late"]
    assert "never watched" in looks.firing[0].message


def test_a_failed_watch_is_told_until_one_ends_well(looks: Looks) -> None:
    failed = watched(1, state="failed", failure="out of memory")
    assert looks.look(failed, at=1.1) == ["failed"]
    assert looks.firing[0].message == "watch 1 failed: out of memory"
    after = watched(2, alerts={UNFINISHED_WATCH: "watch 1 was not finished"})
    assert looks.look(failed, after, at=2.1) == ["-failed"]


def test_labels_that_are_wanted_are_told_with_their_list_and_again_with_each_new_list(looks: Looks) -> None:
    one = watched(1, verdict="needs_labels", labels_requested=40, reason="40 labels decide")
    assert looks.look(one, at=1.1) == ["labels wanted"]
    assert looks.firing[0].attachment == "watch/requests/000001.csv"
    assert looks.look(one, at=1.2) == []
    two = watched(2, verdict="needs_labels", labels_requested=44)
    assert looks.look(one, two, at=2.1) == ["labels wanted"]
    three = watched(3, verdict="needs_labels")
    assert looks.look(one, two, three, at=3.1) == [], "it asks for nothing new"
    assert looks.firing[0].since == hour(1.1).isoformat()
    assert looks.look(one, two, three, watched(4), at=4.1) == ["-labels wanted"]


def test_each_limit_of_the_watch_is_an_alert_of_its_own(looks: Looks) -> None:
    one = watched(1, alerts={"p95 latency": "9 ms", "confidence": "0.7"})
    assert looks.look(one, at=1.1) == ["limit passed/confidence", "limit passed/p95 latency"]
    two = watched(2, alerts={"p95 latency": "8 ms"})
    assert looks.look(one, two, at=2.1) == ["-limit passed/confidence"]
    assert [alert.message for alert in looks.firing] == ["8 ms"]


def test_a_rule_over_windows_counts_windows_whichever_watch_tested_them() -> None:
    def window(p_value: float) -> RecordedWindow:
        return RecordedWindow(first="", last="", rows=200, drifted=False, p_values={"mmd": p_value, "statistics": 0.5})

    looks = Looks(Rule(name="low", metric="p_value", below=0.01, **{"for": 3}))
    one, two = watched(1, windows=[window(0.5), window(0.001)]), watched(2, windows=[window(0.002), window(0.003)])
    assert looks.look(one, at=1.1) == []
    assert looks.look(one, two, at=2.1) == ["low/mmd"]
    assert looks.look(one, two, watched(3, windows=[window(0.3)]), at=3.1) == ["-low/mmd"]


def test_a_rule_compares_what_the_watch_measured_with_the_champion_s_own_number() -> None:
    looks = Looks(Rule(name="slow", metric="p95_ms", compare="ratio", above=3))
    one = watched(1, metrics={"p95_ms": 7.0}, baseline={"p95_ms": 2.0})
    assert looks.look(one, at=1.1) == ["slow"]
    assert looks.look(one, watched(2, metrics={"p95_ms": 5.0}, baseline={"p95_ms": 2.0}), at=2.1) == ["-slow"]


def test_a_watch_without_a_baseline_is_passed_over() -> None:
    looks = Looks(Rule(name="slow", metric="p95_ms", compare="ratio", above=3, message="{value:.1f} of {baseline}"))
    one, two = watched(1, metrics={"p95_ms": 7.0}, baseline={"p95_ms": 2.0}), watched(2, metrics={"p95_ms": 7.0})
    assert looks.look(one, two, at=2.1) == ["slow"]
    assert looks.firing[0].message == "3.5 of 2.0"


def test_what_no_watch_measured_changes_nothing() -> None:
    looks = Looks(Rule(name="wrong", metric="accuracy", below=0.9))
    one = watched(1, metrics={"accuracy": 0.8})
    assert looks.look(one, at=1.1) == ["wrong"]
    assert looks.look(one, watched(2), at=2.1) == []


def test_another_champion_ends_what_was_said_of_the_one_before_but_not_that_watches_fail() -> None:
    looks = Looks(*read_rules(), Rule(name="wrong", metric="accuracy", below=0.9))
    one = watched(1, metrics={"accuracy": 0.8}, confirmed=True, state="failed", failure="killed")
    assert looks.look(one, at=1.1) == ["failed", "drift", "wrong"]
    assert looks.look(one, at=1.2, champion="2") == ["-drift", "-wrong"]
    assert "another version serves" in looks.state.outbox[-1].alert.message


def test_what_the_next_champion_s_first_watch_says_is_told_after_the_end_of_what_was_said_of_the_one_before(looks: Looks) -> None:
    assert looks.look(watched(1, confirmed=True), at=1.1) == ["drift"]
    after = watched(2, confirmed=True, champion_version="2")
    assert looks.look(watched(1, confirmed=True), after, at=2.1, champion="2") == ["-drift", "drift"]
    assert [(alert.version, alert.since) for alert in looks.firing] == [("2", hour(2.1).isoformat())]
    assert looks.look(watched(1, confirmed=True), after, at=2.2, champion="2") == []


@pytest.mark.parametrize("champion", ["1", None])
def test_while_no_other_version_serves_what_no_record_tells_of_any_more_stays(champion: str | None) -> None:
    looks = Looks(Rule(name="wrong", metric="accuracy", below=0.9))
    assert looks.look(watched(1, metrics={"accuracy": 0.8}), at=1.1) == ["wrong"]
    assert looks.look(watched(2), at=2.1, champion=champion) == []
    assert [alert.message for alert in looks.firing] == ["accuracy is 0.8, limit 0.9"]


def test_a_version_that_serves_again_is_not_judged_by_what_was_said_of_it_before(looks: Looks) -> None:
    before = [watched(1, confirmed=True), watched(2, champion_version="2")]
    assert looks.look(*before, at=2.1) == []
    assert looks.look(*before, watched(3, confirmed=True), at=3.1) == ["drift"]


def of_before(state: AlertState) -> AlertState:
    """As an earlier release left it: it knew neither versions nor who was told."""
    content = state.model_dump(mode="json")
    for alert in [*content["alerts"], *(entry["alert"] for entry in content["outbox"])]:
        del alert["version"], alert["told_to"]
    return AlertState.model_validate(content)


def test_a_state_of_an_earlier_release_goes_on_until_another_version_serves(looks: Looks) -> None:
    one = watched(1, confirmed=True, state="failed", failure="killed")
    assert looks.look(one, at=1.1) == ["failed", "drift"]
    looks.state = of_before(looks.state)
    assert looks.look(one, at=1.2) == []
    looks.state = of_before(looks.state)
    assert looks.look(one, at=1.3, champion="2") == ["-drift"]


def test_a_state_of_an_earlier_release_told_everybody_who_was_there(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    looks.state = of_before(looks.state).model_copy(update={"outbox": []})
    looks.look(watched(1), at=4.1, to=["mail", "slack"])
    assert looks.waiting == []
    looks.look(watched(1), at=4.2, to=["mail", "slack", "teams"])
    assert looks.waiting == [(True, ["teams"])]
    looks.look(watched(1), watched(4), at=4.3, to=["mail"])
    assert looks.waiting == [(True, ["teams"]), (False, ["mail", "slack"]), (False, ["teams"])]


def test_what_was_silent_in_a_state_of_an_earlier_release_is_told_when_that_ends(looks: Looks) -> None:
    looks.state = AlertState(silences=[Silence(rule="late", until=hour(6).isoformat(), by="me", reason="x")])
    looks.look(watched(1), at=5)
    looks.state = of_before(looks.state)
    assert looks.look(watched(1), at=5.5) == []
    assert looks.look(watched(1), at=6.1) == ["late"]


def test_a_rule_that_is_gone_is_over() -> None:
    looks = Looks(Rule(name="wrong", metric="accuracy", below=0.9))
    one = watched(1, metrics={"accuracy": 0.8})
    looks.look(one, at=1.1)
    looks.rules = read_rules()
    assert looks.look(one, at=1.2) == ["-wrong"]


def test_whether_a_watch_is_late_can_be_unknown_for_a_while(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    unknown = measured([watched(1)], watch_age([watched(1)], hour(5), every=None, waiting_since=START), champion="1")
    after = evaluate(looks.state, looks.rules, unknown, hour(5), champion="1", store="s", receivers=["mail"])
    assert [alert.firing for alert in after.alerts] == [True]
    assert after.outbox == looks.state.outbox


@pytest.mark.parametrize("silenced", ["late", "*"])
def test_a_silenced_rule_is_kept_and_told_when_the_silence_ends(looks: Looks, silenced: str) -> None:
    silence = Silence(rule=silenced, until=hour(6).isoformat(), by="me", reason="moving house")
    looks.state = AlertState(silences=[silence])
    assert looks.look(watched(1), at=5) == []
    assert [alert.rule for alert in looks.firing] == ["late"]
    assert looks.look(watched(1), at=6.1) == ["late"]
    assert looks.state.silences == []


def test_what_began_and_ended_in_silence_is_never_told(looks: Looks) -> None:
    looks.state = AlertState(silences=[Silence(rule="late", until=hour(9).isoformat(), by="me", reason="x")])
    looks.look(watched(1), at=5)
    assert looks.look(watched(1), watched(5), at=5.5) == []
    assert [alert.firing for alert in looks.state.alerts] == [False]


def test_what_was_told_before_its_silence_still_ends(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    looks.state = looks.state.model_copy(update={"silences": [Silence(rule="late", until=hour(9).isoformat(), by="me", reason="x")]})
    assert looks.look(watched(1), watched(5), at=5.5) == ["-late"]


def test_what_nobody_took_and_what_is_long_over_is_forgotten(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    looks.look(watched(1), watched(5), at=5.1)
    assert len(looks.state.outbox) == 2
    looks.look(watched(24 * 8), at=24 * 8.01)
    assert (looks.state.outbox, len(looks.state.alerts)) == ([], 1)
    looks.look(watched(24 * 40), at=24 * 40.01)
    assert looks.state.alerts == []


def test_a_receiver_that_is_gone_is_waited_for_for_a_week(looks: Looks) -> None:
    looks.look(watched(1), at=4, to=["mail", "slack"])
    looks.look(watched(1), at=24 * 7, to=["slack"])
    assert looks.waiting == [(True, ["mail", "slack"])]
    looks.look(watched(1), watched(24 * 7), at=24 * 7 + 1, to=["slack"])
    assert looks.waiting == [(True, ["mail", "slack"]), (False, ["mail", "slack"])]
    looks.look(watched(24 * 7 + 4), at=24 * 7 + 4.1, to=["slack"])
    assert looks.waiting == [], "who was not told that it fires is not told either that it is over"
    looks.look(watched(24 * 7 + 4), at=24 * 8, to=["slack"])
    assert looks.waiting == [(True, ["slack"])]


def test_a_receiver_that_comes_back_after_a_week_is_told_of_what_still_fires(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    looks.look(watched(1), at=24 * 8, to=["slack"])
    assert looks.waiting == [(True, ["slack"])]
    looks.look(watched(1), at=24 * 8.1, to=["mail", "slack"])
    assert looks.waiting == [(True, ["slack"]), (True, ["mail"])]
    looks.look(watched(1), at=24 * 8.2, to=["mail", "slack"])
    assert looks.waiting == [(True, ["slack"]), (True, ["mail"])]


def test_a_receiver_that_comes_in_a_silence_is_told_when_that_ends(looks: Looks) -> None:
    looks.look(watched(1), at=4)
    looks.state = looks.state.model_copy(update={"silences": [Silence(rule="late", until=hour(6).isoformat(), by="me", reason="x")]})
    looks.look(watched(1), at=5, to=["mail", "slack"])
    assert looks.waiting == [(True, ["mail"])]
    looks.look(watched(1), at=6.1, to=["mail", "slack"])
    assert looks.waiting == [(True, ["mail"]), (True, ["slack"])]


def test_each_receiver_gets_each_list_of_labels_whoever_was_there_when_it_came(looks: Looks) -> None:
    one, two, three = (watched(number, verdict="needs_labels", labels_requested=40) for number in (1, 2, 3))
    looks.look(one, at=1.1, to=["mail", "slack"])
    looks.look(one, two, at=2.1, to=["slack"])
    looks.look(one, two, watched(3, verdict="needs_labels"), at=3.1, to=["mail", "slack"])
    assert [(entry.alert.revision, entry.pending) for entry in looks.state.outbox] == [
        ("1", ["mail", "slack"]),
        ("2", ["slack"]),
    ]
    looks.look(one, two, three, at=3.2, to=["mail", "slack"])
    assert (looks.state.outbox[-1].alert.revision, looks.waiting[-1]) == ("3", (True, ["mail", "slack"]))
