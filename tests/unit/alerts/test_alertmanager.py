"""A real Alertmanager: what fires is active there, what is over is resolved, and a restart that forgot everything is made up for."""

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
from driftloop.store import open_store
from tests.debian import debian_program, free_port, running
from tests.factories.store_history import StoreHistory

CONFIGURATION = "{route: {receiver: nobody}, receivers: [{name: nobody}]}"


@contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[str]:
    folder.mkdir()
    (folder / "alertmanager.yml").write_text(CONFIGURATION)
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
