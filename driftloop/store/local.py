"""A store in a local folder: the embedded default, safe for several processes on one machine.

An object appears under its key only when it is whole: it is written beside its place under a name that no key can have, synced, and
then linked (create) or renamed (replace, put). A process that is killed leaves at most such an unfinished file, which nobody lists.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store.interface import ObjectInfo, cannot_follow, checked_key

LOCK = ".lock"


class LocalStore:
    """See `Store`. The folder is created by the first write; its URI is absolute and names no symbolic link such as `runs/latest`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.uri = str(self.root)

    def path(self, key: str) -> Path:
        """Where an object's bytes lie, for readers that map the file into memory; nobody but the store writes there."""
        return self.root / checked_key(key)

    def read(self, key: str) -> bytes:
        """See `Store.read`."""
        with _reading(self.path(key)):
            return self.path(key).read_bytes()

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """See `Store.read_tagged`."""
        data = self.read(key)
        return data, _tag(data)

    def create(self, key: str, data: bytes) -> str:
        """See `Store.create`. A hard link fails when the name exists, on every host that shares the file system."""
        target = self.path(key)
        with _writing(target), self._staged(target) as (partial, stream):
            _finish(stream, data)
            try:
                os.link(partial, target)
            except FileExistsError:
                raise Conflict(f"{target}: exists already") from None
            _sync_folder(target.parent)
        return _tag(data)

    def replace(self, key: str, data: bytes, tag: str) -> str:
        """See `Store.replace`. Comparing and renaming happen under the store's lock, which a killed process gives back."""
        target = self.path(key)
        with _writing(target), self._staged(target) as (partial, stream):
            _finish(stream, data)
            with self._locked():
                if not target.exists() or _tag(target.read_bytes()) != tag:
                    raise Conflict(f"{target}: changed since it was read")
                partial.replace(target)
            _sync_folder(target.parent)
        return _tag(data)

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        target = self.path(key)
        with _writing(target), self._staged(target) as (partial, stream):
            _finish(stream, data)
            with self._locked():
                partial.replace(target)

    def upload(self, key: str, path: str | Path) -> None:
        """See `Store.upload`."""
        target = self.path(key)
        with open(path, "rb") as source, _writing(target), self._staged(target) as (partial, stream):
            shutil.copyfileobj(source, stream)
            _finish(stream)
            with self._locked():
                partial.replace(target)

    def adopt(self, key: str, path: str | Path) -> None:
        """Like `upload`, and the file is gone then: one of the same file system is renamed, so that its bytes never lie there twice."""
        target = self.path(key)
        with open(path, "rb") as source, _writing(target):
            os.fsync(source.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                renamed = _renamed(path, target)
            _sync_folder(target.parent)
        if not renamed:
            self.upload(key, path)
            os.unlink(path)

    def download(self, key: str, path: str | Path) -> None:
        """See `Store.download`."""
        source, target = self.path(key), Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with _reading(source):
                shutil.copyfile(source, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return self.path(key).is_file()

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`. Reads only the folders that can hold such keys."""
        folder, _, _ = prefix.rpartition("/")
        yield from self._walk(f"{folder}/" if folder else "", prefix, after)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        target = self.path(key)
        if target.exists():
            with _writing(target), self._locked():
                target.unlink(missing_ok=True)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Store.delete_many`."""
        for key in keys:
            self.delete(key)

    def check(self, prefix: str = "") -> None:
        """See `Store.check`."""
        place = self.root
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise StoreError(f"{place}: is a file; a store is a folder, choose another path")
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"{place}: no permission to read and write here; choose another folder or change its owner")

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """The objects below `folder` ("" or ending in "/"), in the order of whole keys, which is not that of names: a-b < a/b < ab."""
        try:
            entries = [entry for entry in os.scandir(self.root / folder) if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return
        keyed = sorted((f"{folder}{entry.name}{'/' if entry.is_dir() else ''}", entry) for entry in entries)
        for key, entry in keyed:
            if key.endswith("/"):
                if (key.startswith(prefix) or prefix.startswith(key)) and not cannot_follow(key, after):
                    yield from self._walk(key, prefix, after)
            elif key.startswith(prefix) and key > after:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    @contextlib.contextmanager
    def _staged(self, target: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file beside `target` to write into; whatever is left of it afterwards goes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with open(partial, "xb") as stream:
                yield partial, stream
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all threads and processes that replace objects: each opens the lock file anew, so threads exclude each other too."""
        with open(self.root / LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _finish(stream: BinaryIO, data: bytes = b"") -> None:
    """Write the rest and put everything on the disk: no name may ever point at bytes that a power cut could take back."""
    stream.write(data)
    stream.flush()
    os.fsync(stream.fileno())


def _renamed(path: str | Path, target: Path) -> bool:
    """Rename a file, unless the target lies in another file system. Two mounts of one count as two: only trying tells."""
    try:
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while reading `path` into one line."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise NotFound(f"{path}: no such object") from None
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}") from None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing `path` into one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}; a store is a folder with room in it that we may write to") from None
