"""`driftloop alerts` and `driftloop status --notify`: what fires, silences, files of rules."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from driftloop.alerts.receivers import ADDRESSES
from driftloop.alerts.series import METRICS
from driftloop.cli.alerts import alerts
from driftloop.cli.status import status
from driftloop.errors import InputError
from driftloop.store import open_store
from tests.factories.store_history import StoreHistory
from tests.unit.alerts.receiver import Receiver, receiving

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
APP = typer.Typer()
APP.command()(status)
APP.add_typer(alerts, name="alerts")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as server:
        monkeypatch.setenv(ADDRESSES, server.url)
        yield server


@pytest.fixture
def store(tmp_path: Path) -> str:
    """With a champion, and no watch for long."""
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1", metrics={"p95_ms": 8.0}, baseline={"p95_ms": 2.0})
    return history.store.uri


def say(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "300"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_notify_shows_what_it_told(store: str, receiver: Receiver) -> None:
    code, text = say("status", "--store", store, "--every", "1h", "--notify")
    assert (code, len(receiver.came)) == (0, 1)
    assert "late: critical since" in text
    assert "1 messages delivered" in text


def test_notify_takes_rules_of_one_s_own(store: str, receiver: Receiver, tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yaml"
    rules.write_text("rules: [{name: slow, metric: p95_ms, compare: ratio, above: 3, message: '{value:.0f} [times]'}]")
    assert say("status", "--store", store, "--notify", "--rules", str(rules))[0] == 0
    assert receiver.titles == ["[driftloop] warning: slow"]
    assert "slow: warning since" in (text := say("alerts", "list", "--store", store)[1])
    assert "4 [times]" in text
    assert "slow (warning): ratio of p95_ms to its baseline above 3" in say("alerts", "check", str(rules))[1]


def test_what_a_receiver_did_not_take_is_said_with_the_reason_and_status_one(store: str, receiver: Receiver) -> None:
    receiver.status = 500
    code, text = say("status", "--store", store, "--every", "1h", "--notify")
    assert code == 1
    assert "json was not told: HTTP status 500; it is tried again with the next call" in text
    assert "still to tell json: no watch comes" in say("alerts", "list", "--store", store)[1]
    (waiting,) = json.loads(say("alerts", "list", "--store", store, "--json")[1])["outbox"]
    assert waiting["pending"] == ["json"]


def test_a_silence_is_kept_shown_and_ended(store: str, receiver: Receiver) -> None:
    assert "nothing fires" in say("alerts", "list", "--store", store)[1]
    say("alerts", "silence", "late", "--for", "6h", "--reason", "[moving]", "--by", "Ada", "--store", store)
    say("status", "--store", store, "--every", "1h", "--notify")
    assert receiver.came == []
    assert "by Ada: [moving]" in say("alerts", "list", "--store", store)[1]
    say("alerts", "unsilence", "late", "--store", store)
    say("status", "--store", store, "--every", "1h", "--notify")
    assert len(receiver.came) == 1
    with pytest.raises(InputError, match="late: not silenced"):
        say("alerts", "unsilence", "late", "--store", store)


def test_rules_without_notify_and_nobody_to_notify_are_one_line(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--rules goes with --notify"):
        say("status", "--store", store, "--rules", str(tmp_path / "x.yaml"))
    monkeypatch.delenv(ADDRESSES, raising=False)
    with pytest.raises(InputError, match="nobody to notify"):
        say("status", "--store", store, "--notify")
    assert not open_store(store).exists("alerts/state.json")


def test_what_rules_can_compare_is_listed() -> None:
    text = say("alerts", "check", "--metrics")[1]
    assert [line.split(":")[0] for line in text.splitlines()] == list(METRICS)
