"""Rebuilding a pointer that was lost or damaged, from what the store still says.

Every version carries the gate's evidence, which names the champion it was compared with, and every watch record names who served. What
neither shows, above all a rollback that no watch came after, is not known: so a person looks at what was rebuilt before it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from driftloop.contracts import PROMOTE
from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.prune_marks import take_up
from driftloop.registry.champion import KEY, Champion, Change, encoded, pointer_after, read_pointer, standing
from driftloop.registry.versions import check_files, evidence_by_version, registered_at, version_info
from driftloop.store import Store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import read_every_record


@dataclass(frozen=True)
class Accepted:
    """A version that the gate accepted, as far as promotions go."""

    version: str
    """its number"""
    at: datetime
    """when it was registered"""
    champion: str | None
    """champion that the gate compared it with"""
    candidate: str
    """digest of the bundle that the gate judged"""
    serves: str
    """digest of what users would get; empty where its files are gone"""


@dataclass(frozen=True)
class Restoration:
    """A rebuilt pointer that is not written yet."""

    champion: Champion
    """the pointer"""
    tag: str
    """of the damaged pointer that it replaces; empty where there is none"""


def plan_restoration(store: Store, version: str = "") -> Restoration:
    """Rebuild the pointer; nothing is written.

    Args:
        store: the model's home.
        version: who is to serve, where a person knows better; empty takes what the store says.

    Raises:
        Conflict: a pointer stands, which is never overwritten.
        NoChampion: there is no version that was accepted.
        InputError: the gate never accepted the version that is named.
        NotFound, IntegrityError: the version that should serve is not there, or lacks files; or a watch record cannot be read.
    """
    tag = _damaged(store)
    accepted = accepted_versions(store)
    history = rebuilt_history(accepted, read_every_record(store))
    if version:
        known = {entry.version: entry for entry in accepted}
        if version not in known:
            raise InputError(f"{store.uri}: no version {version} that the gate accepted; see `driftloop models list --store {store.uri}`")
        history = _led_to(history, known, version, datetime.now(UTC), "named by a person")
    if not history:
        raise NoChampion(f"{store.uri}: no version that was accepted, so there is no pointer to restore")
    champion = pointer_after(history)
    try:
        check_files(store, version_info(store, champion.version))
    except NotFound:
        raise NotFound(
            f"{store.uri}: version {champion.version} should serve and is not complete; restore it from a backup, "
            "or name another with --version"
        ) from None
    return Restoration(champion, tag)


def restore(store: Store, restoration: Restoration) -> Champion:
    """Write a rebuilt pointer, where there still is none that can be read.

    Raises:
        Conflict: somebody else wrote one meanwhile; it stays.
    """
    take_up(store, "version", restoration.champion.version)
    data = encoded(restoration.champion)
    try:
        if restoration.tag:
            store.replace(KEY, data, restoration.tag)
        else:
            store.create(KEY, data)
    except Conflict:
        raise Conflict(
            f"{store.uri}/{KEY}: somebody wrote it meanwhile; it stays, see `driftloop models list --store {store.uri}`"
        ) from None
    return restoration.champion


def _damaged(store: Store) -> str:
    """The tag of a pointer that cannot be read; "" where there is none."""
    try:
        champion, _ = read_pointer(store)
    except IntegrityError:
        return store.read_tagged(KEY)[1]
    if champion is not None:
        raise Conflict(f"{store.uri}/{KEY}: stands (version {champion.version} serves); only a lost or damaged pointer is rebuilt")
    return ""


def accepted_versions(store: Store) -> list[Accepted]:
    """The versions that the gate accepted, oldest first; also those of which only the evidence is left."""
    accepted = []
    for version, gate in evidence_by_version(store).items():
        if gate.get("decision") == PROMOTE:
            try:
                serves = version_info(store, version).serves
            except NotFound:
                serves = ""
            accepted.append(
                Accepted(version, registered_at(store, version), gate.get("champion_version"), gate.get("candidate", ""), serves)
            )
    return accepted


def rebuilt_history(accepted: Sequence[Accepted], records: Sequence[WatchRecord]) -> list[Change]:
    """The moves that explain what the gate and the watches saw.

    A version was promoted over the champion that its evidence names. Where another served by the evidence so far, that one was rolled
    back before; unless it is seen serving afterwards: then the version lost a race and never served.

    Args:
        accepted: oldest first.
        records: of watches, oldest first.
    """
    known = {entry.version: entry for entry in accepted}
    history: list[Change] = []
    for index, entry in enumerate(accepted):
        if _displaced(standing(history), entry) & _seen_after(entry, accepted[index + 1 :], records):
            continue
        if entry.champion is None:
            history = []
        elif history:
            history = _led_to(history, known, entry.champion, entry.at, f"the gate compared version {entry.version} with it")
        history.append(_change("promotion", history, entry, entry.at, f"the gate accepted version {entry.version}"))
    if records and history:
        at, serving = _seen_by(records[-1])[-1]
        if at > datetime.fromisoformat(history[-1].at):
            history = _led_to(history, known, serving, at, f"watch {records[-1].sequence} saw version {serving} serve")
    return history


def _seen_by(record: WatchRecord) -> list[tuple[datetime, str]]:
    """Which versions a watch saw serving, and when: the one that it watched as it began, and the one that it promoted as it ended.

    Records of form 1 tell one time only. A watch that failed may have promoted and not said so.
    """
    seen = [(datetime.fromisoformat(record.started or record.finished), record.champion_version)]
    return seen + ([(datetime.fromisoformat(record.finished), record.promoted_version)] if record.promoted_version else [])


def _displaced(served: list[str], entry: Accepted) -> set[str]:
    """The versions that must have been rolled back before `entry` was promoted over its champion."""
    if entry.champion is None:
        return set(served)
    return set(served[served.index(entry.champion) + 1 :]) if entry.champion in served else set()


def _seen_after(entry: Accepted, later: Sequence[Accepted], records: Sequence[WatchRecord]) -> set[str | None]:
    """The versions that gates and watches saw serving after `entry` was registered."""
    watched = {version for record in records for at, version in _seen_by(record) if at > entry.at}
    return {other.champion for other in later} | watched


def _led_to(history: list[Change], known: dict[str, Accepted], version: str, at: datetime, why: str) -> list[Change]:
    """The history, with the rollbacks or the promotion after which `version` serves; as it is where nothing is known of the version."""
    if version not in known:
        return history
    if version not in standing(history):
        return [*history, _change("promotion", history, known[version], at, why)]
    history = list(history)
    while (served := standing(history))[-1] != version:
        history.append(_change("rollback", history, known[served[-2]], at, why))
    return history


def _change(action: Literal["promotion", "rollback"], history: list[Change], entry: Accepted, at: datetime, why: str) -> Change:
    return Change(
        action=action,
        version=entry.version,
        before=history[-1].version if history else None,
        at=at.isoformat(timespec="seconds"),
        reason=f"rebuilt after the pointer was lost: {why}",
        candidate=entry.candidate,
        serves=entry.serves,
        by_person=False,
    )
