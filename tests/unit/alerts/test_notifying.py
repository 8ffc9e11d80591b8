"""`driftloop status --notify` with a real HTTP receiver: each thing told once, an outage survived, no address in what is left behind."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from driftloop.alerts.alertmanager import Alertmanager
from driftloop.alerts.apprise_notifier import apprise_receivers
from driftloop.alerts.notifying import Notifier, Told, notify
from driftloop.alerts.receivers import ADDRESSES, ALERTMANAGER, receivers
from driftloop.alerts.rules import Rule, read_rules
from driftloop.alerts.state import EVERY_RULE, KEY, AlertState, Silence, change_state, read_state
from driftloop.errors import InputError
from driftloop.inference.labels import write_requested
from driftloop.store import Store, open_store
from tests.factories.store_history import StoreHistory
from tests.unit.alerts.receiver import Receiver, receiving

#: apprise imports it where Python still has it, to be able to do without.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
SECRET = "t0p-s3cret-t0ken"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def history(store: Store, tmp_path: Path) -> StoreHistory:
    """A store with a champion, one old watch, and so a late one."""
    history = StoreHistory(store, tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1")
    return history


def tell(store: Store, *addresses: str, rules: Sequence[Rule] = ()) -> Told:
    to = receivers({ADDRESSES: " ".join(addresses)})
    return notify(store, rules or read_rules(), to, datetime.now(UTC), every=timedelta(hours=1))


def named(name: str, receiver: Receiver) -> Notifier:
    """A receiver as of another service."""
    (found,) = apprise_receivers([receiver.url], ADDRESSES)
    found.name = name
    return found


def tell_them(store: Store, *to: Notifier) -> Told:
    return notify(store, read_rules(), to, datetime.now(UTC), every=timedelta(hours=1))


def silence(store: Store, until: datetime) -> None:
    new = Silence(rule=EVERY_RULE, until=until.isoformat(), by="Ada", reason="moving house")
    change_state(store, lambda state: state.model_copy(update={"silences": [new]}))


def test_what_fires_is_told_once_and_what_is_over_once(history: StoreHistory, receiver: Receiver) -> None:
    assert tell(history.store, receiver.url).delivered == 1
    assert tell(history.store, receiver.url).delivered == 0
    history.watched(2, "1", datetime.now(UTC).isoformat())
    assert tell(history.store, receiver.url).delivered == 1
    assert receiver.titles == ["[driftloop] critical: late", "[driftloop] resolved: late"]
    assert [message["type"] for message in receiver.came] == ["failure", "success"]
    assert f"store: {history.store.uri}" in receiver.came[0]["message"]


def test_what_few_watches_measure_fires_after_so_many_of_them_and_not_over_before_one_says_so(
    history: StoreHistory, receiver: Receiver
) -> None:
    rules = [Rule(name="worse", metric="accuracy_drop", above=0.05, **{"for": 3})]
    drop = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 300.0}
    for sequence in range(2, 16):
        history.watched(sequence, "1", drop=None if sequence % 5 else drop)
    assert tell(history.store, receiver.url, rules=rules).delivered == 1
    for sequence in range(16, 30):
        history.watched(sequence, "1")
    assert tell(history.store, receiver.url, rules=rules).delivered == 0
    history.watched(30, "1", drop=drop | {"value": 0.0})
    tell(history.store, receiver.url, rules=rules)
    assert receiver.titles == ["[driftloop] warning: worse", "[driftloop] resolved: worse"]


def test_labels_that_are_wanted_come_with_their_list(history: StoreHistory, receiver: Receiver) -> None:
    asked = pd.DataFrame({"request_id": ["a", "b"], "origin": "random", "probability": 0.5})
    write_requested(history.store, 2, asked)
    history.watched(2, "1", datetime.now(UTC).isoformat(), verdict="needs_labels", reason="2 labels decide", labels_requested=2)
    tell(history.store, receiver.url)
    (message,) = receiver.came
    assert message["title"] == "[driftloop] warning: labels wanted"
    assert "2 labels decide" in message["message"]
    (attached,) = message["attachments"]
    assert attached["filename"] == "label_requests_000002.csv"
    assert base64.b64decode(attached["base64"]) == history.store.read("watch/requests/000002.csv")


def test_a_list_that_is_gone_by_now_does_not_stop_the_message(history: StoreHistory, receiver: Receiver) -> None:
    history.watched(2, "1", datetime.now(UTC).isoformat(), verdict="needs_labels", labels_requested=2)
    assert tell(history.store, receiver.url).delivered == 1
    assert receiver.came[0]["attachments"] == []


def test_a_receiver_that_is_away_is_told_later_and_the_others_at_once(history: StoreHistory, receiver: Receiver) -> None:
    with receiving() as other:
        receiver.status = 503
        told = tell(history.store, receiver.url, other.url)
        assert (told.delivered, told.failures) == (1, {"json": "HTTP status 503"})
        assert [(entry.pending, entry.failures) for entry in told.state.outbox] == [(["json"], {"json": "HTTP status 503"})]
        assert tell(history.store, receiver.url, other.url).delivered == 0
        receiver.status = 200
        assert tell(history.store, receiver.url, other.url).delivered == 1
        assert receiver.titles == other.titles == ["[driftloop] critical: late"]
        assert read_state(history.store).outbox == []


def test_what_ended_while_the_receiver_was_away_is_told_in_its_order(history: StoreHistory, receiver: Receiver) -> None:
    receiver.status = 500
    tell(history.store, receiver.url)
    history.watched(2, "1", datetime.now(UTC).isoformat())
    tell(history.store, receiver.url)
    receiver.status = 200
    assert tell(history.store, receiver.url).delivered == 2
    assert receiver.titles == ["[driftloop] critical: late", "[driftloop] resolved: late"]


def test_a_call_with_fewer_receivers_leaves_the_others_what_they_were_not_told(history: StoreHistory, receiver: Receiver) -> None:
    with receiving() as other:
        mail, slack = named("mail", receiver), named("slack", other)
        receiver.status = 503
        tell_them(history.store, mail, slack)
        told = tell_them(history.store, slack)
        assert [(entry.pending, entry.failures) for entry in told.state.outbox] == [(["mail"], {"mail": "HTTP status 503"})]
        receiver.status = 200
        assert tell_them(history.store, mail, slack).delivered == 1
        assert receiver.titles == other.titles == ["[driftloop] critical: late"]


def test_a_new_receiver_is_told_of_what_fires_and_of_an_end_who_was_told_of_the_beginning(
    history: StoreHistory, receiver: Receiver
) -> None:
    with receiving() as other, receiving() as third:
        mail, slack, teams = named("mail", receiver), named("slack", other), named("teams", third)
        tell_them(history.store, mail)
        assert tell_them(history.store, mail, slack).delivered == 1
        assert tell_them(history.store, mail, slack).delivered == 0
        history.watched(2, "1", datetime.now(UTC).isoformat())
        assert tell_them(history.store, slack, teams).delivered == 1
        assert tell_them(history.store, mail, slack, teams).delivered == 1
        assert receiver.titles == other.titles == ["[driftloop] critical: late", "[driftloop] resolved: late"]
        assert third.titles == []
        assert read_state(history.store).outbox == []


def test_what_a_receiver_was_not_told_before_a_silence_waits_for_its_end(history: StoreHistory, receiver: Receiver) -> None:
    receiver.status = 503
    tell(history.store, receiver.url)
    receiver.status = 200
    silence(history.store, datetime.now(UTC) + timedelta(hours=6))
    told = tell(history.store, receiver.url)
    assert (told.delivered, told.failures) == (0, {})
    history.watched(2, "1", datetime.now(UTC).isoformat())
    assert tell(history.store, receiver.url).delivered == 0
    silence(history.store, datetime.now(UTC))
    assert tell(history.store, receiver.url).delivered == 2
    assert receiver.titles == ["[driftloop] critical: late", "[driftloop] resolved: late"]


def test_the_end_of_what_was_told_before_a_silence_is_told_in_it_and_nothing_of_it_after(history: StoreHistory, receiver: Receiver) -> None:
    def asking(sequence: int) -> None:
        history.watched(sequence, "1", datetime.now(UTC).isoformat(), verdict="needs_labels", labels_requested=2)

    asking(2)
    tell(history.store, receiver.url)
    receiver.status = 503
    asking(3)
    tell(history.store, receiver.url)
    receiver.status = 200
    silence(history.store, datetime.now(UTC) + timedelta(hours=6))
    history.watched(4, "1", datetime.now(UTC).isoformat())
    assert tell(history.store, receiver.url).delivered == 1
    silence(history.store, datetime.now(UTC))
    assert tell(history.store, receiver.url).delivered == 0
    assert receiver.titles == ["[driftloop] warning: labels wanted", "[driftloop] resolved: labels wanted"]
    assert read_state(history.store).outbox == []


def test_of_two_calls_at_once_one_sends(history: StoreHistory, receiver: Receiver) -> None:
    receiver.open.clear()
    first: list[Told] = []
    thread = threading.Thread(target=lambda: first.append(tell(history.store, receiver.url)))
    thread.start()
    assert receiver.called.wait(30)
    assert tell(history.store, receiver.url).busy
    receiver.open.set()
    thread.join()
    assert (first[0].delivered, first[0].busy, len(receiver.came)) == (1, False, 1)
    assert read_state(history.store).sending is None


def test_many_calls_at_once_tell_each_thing_once(history: StoreHistory, receiver: Receiver) -> None:
    told: list[Told] = []
    threads = [threading.Thread(target=lambda: told.append(tell(history.store, receiver.url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(history.store, receiver.url)
    assert sum(result.delivered for result in told) == len(receiver.came) == 1


def test_calls_at_once_with_receivers_of_their_own_tell_each_of_them_once(history: StoreHistory) -> None:
    with receiving() as first, receiving() as second, receiving() as third:
        to = [named("mail", first), named("slack", second), named("teams", third)]
        chosen = [to[:1], to[1:2], to[2:], to[:2], to[1:], to]
        threads = [threading.Thread(target=tell_them, args=(history.store, *some)) for some in chosen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tell_them(history.store, *to)
        assert [len(receiver.came) for receiver in (first, second, third)] == [1, 1, 1]
        history.watched(2, "1", datetime.now(UTC).isoformat())
        tell_them(history.store, *to)
        assert first.titles == second.titles == third.titles == ["[driftloop] critical: late", "[driftloop] resolved: late"]


def test_a_call_that_was_overtaken_changes_nothing(history: StoreHistory, receiver: Receiver) -> None:
    before = datetime.now(UTC)
    history.watched(2, "1", datetime.now(UTC).isoformat())
    assert tell(history.store, receiver.url).delivered == 0
    stale = [Rule(name="late", metric="age_hours", above=-1)]
    told = notify(history.store, stale, receivers({ADDRESSES: receiver.url}), before, every=timedelta(hours=1))
    assert (told.delivered, told.state.alerts) == (0, [])


def test_a_call_that_is_killed_while_it_sends_is_made_up_for_under_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1")
    command = [sys.executable, "-m", "driftloop.cli.main", "status", "--store", history.store.uri, "--every", "1h", "--notify"]
    receiver.open.clear()
    with subprocess.Popen(command, env={**os.environ, ADDRESSES: receiver.url}) as process:
        assert receiver.called.wait(60)
        process.send_signal(signal.SIGKILL)
    receiver.open.set()
    assert tell(history.store, receiver.url).busy, "the dead call's lease still holds"
    change_state(history.store, _expired)
    assert tell(history.store, receiver.url).delivered == 1
    identities = {message["message"].rsplit("id ", 1)[1] for message in receiver.came}
    assert len(identities) == 1
    assert read_state(history.store).outbox == []


def _expired(state: AlertState) -> AlertState:
    assert state.sending is not None
    return state.model_copy(update={"sending": state.sending.model_copy(update={"until": "2026-01-01T00:00:00+00:00"})})


@pytest.mark.parametrize("fault", ["", "refused", "away"])
def test_no_address_is_left_behind_anywhere(tmp_path: Path, receiver: Receiver, fault: str) -> None:
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1")
    receiver.status = 403 if fault == "refused" else 200
    port = 1 if fault == "away" else receiver.server_port
    environment = {
        **os.environ,
        ADDRESSES: f"json://user:{SECRET}@127.0.0.1:{port}/{SECRET}?-token={SECRET}",
        ALERTMANAGER: f"http://user:{SECRET}@127.0.0.1:1/{SECRET}",
    }
    command = [sys.executable, "-m", "driftloop.cli.main", "status", "--store", history.store.uri, "--every", "1h", "--notify"]
    done = subprocess.run([*command, "--json"], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["delivered"] == (0 if fault else 1)
    assert "alertmanager was not told: it could not be reached" in done.stderr
    assert ("json was not told" in done.stderr) is bool(fault)
    assert SECRET not in done.stdout + done.stderr
    assert SECRET.encode() not in b"".join(history.store.read(entry.key) for entry in history.store.list())


@pytest.mark.parametrize("address", [f"nobody://{SECRET}", f"slack://{SECRET}", SECRET, f"mailto://{SECRET}"])
def test_an_address_that_is_none_is_one_line_without_it(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="address 2 of 2 is none that apprise knows") as refused:
        apprise_receivers(["json://127.0.0.1", address], ADDRESSES)
    assert SECRET not in str(refused.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize("address", [SECRET, f"ftp://{SECRET}", f"http://host:{SECRET}", "http://"])
def test_an_alertmanager_s_address_that_is_none_is_one_line_without_it(address: str) -> None:
    with pytest.raises(InputError, match=f"{ALERTMANAGER}: not an address like") as refused:
        Alertmanager(address, ALERTMANAGER)
    assert SECRET not in str(refused.value)


def test_receivers_are_known_by_their_service_and_number() -> None:
    found = apprise_receivers(["json://127.0.0.1/a", "xml://127.0.0.1/b", "json://127.0.0.1/c"], ADDRESSES)
    assert [receiver.name for receiver in found] == ["json", "xml", "json-2"]


def test_nobody_to_tell_is_one_line() -> None:
    with pytest.raises(InputError, match=f"nobody to notify: set {ADDRESSES} .* or {ALERTMANAGER}"):
        receivers({})


def test_no_command_loads_apprise_unless_it_is_asked_for() -> None:
    loaded = "import sys, driftloop.cli.main, driftloop.alerts.receivers; print('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_damaged_state_is_one_line(history: StoreHistory, receiver: Receiver) -> None:
    history.store.put(KEY, b"{")
    with pytest.raises(Exception, match=r"alerts/state\.json: damaged"):
        tell(history.store, receiver.url)


def test_without_its_package_one_line_says_how_to_get_it() -> None:
    script = (
        f"import sys; sys.modules['apprise'] = None; from driftloop.alerts.receivers import *; receivers({{'{ADDRESSES}': 'json://x'}})"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "driftloop.InputError: apprise is not installed here; pip install 'driftloop[alerts]'"
