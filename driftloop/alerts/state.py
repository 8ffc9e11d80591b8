"""`alerts/state.json`: which rules have fired, what is silenced, and what receivers are still to be told; swapped as it was read, only.

What is to be told lies in the same object as what has fired: a call that is killed between the two would otherwise fire without a
word. A receiver is told at least once: what was sent and not yet noted when a call was killed is sent again, under the same id. What
it took leaves the outbox in the swap that notes it in the alert: calls that know other receivers, or a new one, tell each what it lacks.
"""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from driftloop.errors import NotFound
from driftloop.schema import of_known_form, parse_stored
from driftloop.store import Store, change_object, swap

KEY = "alerts/state.json"
SCHEMA = 1
#: Silences every rule.
EVERY_RULE = "*"


class Alert(BaseModel):
    """A rule that fires, or has fired, for one instance of its metric. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    rule: str
    instance: str = Field("", description="of the metric: a limit, a detector; empty where it has one only")
    version: str = Field("", description="the champion's that it is about; empty: the store's, or not known, as states had it before")
    severity: Literal["info", "warning", "critical"]
    firing: bool
    since: str = Field(description="when it was first seen to fire")
    ended: str = Field("", description="when it was seen to be over")
    message: str
    revision: str = Field("", description="of what it says; another one is told again")
    told: str | None = Field(None, description="revision that was last handed to a receiver; null: none yet, it is silenced")
    told_to: dict[str, str] | None = Field(
        None, description="receivers that took it, and which revision; null: not known, as in old states"
    )
    attachment: str = Field("", description="key of the object that goes along")

    @property
    def incident(self) -> tuple[str, str, str]:
        """What stays the same from when it fires until it is over."""
        return self.rule, self.instance, self.since


class Silence(BaseModel):
    """Receivers are not told of a rule for a while; what was told before still ends."""

    model_config = ConfigDict(frozen=True)

    rule: str = Field(description=f"its name, or {EVERY_RULE}")
    until: str
    by: str
    reason: str


class Notification(BaseModel):
    """What receivers are still to be told."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="the same however often it is sent: by it a receiver knows what it has had")
    alert: Alert
    at: str = Field(description="since when it is to be told, or its beginning is that was not told either")
    pending: list[str] = Field(description="names of the receivers that have not taken it yet")
    failures: dict[str, str] = Field({}, description="why those did not, at the last try; without a secret")


class Lease(BaseModel):
    """One call sends at a time; a dead one's lease ends by itself."""

    model_config = ConfigDict(frozen=True)

    by: str
    until: str


class AlertState(BaseModel):
    """`alerts/state.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    looked: str = Field("", description="when the store was last looked at; an older look changes nothing")
    alerts: list[Alert] = []
    silences: list[Silence] = []
    outbox: list[Notification] = Field([], description="oldest first")
    sending: Lease | None = None
    nonce: str = Field("", description="makes each content unique, so that it can be swapped safely")

    _of_a_known_form = of_known_form(KEY, SCHEMA)

    def silenced(self, rule: str, now: datetime) -> Silence | None:
        """The silence that a rule is under."""
        covering = [
            silence for silence in self.silences if silence.rule in (rule, EVERY_RULE) and datetime.fromisoformat(silence.until) > now
        ]
        return max(covering, key=lambda silence: silence.until, default=None)


def read_state(store: Store) -> AlertState:
    """The state; an empty one where nothing was ever evaluated.

    Raises:
        IntegrityError: it is damaged.
        StoreError: it is of a form that this driftloop does not read.
    """
    return _read_tagged(store)[0]


def change_state(store: Store, change: Callable[[AlertState], AlertState]) -> AlertState:
    """Swap the state for what `change` makes of it; called again with a newer state where another call was faster.

    Returns:
        The state that stands then.
    """
    return change_object(partial(_read_tagged, store), change, partial(_write, store))


def _write(store: Store, state: AlertState, tag: str) -> None:
    swap(store, KEY, state.model_copy(update={"nonce": secrets.token_hex(16)}).model_dump_json(indent=1).encode(), tag)


def _read_tagged(store: Store) -> tuple[AlertState, str]:
    try:
        data, tag = store.read_tagged(KEY)
    except NotFound:
        return AlertState(), ""
    return parse_stored(AlertState, data, f"{store.uri}/{KEY}"), tag
