"""What a store is: one model's home, a flat space of keys with conditional writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """An object's listing: its key below the store's root, its size in bytes, when it was last written (UTC)."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Keys are `/`-separated relative paths. Every write is atomic: readers see the old bytes or the new, never half.

    All methods raise `StoreError` when the store is unreachable or refuses access, `NotFound` when a key that is read does not
    exist. Transient faults (time-outs, 5xx) are retried with jittered backoff before that.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """The object's bytes."""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the tag to hand to `replace`. Tags are content hashes: what is swapped needs a nonce in it."""

    def create(self, key: str, data: bytes) -> str:
        """Write an object that must not exist yet; its tag. Raises `Conflict` when it does."""

    def replace(self, key: str, data: bytes, tag: str) -> str:
        """Write over an object that must still have `tag`; its new tag. Raises `Conflict` when it changed or is gone."""

    def put(self, key: str, data: bytes) -> None:
        """Write unconditionally; for keys whose content is determined by their name, so that repeating does no harm."""

    def upload(self, key: str, path: str | Path) -> None:
        """Like `put`, streamed from a file."""

    def download(self, key: str, path: str | Path) -> None:
        """Stream an object into a file, which appears only once it is whole."""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, in key order, from the first key greater than `after`."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""

    def check(self) -> None:
        """Raise the one clear line that says why this store cannot be used; write nothing."""
