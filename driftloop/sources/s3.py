"""A folder or a zip in S3: listed, hashed by its listing, fetched."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from driftloop.errors import InputError
from driftloop.sources.folder import SourceFile, arrange
from driftloop.store import ObjectInfo, Store, open_store

#: Files fetched at once.
_CONNECTIONS = 16


def is_zip(uri: str) -> bool:
    return uri.lower().endswith(".zip")


def list_remote(uri: str) -> list[SourceFile]:
    """The images below `uri`, from its listing.

    Raises:
        InputError: nothing there, or not a layout that `arrange` reads.
        StoreError: S3 cannot be reached.
    """
    return arrange((info.key for info in _listing(uri)), uri)


def hash_remote(uri: str) -> str:
    """A hash that changes whenever an object is written, added or removed: keys, sizes and times of writing.

    Nothing is downloaded; every write of an object in S3 sets its time, so an old hash never stands for new content. Copying the same
    content again gives a new hash, which costs one run without the cache.
    """
    digest = hashlib.sha256()
    for info in _listing(uri):
        digest.update(f"{info.key}\0{info.size}\0{info.modified.isoformat()}\n".encode())
    return digest.hexdigest()


def fetch_folder(uri: str, files: list[SourceFile], folder: Path) -> None:
    """Download the images `files` into `folder`, several at a time."""
    store = open_store(uri)
    for parent in {(folder / file.path).parent for file in files}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(lambda file: store.download(file.path, folder / file.path), files):
            pass


def fetch_zip(uri: str, target: Path) -> Path:
    """Download the zip at `uri` to `target`."""
    store, name = _store_and_name(uri)
    store.download(name, target)
    return target


def _listing(uri: str) -> list[ObjectInfo]:
    if is_zip(uri):
        store, name = _store_and_name(uri)
        objects = [info for info in store.list(name) if info.key == name]
    else:
        objects = [info for info in open_store(uri).list() if ".." not in PurePosixPath(info.key).parts and not info.key.endswith("/")]
    if not objects:
        raise InputError(f"{uri}: no such file or folder in this bucket")
    return objects


def _store_and_name(uri: str) -> tuple[Store, str]:
    parent, _, name = uri.rpartition("/")
    return open_store(parent), name
