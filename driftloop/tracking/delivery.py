"""Handing over to a tracker what it has not got yet; the marks of what it has lie in the store, by tracker and address.

A delivery may be killed anywhere, run twice at once, or be repeated: trackers find what they were given before by its name, and the
mark comes last. The aliases follow the pointer until it stands still, so that of two deliveries the slower one does not win.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from driftloop import registry
from driftloop.bundle import CARD
from driftloop.errors import Conflict
from driftloop.registry.versions import PREFIX as VERSIONS
from driftloop.registry.versions import complete_versions
from driftloop.schema import parse_stored
from driftloop.store import Store
from driftloop.tracking.step_record import RECORDS, TRACKING, StepRecord
from driftloop.tracking.trackers import Tracker, TrackerRefused, TrackerUnavailable

#: How the marks of records begin; those of versions lie beside them.
RECORD_MARKS = "records/"


@dataclass(frozen=True)
class Delivery:
    """What became of a delivery to one tracker."""

    tracker: str
    """its name"""
    steps: int = 0
    """records that were handed over now"""
    versions: int = 0
    """versions that were registered now"""
    waiting: int = 0
    """records and versions that still wait in the store"""
    refused: int = 0
    """those of them that the tracker does not take for what is in them; the next delivery asks again"""
    problem: str = ""
    """why they wait, one line; empty where nothing failed"""


def deliver(store: Store, name: str, tracker: Tracker) -> Delivery:
    """Hand over every record and version that the tracker has not got, and let its registry follow the champion.

    Args:
        store: the model's home.
        name: the tracker's.
        tracker: it.

    Raises:
        StoreError, IntegrityError: the store cannot be read. What a tracker does is in the result.
    """
    marks = f"{TRACKING}{name}-{hashlib.sha256(tracker.place.encode()).hexdigest()[:12]}/"
    done = {entry.key.removeprefix(marks) for entry in store.list(marks)}
    champion = registry.current(store)
    offered: dict[str, Callable[[], None]] = {
        f"{RECORD_MARKS}{record}": partial(_show, store, tracker, record)
        for record in _record_names(entry.key for entry in store.list(RECORDS))
    }
    offered |= {f"versions/{version}": partial(_register, store, tracker, version) for version in complete_versions(store)}
    waiting = {what: hand_over for what, hand_over in offered.items() if what not in done}
    taken: list[str] = []
    refused: list[str] = []
    outages: list[str] = []
    try:
        for what, hand_over in waiting.items():
            try:
                hand_over()
            except TrackerRefused as refusal:  # which keeps nothing back that comes after it
                refused.append(f"{what}: {refusal}")
                continue
            _mark(store, marks + what)
            taken.append(what)
        while champion is not None:
            tracker.follow(model_name(store), champion)
            now = registry.current(store)
            if now == champion:
                break
            champion = now
    except (TrackerUnavailable, TrackerRefused) as outage:
        outages.append(str(outage))
    more = f" (and {len(refused) - 1} more)" if refused[1:] else ""
    problem = "; ".join([*(first + more for first in refused[:1]), *outages])
    steps = sum(what.startswith(RECORD_MARKS) for what in taken)
    return Delivery(name, steps, len(taken) - steps, len(waiting) - len(taken), len(refused), problem)


def model_name(store: Store) -> str:
    """The name of the store's model in registries: of `s3://driftloop/chest` it is driftloop-chest, of a run's own store the run's."""
    scheme, separator, rest = store.uri.partition("://")
    if separator and scheme == "s3":
        return re.sub("[^A-Za-z0-9._-]+", "-", rest.strip("/"))
    folder = Path(urlsplit(store.uri).path if separator else store.uri).resolve()
    return re.sub("[^A-Za-z0-9._-]+", "-", folder.parent.name if folder.name == "store" else folder.name)


def _record_names(keys: Iterable[str]) -> list[str]:
    """`<run>/<step>-<digest>` of the records that are whole, those of a run together."""
    return [key.removeprefix(RECORDS).removesuffix("/record.json") for key in keys if key.endswith("/record.json")]


def _show(store: Store, tracker: Tracker, name: str) -> None:
    key = f"{RECORDS}{name}/record.json"
    record = parse_stored(StepRecord, store.read(key), f"{store.uri}/{key}")
    with tempfile.TemporaryDirectory(prefix="driftloop-tracking-") as scratch:
        files = {file: Path(scratch, file) for file in record.files}
        for file, path in files.items():
            store.download(f"{RECORDS}{name}/{file}", path)
        tracker.show_step(record, files)


def _register(store: Store, tracker: Tracker, version: str) -> None:
    info, about = registry.version_info(store, version), registry.description(store, version)
    with tempfile.TemporaryDirectory(prefix="driftloop-tracking-") as scratch:
        for file in {about.served, CARD} & info.files.keys():
            store.download(f"{VERSIONS}{version}/{file}", Path(scratch, file))
        tracker.register(model_name(store), info, about, Path(scratch))


def _mark(store: Store, key: str) -> None:
    with suppress(Conflict):
        store.create(key, b"")
