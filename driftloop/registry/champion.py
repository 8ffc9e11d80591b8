"""`champion.json`: the pointer to the version that serves, moved by compare-and-swap only.

The history of all moves lies inside the pointer itself, at a few hundred bytes each. Kept beside it, it would take a second write, and
a crash between the two would leave a promotion without its record or a record without its promotion; here both are one write. So does
the hold that a rollback can put on promotions: whoever moves the pointer has seen it.
"""

import secrets
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop.errors import Conflict, InputError, IntegrityError, NoChampion, NotFound
from driftloop.prune_marks import take_up
from driftloop.registry.versions import VersionInfo, check_files, complete_versions, evidence_by_version, same_content, version_info
from driftloop.schema import of_known_form
from driftloop.store import Store, swap

KEY = "champion.json"
#: The form in which the pointer is written. Form 1 had no holds, and named candidates only, not what they serve.
SCHEMA = 2


class Change(BaseModel):
    """One move of the pointer, or the release of a hold, which moves nothing."""

    model_config = ConfigDict(frozen=True)

    action: Literal["promotion", "rollback", "release"]
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
    serves: str = ""
    """digest of what users get from `version` (`VersionInfo.serves`); empty in a pointer of form 1"""
    hold: bool = False
    """whether this rollback stops promotions until a release"""
    by_person: bool
    """whether a person decided, and not the gate"""


class Hold(BaseModel):
    """Promotions are stopped."""

    model_config = ConfigDict(frozen=True)

    since: str
    """ISO 8601, UTC"""
    reason: str
    """one line"""


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
    hold: Hold | None = None
    """why nothing is promoted at present; None where promotions may go on"""
    nonce: str
    """random, so that no two pointers are equal"""
    history: list[Change]
    """every move so far, oldest first"""
    schema_version: int = SCHEMA
    """form of the file"""

    _of_a_known_form = of_known_form(KEY, SCHEMA)


def current(store: Store) -> Champion | None:
    """The champion; None where nothing was promoted yet.

    Raises:
        IntegrityError: the pointer cannot be read, or there is none though there are versions: only what was accepted is registered.
    """
    return _read(store)[0]


def promote(store: Store, version: str, *, expected: str | None, reason: str, by_person: bool = False) -> Champion:
    """Let `version` serve from now on, if the champion is still `expected`; promoting the champion again changes nothing.

    Args:
        store: the model's home.
        version: a complete version.
        expected: the champion that the evidence for `version` compared it with; None for none.
        reason: one line for the history.
        by_person: a person decided. Otherwise what was rolled back stays so, under whatever number it comes back: the evidence that
            failed once proves nothing new.

    Raises:
        NotFound: there is no such complete version.
        IntegrityError: files of it are missing, or the pointer is lost.
        Conflict: the champion is another by now (the pointer stays), what it serves was rolled back, promotions are on hold, or a prune
            is deleting the version.
    """
    take_up(store, "version", version)
    info = version_info(store, version)
    champion, tag = read_pointer(store)
    if champion is None and not _may_be_first(store, version):
        raise _lost(store)
    if champion is not None and _serves(store, champion, version):
        return champion
    if champion is not None and champion.hold is not None:
        raise Conflict(
            f"{store.uri}: promotions are on hold since {champion.hold.since} ({champion.hold.reason}); version {version} stays "
            f"registered: driftloop models release --store {store.uri}, then driftloop models promote {version} --store {store.uri}"
        )
    history = champion.history if champion else []
    if not by_person and {info.serves, info.candidate} & _rolled_back(store, history):
        raise Conflict(
            f"{store.uri}: what version {version} serves was rolled back, and evidence cannot promote it again; "
            f"a person may: driftloop models promote {version} --store {store.uri}"
        )
    if (champion.version if champion else None) != expected:
        raise _moved(store, version, expected, champion)
    check_files(store, info)
    return _move(store, tag, _change("promotion", info, champion, reason, by_person=by_person), history)


