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
from driftloop.alerts.state import Alert, AlertState, Lease, Notification, change_state
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
    """Whether it has to be told again and again of what still fires."""

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
        # A call that read the store long ago, and was overtaken, knows nothing new.
        if not state.looked or datetime.fromisoformat(state.looked) <= now:
            state = evaluate(state, rules, series, now, champion=version, store=store.uri, receivers=names)
        free = state.sending is None or state.sending.by == me or datetime.fromisoformat(state.sending.until) <= datetime.now(UTC)
        return state.model_copy(update={"sending": _lease(me)}) if free else state

    state = change_state(store, looked)
    if state.sending is None or state.sending.by != me:
        return Told(state, 0, {}, busy=True)
    return _deliver(store, state, to, me)


def _deliver(store: Store, state: AlertState, to: Sequence[Notifier], me: str) -> Told:
    delivered, failures = 0, {}
    for receiver in to:
        waiting = [entry for entry in state.outbox if receiver.name in entry.pending]
        told = {(entry.alert.rule, entry.alert.instance) for entry in waiting}
        again = [alert for alert in state.alerts if alert.firing and alert.told is not None and (alert.rule, alert.instance) not in told]
        try:
            for entry in waiting:
                receiver.send(Message(entry, store.uri, _attachment(store, entry.alert)))
                delivered += 1
                state = change_state(store, partial(_noted, entry.id, receiver.name, me))
            for alert in again if receiver.forgets else []:
                receiver.send(Message(Notification(id="", alert=alert, at=alert.since, pending=[]), store.uri, None))
        except NotDelivered as failure:
            # It is away: the others of its messages wait with this one.
            failures[receiver.name] = str(failure)
    return Told(change_state(store, partial(_ended, failures, me)), delivered, failures, busy=False)


def _noted(told: str, receiver: str, me: str, state: AlertState) -> AlertState:
    """Without what the receiver has taken, and the lease renewed."""
    entries = [
        entry.model_copy(update={"pending": [name for name in entry.pending if name != receiver]}) if entry.id == told else entry
        for entry in state.outbox
    ]
    kept = [entry for entry in entries if entry.pending]
    return state.model_copy(update={"outbox": kept} | ({"sending": _lease(me)} if _mine(state, me) else {}))


def _ended(failures: dict[str, str], me: str, state: AlertState) -> AlertState:
    """With what went wrong, and the lease given back."""
    entries = [
        entry.model_copy(update={"failures": {name: failures[name] for name in entry.pending if name in failures}})
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
