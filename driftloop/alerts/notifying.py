"""The telling: what `driftloop status --notify` does. What a receiver that is away was not told waits for the next call."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from driftloop import registry
from driftloop.alerts.evaluating import evaluate
from driftloop.alerts.rules import Rule
from driftloop.alerts.series import measured
from driftloop.alerts.state import Alert, AlertState, Lease, Notification, Silence, change_state
from driftloop.errors import NotFound
from driftloop.housekeeping.watch_age import RECENT_RECORDS, watch_age
from driftloop.store import Store
from driftloop.watch_store import read_records

#: Longer than a receiver may take for one message; renewed with each.
LEASE = timedelta(minutes=2)


class NotDelivered(Exception):
    """A receiver did not take a message; says why, without a secret."""


@dataclass(frozen=True)
class Message:
    """A notification with what goes along."""

    notification: Notification
    store: str
    """URI of the store."""
    attachment: tuple[str, bytes] | None
    """File name and content."""

    @property
    def alert(self) -> Alert:
        """What it is about."""
        return self.notification.alert

    @property
    def title(self) -> str:
        """One line."""
        what = self.alert.severity if self.alert.firing else "resolved"
        return f"[driftloop] {what}: {self.alert.rule}" + (f" ({self.alert.instance})" if self.alert.instance else "")

    @property
    def body(self) -> str:
        """What a person reads."""
        lines = [self.alert.message, f"store: {self.store}"]
        if self.alert.attachment:
            lines.append(f"the list: {self.alert.attachment} in the store; `driftloop labels import` brings the labels")
        return "\n".join([*lines, f"since {self.alert.since[:16].replace('T', ' ')} UTC; id {self.notification.id}"])


class Notifier(Protocol):
    """A way to tell somebody; a file and, where it needs a package, an extra each."""

    name: str
    """Stable, unique, and without a secret: by it the outbox knows who was told."""
    forgets: bool
    """Whether it has to be told again and again of what still fires, and of a silence."""

    def send(self, message: Message) -> None:
        """Tell it. Raises NotDelivered."""


@dataclass(frozen=True)
class Told:
    """What a call did."""

    state: AlertState
    """Afterwards."""
    delivered: int
    """Messages that receivers took."""
    failures: dict[str, str]
    """Receivers that did not, and why."""
    busy: bool
    """Whether another call was sending, so that this one left it to that."""


def notify(store: Store, rules: Sequence[Rule], to: Sequence[Notifier], now: datetime, *, every: timedelta | None) -> Told:
    """Look at the store, note what fires and what is over, and tell.

    Args:
        every: the interval of the schedule; None takes the median of the watches.

    Raises:
        StoreError: the store cannot be read or written; a receiver's failure is no error.
    """
    champion = registry.current(store)
    records = read_records(store)
    waiting = datetime.fromisoformat(champion.promoted_at) if champion else None
    age = watch_age(records[-RECENT_RECORDS:], now, every=every, waiting_since=waiting)
    version = champion.version if champion else None
    series = measured(records, age, champion=version)
    names = [receiver.name for receiver in to]
    me = secrets.token_hex(8)

    def looked(state: AlertState) -> AlertState:
        # A call that read the store long ago, and was overtaken, knows nothing new. By one whose clock is fast it was not.
        clock = datetime.now(UTC)
        if not state.looked or not now < datetime.fromisoformat(state.looked) <= clock:
            state = evaluate(state, rules, series, now, champion=version, store=store.uri, receivers=names)
        # Clocks differ by seconds; a lease of more than twice its time is of one that was wrong.
        free = (
            state.sending is None or state.sending.by == me or not clock < datetime.fromisoformat(state.sending.until) <= clock + 2 * LEASE
        )
        return state.model_copy(update={"sending": _lease(me)}) if free else state

    state = change_state(store, looked)
    if state.sending is None or state.sending.by != me:
        return Told(state, 0, {}, busy=True)
    return _deliver(store, state, to, now, me)


def _deliver(store: Store, state: AlertState, to: Sequence[Notifier], now: datetime, me: str) -> Told:
    delivered, failures = 0, {}
    for receiver in to:
        waiting = _waiting(state, receiver.name, now)
        told = {(entry.alert.rule, entry.alert.instance) for entry in waiting}
        again = [
            _told_again(alert, state.silenced(alert.rule, now), now)
            for alert in state.alerts
            if alert.firing and receiver.name in (alert.told_to or {}) and (alert.rule, alert.instance) not in told
        ]
        try:
            for entry in waiting:
                receiver.send(Message(entry, store.uri, _attachment(store, entry.alert)))
                delivered += 1
                state = change_state(store, partial(_noted, entry, receiver.name, me))
            for alert in again if receiver.forgets else []:
                receiver.send(Message(Notification(id="", alert=alert, at=alert.since, pending=[]), store.uri, None))
        except NotDelivered as failure:
            # It is away: the others of its messages wait with this one.
            failures[receiver.name] = str(failure)
    return Told(change_state(store, partial(_ended, failures, me)), delivered, failures, busy=False)


def _waiting(state: AlertState, receiver: str, now: datetime) -> list[Notification]:
    """What it is to be told now, oldest first. What fires waits for the end of a silence, and its own end with it where it is news."""
    found, held = [], set()
    for entry in state.outbox:
        if receiver not in entry.pending:
            continue
        if entry.alert.firing and state.silenced(entry.alert.rule, now):
            held.add(entry.alert.incident)
        elif entry.alert.incident not in held or receiver in (entry.alert.told_to or {}):
            found.append(entry)
    return found


def _told_again(alert: Alert, silence: Silence | None, now: datetime) -> Alert:
    """What one that forgets is told with each call; one that would go on telling others in a silence takes it for over."""
    if silence is None:
        return alert
    why = f"silent until {silence.until[:16].replace('T', ' ')} UTC by {silence.by}: {silence.reason}; {alert.message}"
    return alert.model_copy(update={"firing": False, "ended": now.isoformat(), "message": why, "attachment": ""})


def _noted(told: Notification, receiver: str, me: str, state: AlertState) -> AlertState:
    """Without what the receiver has taken, and what it need not hear after it; with that noted in the alert, and the lease renewed."""
    entries = [
        entry.model_copy(update={"pending": [name for name in entry.pending if name != receiver]})
        if entry.id == told.id or (entry.alert.incident == told.alert.incident and not told.alert.firing)
        else entry
        for entry in state.outbox
    ]
    took = {receiver: told.alert.revision} if told.alert.firing else {}
    alerts = [
        alert.model_copy(update={"told_to": alert.told_to | took})
        if alert.told_to is not None and alert.incident == told.alert.incident
        else alert
        for alert in state.alerts
    ]
    changed = {"alerts": alerts, "outbox": [entry for entry in entries if entry.pending]}
    return state.model_copy(update=changed | ({"sending": _lease(me)} if _mine(state, me) else {}))


def _ended(failures: dict[str, str], me: str, state: AlertState) -> AlertState:
    """With what went wrong, and the lease given back."""
    entries = [
        entry.model_copy(update={"failures": {name: why for name, why in (entry.failures | failures).items() if name in entry.pending}})
        for entry in state.outbox
    ]
    return state.model_copy(update={"outbox": entries} | ({"sending": None} if _mine(state, me) else {}))


def _mine(state: AlertState, me: str) -> bool:
    return state.sending is not None and state.sending.by == me


def _lease(me: str) -> Lease:
    return Lease(by=me, until=(datetime.now(UTC) + LEASE).isoformat())


def _attachment(store: Store, alert: Alert) -> tuple[str, bytes] | None:
    """The list of label requests; None where a prune has removed it meanwhile."""
    if not alert.attachment:
        return None
    try:
        return f"label_requests_{alert.attachment.rsplit('/', 1)[-1]}", store.read(alert.attachment)
    except NotFound:
        return None
