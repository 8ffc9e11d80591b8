"""`accepted_drifts.json`: harmless drifts that a person, or the policy, has accepted: they alarm no more while labels say nothing else.

One object that only grows, moved by compare-and-swap: acceptance and its history are one write. It names the version and the watch with
which the drift began, and ends with that champion. A weak drift is quiet for days and comes back as another, so for a while an acceptance
stands for drifts that begin later, too.
"""

import secrets
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop import registry
from driftloop.errors import InputError, IntegrityError, NoChampion, NotFound
from driftloop.schema import of_known_form
from driftloop.store import Store, change_object, swap
from driftloop.watch_store import read_records

KEY = "accepted_drifts.json"
SCHEMA = 1
#: So long an acceptance stands for further drifts of its champion.
STANDS = timedelta(days=28)


class AcceptedDrift(BaseModel):
    """One acceptance."""

    model_config = ConfigDict(frozen=True)

    version: str
    """champion under which it was accepted"""
    drift: int
    """number of the watch with which it began"""
    tag: str = ""
    """level of a tag whose drift it is, as in site=B; empty: that of all requests"""
    at: str
    """ISO 8601, UTC"""
    by: str
    """who: a person's name, or "the policy\""""
    reason: str
    """one line"""

    @property
    def time(self) -> datetime:
        """When."""
        return datetime.fromisoformat(self.at)

    @property
    def until(self) -> datetime:
        """Until when it stands for drifts that begin."""
        return self.time + STANDS

    @property
    def said(self) -> str:
        """When, by whom and why, as a verdict says it."""
        return f"accepted on {self.at[:10]} by {self.by} ({self.reason})"


class AcceptedDrifts(BaseModel):
    """The object."""

    model_config = ConfigDict(frozen=True)

    drifts: list[AcceptedDrift]
    """oldest first"""
    nonce: str
    """random, so that no two are equal"""
    schema_version: int = SCHEMA
    """form of the file"""

    _of_a_known_form = of_known_form(KEY, SCHEMA)


def accepted_drifts(store: Store) -> list[AcceptedDrift]:
    """All acceptances, oldest first. Raises IntegrityError when they cannot be read."""
    return _read(store)[0]


def find_acceptance(store: Store, version: str, drift: int, tag: str = "") -> AcceptedDrift | None:
    """That of a drift under a champion; None where there is none."""
    return _of(accepted_drifts(store), version, drift, tag)


def standing_acceptance(store: Store, version: str, began: datetime, tag: str = "") -> AcceptedDrift | None:
    """The newest acceptance under a champion that stands for a drift which began then; None where there is none."""
    known = [known for known in accepted_drifts(store) if (known.version, known.tag) == (version, tag)]
    return next((drift for drift in reversed(known) if began <= drift.until), None)


def accept_newest(store: Store, *, by: str, reason: str) -> AcceptedDrift:
    """Accept the drift that the last watch has called harmless.

    Raises:
        NoChampion: nothing was promoted yet.
        InputError: no reason or no name, or the last watch of this champion has not called a drift harmless.
    """
    champion, records = registry.current(store), read_records(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion, so no drift to accept")
    last = records[-1] if records else None
    if last is None or last.champion_version != champion.version or not last.harmless_drift:
        said = (
            f"watch {last.sequence} of version {last.champion_version} said {last.verdict}: {last.reason}" if last else "there was no watch"
        )
        raise InputError(f"{store.uri}: only a drift that the last watch has called harmless can be accepted; {said}")
    return accept(store, last.champion_version, last.harmless_drift, by=by, reason=reason, tag=last.tag)


def accept(store: Store, version: str, drift: int, *, by: str, reason: str, tag: str = "", at: str = "") -> AcceptedDrift:
    """Accept a drift; doing it twice does it once, and the first one's reason stays. Whoever accepts another at that moment does so, too.

    Args:
        store: the model's home.
        version: of the champion.
        drift: number of the watch with which it began.
        by, reason: for the history.
        tag: level whose drift it is; empty: that of all requests.
        at: ISO 8601 with its zone; empty means now.

    Raises:
        InputError: no reason or no name.
    """
    if not reason.strip() or not by.strip():
        raise InputError("accepting a drift needs a reason and a name, for the history; give them with --reason and --by")
    at = at or datetime.now(UTC).isoformat(timespec="seconds")
    added = AcceptedDrift(version=version, drift=drift, tag=tag, at=at, by=" ".join(by.split()), reason=" ".join(reason.split()))

    def with_it(drifts: list[AcceptedDrift]) -> list[AcceptedDrift]:
        return drifts if _of(drifts, version, drift, tag) else [*drifts, added]

    def write(drifts: list[AcceptedDrift], etag: str) -> None:
        content = AcceptedDrifts(drifts=drifts, nonce=secrets.token_hex(16)).model_dump_json(indent=1) + "\n"
        swap(store, KEY, content.encode(), etag)

    return _of(change_object(partial(_read, store), with_it, write), version, drift, tag) or added


def _of(drifts: list[AcceptedDrift], version: str, drift: int, tag: str) -> AcceptedDrift | None:
    return next((known for known in drifts if (known.version, known.drift, known.tag) == (version, drift, tag)), None)


def _read(store: Store) -> tuple[list[AcceptedDrift], str]:
    """The acceptances, and the tag of the object; none and "" where there is none."""
    try:
        data, tag = store.read_tagged(KEY)
    except NotFound:
        return [], ""
    try:
        return AcceptedDrifts.model_validate_json(data).drifts, tag
    except ValidationError:
        raise IntegrityError(
            f"{store.uri}/{KEY}: cannot be read; restore it from a backup, or delete it: drifts then alarm again"
        ) from None