def rollback(store: Store, *, reason: str, hold: bool = False, version: str = "") -> Champion:
    """Let the previous version serve again; a second rollback goes one further back.

    Args:
        store: the model's home.
        reason: one line for the history.
        hold: stop all promotions from now on, until `release`. A hold that stands already stays.
        version: the one to take back, so that repeating changes nothing; empty takes back whichever serves.

    Raises:
        InputError: no reason given, or no version before this one.
        NoChampion: nothing was promoted yet.
        Conflict: another version serves than the one to take back, or somebody else moved the pointer just now.
    """
    if not reason.strip():
        raise InputError("a rollback needs its reason, for the history; give one with --reason")
    champion, tag = _read(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion to roll back")
    if version and version != champion.version:
        last = champion.history[-1]
        if last.action == "rollback" and last.before == version and (champion.hold is not None or not hold):
            return champion
        raise Conflict(f"{store.uri}: version {version} does not serve, version {champion.version} does; nothing was changed")
    if champion.previous is None:
        raise InputError(f"{store.uri}: version {champion.version} has no version before it to roll back to")
    take_up(store, "version", champion.previous)
    before = version_info(store, champion.previous)
    check_files(store, before)
    return _move(store, tag, _change("rollback", before, champion, reason, hold=hold), champion.history)


def release(store: Store, *, reason: str) -> Champion:
    """Let promotions go on; the champion stays.

    Raises:
        NoChampion: nothing was promoted yet.
        InputError: promotions are not on hold.
        Conflict: somebody else moved the pointer just now.
    """
    champion, tag = _read(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion, so nothing is on hold")
    if champion.hold is None:
        raise InputError(f"{store.uri}: promotions are not on hold")
    serving = version_info(store, champion.version)
    return _move(store, tag, _change("release", serving, champion, reason), champion.history)


def _read(store: Store) -> tuple[Champion | None, str]:
    """The pointer with its tag; None and "" where nothing was promoted yet."""
    champion, tag = read_pointer(store)
    if champion is None and complete_versions(store):
        # Between a first registration and its promotion there is a moment without a pointer, too.
        champion, tag = read_pointer(store)
        if champion is None:
            raise _lost(store)
    return champion, tag


def _may_be_first(store: Store, version: str) -> bool:
    """Whether the version may be promoted though there is no pointer: then a first promotion died, or several race.

    The oldest version may, so that one of them can; unless the gate has compared a candidate with a champion, which is then lost.
    """
    compared = any(gate.get("champion_version") for gate in evidence_by_version(store).values())
    return not compared and complete_versions(store)[:1] == [version]


def _lost(store: Store) -> IntegrityError:
    return IntegrityError(f"{store.uri}/{KEY}: lost, though there are versions that were accepted; {_restore(store)}")


def _restore(store: Store) -> str:
    return f"rebuild it with `driftloop models restore-pointer --store {store.uri}`"


def read_pointer(store: Store) -> tuple[Champion | None, str]:
    """The pointer as it lies there, with its tag; None and "" where there is none, for whatever reason.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        data, tag = store.read_tagged(KEY)
    except NotFound:
        return None, ""
    try:
        return Champion.model_validate_json(data), tag
    except ValidationError:
        raise IntegrityError(f"{store.uri}/{KEY}: cannot be read as a champion pointer; {_restore(store)}") from None


def _change(
    action: Literal["promotion", "rollback", "release"],
    info: VersionInfo,
    champion: Champion | None,
    reason: str,
    *,
    by_person: bool = True,
    hold: bool = False,
) -> Change:
    return Change(
        action=action,
        version=info.version,
        before=champion.version if champion else None,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=" ".join(reason.split()),
        candidate=info.candidate,
        serves=info.serves,
        hold=hold,
        by_person=by_person,
    )


def _move(store: Store, tag: str, change: Change, history: list[Change]) -> Champion:
    """Swap the pointer that has `tag` ("" where there was none) for the next one."""
    champion = pointer_after([*history, change])
    data = encoded(champion)
    try:
        swap(store, KEY, data, tag)
    except Conflict:
        now = current(store)
        if now is not None and change in now.history:
            return now  # the answer to this write was lost, and somebody has moved on since
        if change.action == "promotion" and now is not None and _serves(store, now, change.version):
            return now
        if change.action == "promotion":
            raise _moved(store, change.version, change.before, now) from None
        raise Conflict(f"{store.uri}: somebody moved the champion just now: {_say(now)}; nothing was changed, look and repeat") from None
    return champion


def pointer_after(history: list[Change]) -> Champion:
    """The pointer to which these moves lead."""
    served = standing(history)
    began = next(change for change in reversed(history) if change.action != "release")
    return Champion(
        version=began.version,
        previous=served[-2] if len(served) > 1 else None,
        promoted_at=began.at,
        reason=began.reason,
        hold=_hold(history),
        # The tag is a hash of the content: without a nonce a pointer that moved there and back would pass for one that never moved.
        nonce=secrets.token_hex(),
        history=history,
    )


def encoded(champion: Champion) -> bytes:
    """The content of `champion.json`."""
    return (champion.model_dump_json(indent=1) + "\n").encode()


def standing(history: list[Change]) -> list[str]:
    """The versions that served and were not rolled back, the champion last: a promotion adds one, a rollback takes one away."""
    versions: list[str] = []
    for change in history:
        if change.action == "promotion":
            versions.append(change.version)
        elif change.action == "rollback":
            versions.pop()
    return versions


def _hold(history: list[Change]) -> Hold | None:
    """The first hold since the last release."""
    hold = None
    for change in history:
        if change.action == "release":
            hold = None
        elif change.hold and hold is None:
            hold = Hold(since=change.at, reason=change.reason)
    return hold


def _rolled_back(store: Store, history: list[Change]) -> set[str]:
    """Digests of what was rolled back and not promoted since: of what it serves, and of the candidate that the gate judged."""
    rolled_back: set[str] = set()
    digests = {change.version: _digests(store, change) for change in history}
    for change in history:
        if change.action == "promotion":
            rolled_back -= digests[change.version]
        elif change.action == "rollback" and change.before is not None:
            rolled_back |= digests[change.before]
    return rolled_back


def _digests(store: Store, change: Change) -> set[str]:
    """Of the version that a move led to. A pointer of form 1 names the candidate only; the rest is looked up while the version is there."""
    serves = change.serves
    if not serves:
        try:
            serves = version_info(store, change.version).serves
        except NotFound:
            return {change.candidate}
    return {change.candidate, serves}


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
        f"{store.uri}: version {version} was to follow champion {expected or '(none)'}, but the champion is now {_say(now)}; "
        "it stays: judge again against it"
    )


def _say(champion: Champion | None) -> str:
    return f"{champion.version}, promoted at {champion.promoted_at}" if champion else "(none)"
