"""A real Alertmanager: what fires is active there, what is over or silent is not, and a restart that forgot everything is made up for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftloop.alerts.notifying import Told, notify
from driftloop.alerts.receivers import ALERTMANAGER, receivers
from driftloop.alerts.rules import read_rules
from driftloop.alerts.state import Lease, Silence, change_state
from driftloop.store import Store, open_store
from tests.debian import debian_program, free_port, running
from tests.factories.store_history import StoreHistory
from tests.serving.service_process import wait_for
from tests.unit.alerts.receiver import receiving

CONFIGURATION = "{route: {receiver: nobody}, receivers: [{name: nobody}]}"


@contextmanager
def alertmanager(folder: Path, port: int, configuration: str = CONFIGURATION) -> Iterator[str]:
    folder.mkdir()
    (folder / "alertmanager.yml").write_text(configuration)
    program = debian_program("prometheus-alertmanager", "prometheus-alertmanager")
    listen = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", f"--storage.path={folder / 'data'}"]
    with running(program, "--config.file=alertmanager.yml", *listen, folder=folder, port=port) as url:
        yield url


@pytest.fixture
def history(tmp_path: Path) -> StoreHistory:
    """A store with a champion whose watches no longer come."""
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1", alerts={"p95 latency": "9 ms"})
    return history


def silence(store: Store, until: datetime) -> None:
    new = Silence(rule="late", until=until.isoformat(), by="Ada", reason="moving house")
    change_state(store, lambda state: state.model_copy(update={"silences": [new]}))


def tell(history: StoreHistory, url: str) -> Told:
    return notify(history.store, read_rules(), receivers({ALERTMANAGER: url}), datetime.now(UTC), every=timedelta(hours=1))


def active(url: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (alert["labels"]["alertname"], alert["labels"].get("instance", "")): alert for alert in httpx.get(f"{url}/api/v2/alerts").json()
    }


def test_alertmanager_knows_what_fires_until_it_is_over_also_after_a_restart(history: StoreHistory, tmp_path: Path) -> None:
    port = free_port()
    assert tell(history, f"http://127.0.0.1:{port}").failures == {"alertmanager": "it could not be reached (NewConnectionError)"}
    with alertmanager(tmp_path / "first", port) as url:
        assert tell(history, url).delivered == 2
        found = active(url)
        assert found.keys() == {("late", ""), ("limit passed", "p95 latency")}
        late = found["late", ""]
        assert late["labels"] == {"alertname": "late", "severity": "critical", "store": history.store.uri, "job": "driftloop"}
        assert "covers up to" in late["annotations"]["summary"]
        assert datetime.fromisoformat(late["endsAt"]) > datetime.now(UTC) + timedelta(hours=23)
        assert tell(history, url).delivered == 0
        assert active(url).keys() == found.keys()
        assert {alert["startsAt"] for alert in active(url).values()} == {alert["startsAt"] for alert in found.values()}
    with alertmanager(tmp_path / "second", port) as url:
        assert active(url) == {}
        assert tell(history, url).delivered == 0
        assert active(url).keys() == found.keys()
        history.watched(2, "1", datetime.now(UTC).isoformat())
        assert tell(history, url).delivered == 2
        assert active(url) == {}
        assert tell(history, url).failures == {}


def test_what_fires_in_a_silence_is_not_active_there_and_is_again_after_it(history: StoreHistory, tmp_path: Path) -> None:
    port = free_port()
    with alertmanager(tmp_path / "first", port) as url:
        tell(history, url)
        found = active(url)
        silence(history.store, datetime.now(UTC) + timedelta(hours=6))
        for _ in range(2):
            assert tell(history, url).failures == {}
            assert active(url).keys() == {("limit passed", "p95 latency")}
        silence(history.store, datetime.now(UTC))
        tell(history, url)
        assert active(url).keys() == found.keys()
        assert active(url)["late", ""]["startsAt"] == found["late", ""]["startsAt"]
        silence(history.store, datetime.now(UTC) + timedelta(hours=6))
    assert tell(history, url).failures == {"alertmanager": "it could not be reached (NewConnectionError)"}
    with alertmanager(tmp_path / "second", port) as url:
        tell(history, url)
        assert active(url).keys() == {("limit passed", "p95 latency")}
        history.watched(2, "1", datetime.now(UTC).isoformat())
        assert tell(history, url).delivered == 2
        assert active(url) == {}


def test_its_own_receivers_hear_why_there_is_silence_and_nothing_more_while_it_lasts(history: StoreHistory, tmp_path: Path) -> None:
    route = "{receiver: hook, group_by: [...], group_wait: 0s, group_interval: 1s, repeat_interval: 1s}"

    def came(rule: str) -> list[dict[str, Any]]:
        return [message for message in list(receiver.came) if message["commonLabels"]["alertname"] == rule]

    with receiving() as receiver:
        hook = f"{{name: hook, webhook_configs: [{{url: 'http://127.0.0.1:{receiver.server_port}'}}]}}"
        with alertmanager(tmp_path / "first", free_port(), f"{{route: {route}, receivers: [{hook}]}}") as url:
            tell(history, url)
            wait_for(lambda: len(came("late")) > 1)
            silence(history.store, datetime.now(UTC) + timedelta(hours=6))
            tell(history, url)
            wait_for(lambda: came("late")[-1]["status"] == "resolved")
            heard, others = len(came("late")), len(came("limit passed"))
            tell(history, url)
            wait_for(lambda: len(came("limit passed")) > others + 2)
            assert len(came("late")) == heard
            silence(history.store, datetime.now(UTC))
            tell(history, url)
            wait_for(lambda: len(came("late")) > heard)
        told = [(message["status"], message["commonAnnotations"]["summary"]) for message in came("late")[heard - 1 : heard + 1]]
    assert [status for status, _ in told] == ["resolved", "firing"]
    assert re.fullmatch(r"silent until [-0-9]{10} [0-9:]{5} UTC by Ada: moving house; no watch comes: .*", told[0][1])
    assert told[1][1].startswith("no watch comes: ")


def test_a_rule_that_is_given_another_severity_leaves_no_alert_of_the_old_one_behind(history: StoreHistory, tmp_path: Path) -> None:
    with alertmanager(tmp_path / "severity", free_port()) as url:
        tell(history, url)
        graver = [rule.model_copy(update={"severity": "critical"}) for rule in read_rules()]
        notify(history.store, graver, receivers({ALERTMANAGER: url}), datetime.now(UTC), every=timedelta(hours=1))
        found = [(alert["labels"]["alertname"], alert["labels"]["severity"]) for alert in httpx.get(f"{url}/api/v2/alerts").json()]
        assert sorted(found) == [("late", "critical"), ("limit passed", "critical")]


def test_a_call_whose_clock_was_a_year_fast_leaves_nothing_behind_that_silences_others(history: StoreHistory, tmp_path: Path) -> None:
    history.watched(2, "1", datetime.now(UTC).isoformat())
    fast = datetime.now(UTC) + timedelta(days=365)
    with alertmanager(tmp_path / "fast", free_port()) as url:
        to = receivers({ALERTMANAGER: url})
        assert notify(history.store, read_rules(), to, fast, every=timedelta(hours=1)).failures == {}
        assert active(url).keys() == {("late", "")}
        lease = Lease(by="killed", until=fast.isoformat())
        change_state(history.store, lambda state: state.model_copy(update={"sending": lease}))
        history.watched(3, "1", datetime.now(UTC).isoformat(), alerts={"p95 latency": "9 ms"})
        assert tell(history, url).failures == {}
        assert active(url).keys() == {("limit passed", "p95 latency")}
