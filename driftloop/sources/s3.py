"""A folder, a zip or a tar in S3: listed, hashed by its listing, fetched."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from driftloop.errors import InputError
from driftloop.sources.archives import is_archive
from driftloop.sources.folder import MOST_SOURCE_BYTES, MOST_SOURCE_FILES, Listing, check_room, is_image, list_names
from driftloop.sources.tags_file import tags_path
from driftloop.store import ObjectInfo, Store, open_store

#: Files fetched at once.
_CONNECTIONS = 16


def list_remote(uri: str) -> Listing:
    """The images below `uri`, from its listing.

    Raises:
        InputError: nothing there, too much of it, or not a layout that `arrange` reads.
        StoreError: S3 cannot be reached.
    """
    return list_names((info.key for info in _listing(uri)), uri)


def hash_remote(uri: str) -> str:
    """A hash that changes whenever an object is written, added or removed: keys, sizes and times of writing.

    Nothing is downloaded; every write of an object in S3 sets its time, so an old hash never stands for new content. Copying the same
    content again gives a new hash, which costs one run without the cache.
    """
    digest = hashlib.sha256()
    for info in _listing(uri):
        digest.update(f"{info.key}\0{info.size}\0{info.modified.isoformat()}\n".encode())
    return digest.hexdigest()


def fetch_folder(uri: str, folder: Path) -> Listing:
    """Download the images below `uri` and the table of their tags into `folder`, several at a time; what they are.

    Raises:
        InputError: as `list_remote`, or no room for them.
    """
    listing = _listing(uri)
    found = list_names((info.key for info in listing), uri)
    sizes = {info.key: info.size for info in listing}
    names = [*(file.path for file in found.files), *filter(None, [tags_path(sizes, found.files)])]
    check_room(sum(sizes[name] for name in names), folder, uri)
    store = open_store(uri)
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(lambda name: store.download(name, folder / name), names):
            pass
    return found


def fetch_archive(uri: str, folder: Path) -> Path:
    """Download the zip or tar at `uri` into `folder`.

    Raises:
        InputError: there is none, or no room for it.
    """
    check_room(_listing(uri)[0].size, folder, uri)
    store, name = _store_and_name(uri)
    store.download(name, folder / name)
    return folder / name


def _listing(uri: str) -> list[ObjectInfo]:
    """The objects of a source, refused while they are still listed where there are too many of them, or too much in their images."""
    if is_archive(uri):
        store, name = _store_and_name(uri)
        found = (info for info in store.list(name) if info.key == name)
    else:
        found = (info for info in open_store(uri).list() if not info.key.endswith("/"))
    objects, size = [], 0
    for info in found:
        objects.append(info)
        size += info.size if is_archive(uri) or is_image(info.key) else 0
        if len(objects) > MOST_SOURCE_FILES:
            raise InputError(f"{uri}: more than {MOST_SOURCE_FILES:,} files; name the folder in it that holds the class folders")
        if size > MOST_SOURCE_BYTES:
            raise InputError(f"{uri}: more than {MOST_SOURCE_BYTES >> 30} GiB of images; name a smaller folder, or make the images smaller")
    if not objects:
        raise InputError(f"{uri}: no such file or folder in this bucket")
    return objects


def _store_and_name(uri: str) -> tuple[Store, str]:
    parent, _, name = uri.rpartition("/")
    return open_store(parent), name
