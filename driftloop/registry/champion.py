"""`champion.json`: the pointer to the version that serves, moved by compare-and-swap only.

The history of all moves lies inside the pointer itself, at a few hundred bytes each. Kept beside it, it would take a second write, and
a crash between the two would leave a promotion without its record or a record without its promotion; here both are one write.
"""

import secrets
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.registry.versions import same_content, version_info
from driftloop.store import Store

KEY = "champion.json"


class Change(BaseModel):
    """One move of the pointer."""

    model_config = ConfigDict(frozen=True)

    action: Literal["promotion", "rollback"]
    """what kind of move"""
    version: str
    """version that serves since then"""
    before: str | None
    """version that served until then; None where there was none"""
    at: str
    """ISO 8601, UTC"""
    reason: str
    """one line"""
    candidate: str
    """digest of the bundle that the gate's evidence on `version` names"""
    by_person: bool
    """whether a person decided, and not the gate"""


class Champion(BaseModel):
    """`champion.json`: the version that serves."""

    model_config = ConfigDict(frozen=True)

    version: str
    """version that serves"""
    previous: str | None
    """version that a rollback returns to; None where there is none"""
    promoted_at: str
    """ISO 8601, UTC: when it began to serve"""
    reason: str
    """why it serves, one line"""
    nonce: str
    """random, so that no two pointers are equal"""
    history: list[Change]
    """every move so far, oldest first"""


def current(store: Store) -> Champion | None:
    """The champion; None where nothing was promoted yet.

    Raises:
        IntegrityError: the pointer cannot be read.
    """
    return _read(store)[0]


def promote(store: Store, version: str, *, expected: str | None, reason: str, by_person: bool = False) -> Champion:
    """Let `version` serve from now on, if the champion is still `expected`; promoting the champion again changes nothing.

    Args:
        store: the model's home.
        version: a complete version.
        expected: the champion that the evidence for `version` compared it with; None for none.
        reason: one line for the history.
        by_person: a person decided. Otherwise a candidate that was rolled back stays so: the evidence that failed once proves nothing new.

    Raises:
        NotFound: there is no such complete version.
        Conflict: the champion is another by now (the pointer stays), or the candidate was rolled back.
    """
    candidate = version_info(store, version).candidate
    champion, tag = _read(store)
    if champion is not None and _serves(store, champion, version):
        return champion
    history = champion.history if champion else []
    if not by_person and candidate in _rolled_back(history):
        raise Conflict(
            f"{store.uri}: version {version} was rolled back, and the same evidence cannot promote it again; "
            f"a person may: driftloop models promote {version} --store {store.uri}"
        )
    if (champion.version if champion else None) != expected:
        raise _moved(store, version, expected, champion)
    return _move(store, tag, _change("promotion", version, champion, reason, candidate, by_person), history)


def rollback(store: Store, *, reason: str) -> Champion:
    """Let the previous version serve again; a second rollback goes one further back.

    Raises:
        InputError: no reason given, or no version before this one.
        NoChampion: nothing was promoted yet.
        Conflict: somebody else moved the pointer just now.
    """
    if not reason.strip():
        raise InputError("a rollback needs its reason, for the history; give one with --reason")
    champion, tag = _read(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to roll back")
    if champion.previous is None:
        raise InputError(f"{store.uri}: version {champion.version} has no version before it to roll back to")
    candidate = version_info(store, champion.previous).candidate
    return _move(store, tag, _change("rollback", champion.previous, champion, reason, candidate, True), champion.history)


def _read(store: Store) -> tuple[Champion | None, str]:
    try:
        data, tag = store.read_tagged(KEY)
    except NotFound:
        return None, ""
    try:
        return Champion.model_validate_json(data), tag
    except ValidationError:
        raise IntegrityError(f"{store.uri}/{KEY}: cannot be read as a champion pointer; restore it from a backup") from None


def _change(
    action: Literal["promotion", "rollback"], version: str, champion: Champion | None, reason: str, candidate: str, by_person: bool
) -> Change:
    return Change(
        action=action,
        version=version,
        before=champion.version if champion else None,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
        candidate=candidate,
        by_person=by_person,
    )


def _move(store: Store, tag: str, change: Change, history: list[Change]) -> Champion:
    """Swap the pointer that has `tag` ("" where there was none) for the next one."""
    history = [*history, change]
    served = standing(history)
    champion = Champion(
        version=change.version,
        previous=served[-2] if len(served) > 1 else None,
        promoted_at=change.at,
        reason=change.reason,
        # The tag is a hash of the content: without a nonce a pointer that moved there and back would pass for one that never moved.
        nonce=secrets.token_hex(16),
        history=history,
    )
    data = (champion.model_dump_json(indent=1) + "\n").encode()
    try:
        if tag:
            store.replace(KEY, data, tag)
        else:
            store.create(KEY, data)
    except Conflict:
        now = current(store)
        if change.action == "promotion" and now is not None and _serves(store, now, change.version):
            return now
        raise _moved(store, change.version, change.before, now) from None
    return champion


def standing(history: list[Change]) -> list[str]:
    """The versions that served and were not rolled back, the champion last: a promotion adds one, a rollback takes one away."""
    versions: list[str] = []
    for change in history:
        if change.action == "promotion":
            versions.append(change.version)
        else:
            versions.pop()
    return versions


def _rolled_back(history: list[Change]) -> set[str]:
    """The candidates whose last move was a rollback away from them."""
    rolled_back: set[str] = set()
    candidates = {change.version: change.candidate for change in history}
    for change in history:
        if change.action == "promotion":
            rolled_back.discard(change.candidate)
        elif change.before is not None:
            rolled_back.add(candidates[change.before])
    return rolled_back


def _serves(store: Store, champion: Champion, version: str) -> bool:
    """Whether the champion is `version`, or the same files that a doubled run registered under another number."""
    if champion.version == version:
        return True
    try:
        return same_content(store, champion.version, version)
    except NotFound:
        return False


def _moved(store: Store, version: str, expected: str | None, now: Champion | None) -> Conflict:
    return Conflict(
        f"{store.uri}: version {version} was to follow champion {expected or '(none)'}, but the champion is now "
        f"{f'{now.version}, promoted at {now.promoted_at}' if now else '(none)'}; it stays: judge again against it"
    )
