"""A real store whose process dies at one of its writes."""

from pathlib import Path

from driftloop.store import Store


class Crash(BaseException):
    """The process is dead: nothing catches this."""


class CrashingStore:
    """Passes everything on to `store`, and crashes before (or right after) its write number `at`, counted from 0."""

    def __init__(self, store: Store, at: int, *, after: bool) -> None:
        self.uri = store.uri
        self._store = store
        self._left = at
        self._after = after
        for name in ("read", "read_tagged", "exists", "list", "download", "check"):
            setattr(self, name, getattr(store, name))

    def create(self, key: str, data: bytes) -> str:
        self._crash_before()
        tag = self._store.create(key, data)
        self._crash_after()
        return tag

    def replace(self, key: str, data: bytes, tag: str) -> str:
        self._crash_before()
        new = self._store.replace(key, data, tag)
        self._crash_after()
        return new

    def put(self, key: str, data: bytes) -> None:
        self._crash_before()
        self._store.put(key, data)
        self._crash_after()

    def upload(self, key: str, path: str | Path) -> None:
        self._crash_before()
        self._store.upload(key, path)
        self._crash_after()

    def _crash_before(self) -> None:
        if self._left == 0 and not self._after:
            raise Crash

    def _crash_after(self) -> None:
        if self._left == 0:
            raise Crash
        self._left -= 1
