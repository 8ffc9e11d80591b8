"""A folder, a zip or a tar in S3: listed, hashed by its listing, fetched, whole or file by file."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

from driftloop.errors import InputError
from driftloop.sources.archives import is_archive
from driftloop.sources.folder import MOST_LISTED_FILES, MOST_SOURCE_BYTES, MOST_SOURCE_FILES, Listing, check_room, list_names
from driftloop.sources.tags_file import tags_path
from driftloop.store import ObjectInfo, Store, open_store

#: Files fetched at once.
_CONNECTIONS = 16


def list_remote(uri: str, classes: str = "") -> Listing:
    """The images below `uri`, from its listing.

    Raises:
        InputError: nothing there, too much of it, or not a layout that `arrange` reads.
        StoreError: S3 cannot be reached.
    """
    return list_names((info.key for info in _listing(uri)), uri, classes)


def hash_remote(uri: str, classes: str = "") -> str:
    """A hash that changes whenever an object is written, added or removed: keys, sizes and times of writing.

    Nothing is downloaded; every write of an object in S3 sets its time, so an old hash never stands for new content. Copying the same
    content again gives a new hash, which costs one run without the cache.

    Raises:
        InputError: as `list_remote`.
    """
    digest = hashlib.sha256()
    names = []
    for info in _listing(uri):
        digest.update(f"{info.key}\0{stamp_of(info)}\n".encode())
        names.append(info.key)
    if not is_archive(uri):
        list_names(names, uri, classes)
    return digest.hexdigest()


def stamp_of(info: ObjectInfo) -> str:
    """What changes whenever an object is written: its size and the time of that."""
    return f"{info.size}\0{info.modified.isoformat()}"


def list_folder_of(uri: str, folder: Path, classes: str = "") -> tuple[Listing, dict[str, ObjectInfo]]:
    """The images below `uri` and their objects by path; of all that, only the table of their tags is fetched, into `folder`.

    Raises:
        InputError: as `list_remote`.
    """
    objects = {info.key: info for info in _listing(uri)}
    found = list_names(objects, uri, classes)
    tags = tags_path(objects, found.files)
    if tags:
        fetch_files(uri, folder, [tags])
    return found, {file.path: objects[file.path] for file in found.files}


def check_fetchable(uri: str, folder: Path, objects: Collection[ObjectInfo]) -> None:
    """Refuse what is too much to be fetched into `folder` at once.

    Raises:
        InputError: more than anybody means to fetch, or than there is room for.
    """
    size = sum(info.size for info in objects)
    if len(objects) > MOST_SOURCE_FILES:
        raise InputError(
            f"{uri}: more than {MOST_SOURCE_FILES:,} images to fetch; run `driftloop run ingest` first, or name a smaller folder"
        )
    if size > MOST_SOURCE_BYTES:
        raise InputError(
            f"{uri}: more than {MOST_SOURCE_BYTES >> 30} GiB to fetch; run `driftloop run ingest` first, or name a smaller folder"
        )
    check_room(size, folder, uri)


def fetch_files(uri: str, folder: Path, names: Collection[str]) -> None:
    """Download files below `uri` that are not in `folder` yet, several at a time."""
    store = open_store(uri)
    missing = [name for name in names if not (folder / name).exists()]
    for parent in {(folder / name).parent for name in missing}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(lambda name: store.download(name, folder / name), missing):
            pass


def stamps_between(uri: str, after: str, last: str) -> dict[str, str]:
    """The stamps that the objects below `uri` have now whose names come after `after`, up to and with `last`."""
    return {info.key: stamp_of(info) for info in takewhile(lambda info: info.key <= last, open_store(uri).list(after=after))}


def fetch_archive(uri: str, folder: Path) -> Path:
    """Download the zip or tar at `uri` into `folder`.

    Raises:
        InputError: there is none, or no room for it.
    """
    check_room(next(_listing(uri)).size, folder, uri)
    store, name = _store_and_name(uri)
    store.download(name, folder / name)
    return folder / name


def _listing(uri: str) -> Iterator[ObjectInfo]:
    """The objects of a source, as they are listed; an archive that is too large, and too many files, are refused meanwhile."""
    archive = is_archive(uri)
    if archive:
        store, name = _store_and_name(uri)
        found: Iterable[ObjectInfo] = (info for info in store.list(name) if info.key == name)
    else:
        found = (info for info in open_store(uri).list() if not info.key.endswith("/"))
    count = 0
    for count, info in enumerate(found, 1):
        if archive and info.size > MOST_SOURCE_BYTES:
            raise InputError(f"{uri}: more than {MOST_SOURCE_BYTES >> 30} GiB of images; name a smaller folder, or make the images smaller")
        if count > MOST_LISTED_FILES:
            raise InputError(f"{uri}: more than {MOST_LISTED_FILES:,} files; name the folder in it that holds the class folders")
        yield info
    if not count:
        raise InputError(f"{uri}: no such file or folder in this bucket")


def _store_and_name(uri: str) -> tuple[Store, str]:
    parent, _, name = uri.rpartition("/")
    return open_store(parent), name
