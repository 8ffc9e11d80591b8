"""What a store is: one model's home, a flat space of keys with conditional writes.

Which keys it takes is the same in a folder and on S3, so that a store can be copied from one to the other and back.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from driftloop.errors import Conflict, StoreError

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it."""

    key: str
    """Below the store's root."""
    size: int
    """Bytes."""
    modified: datetime
    """When it was last written, in UTC."""


class Store(Protocol):
    """Keys are `/`-separated relative paths. Every write is atomic: readers see the old bytes or the new, never half.

    All methods raise `StoreError` when the store is unreachable or refuses access, `NotFound` when a key that is read does not
    exist. Transient faults (time-outs, 5xx) are retried with jittered backoff before that.
    """

    uri: str
    """By which `open_store` opens the same store again."""

    def read(self, key: str) -> bytes:
        """The object's bytes."""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the tag to hand to `replace`. Tags are content hashes: what is swapped needs a nonce in it."""

    def create(self, key: str, data: bytes) -> str:
        """Write an object that must not exist yet; its tag. Raises `Conflict` when it does."""

    def replace(self, key: str, data: bytes, tag: str) -> str:
        """Write over an object that must still have `tag`; its new tag. Raises `Conflict` when it changed or is gone.

        Where an answer was lost, this write may have taken effect and been written over since: whoever reads the object to try again
        must look for his own change in it.
        """

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

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, in no particular order and as few requests as it can; `keys` may be endless, and is taken as it comes."""

    def check(self, prefix: str = "") -> None:
        """Raise the one clear line that says why this store cannot be used; write nothing.

        Args:
            prefix: the part that has to be readable, for those who may not look at the rest.
        """


def swap(store: Store, key: str, data: bytes, tag: str) -> None:
    """Write an object that must still have the `tag` it was read with; with an empty one it must not exist yet.

    Raises:
        Conflict: it changed since then.
    """
    if tag:
        store.replace(key, data, tag)
    else:
        store.create(key, data)


def change_object(
    read: Callable[[], tuple[Content, str]], change: Callable[[Content], Content], write: Callable[[Content, str], object]
) -> Content:
    """Put what `change` makes of an object in its place; anew, from what stands there then, as long as somebody else is faster.

    Args:
        read: the content and its tag.
        change: gives the content back as it was where nothing is to be done.
        write: puts a content in the place of the one with that tag; raises Conflict where it is another's by now.

    Returns:
        The content that stands in the end.
    """
    while True:
        content, tag = read()
        changed = change(content)
        if changed == content:
            return content
        try:
            write(changed, tag)
        except Conflict:
            continue
        return changed


def is_listed(store: Store, key: str) -> bool:
    """Whether there is such an object, for those who may list it and not read it; `Store.exists` wants the right to read."""
    return any(entry.key == key for entry in store.list(key))


def checked_key(key: str) -> str:
    """`key` itself, once it is known to be a plain relative path.

    Names that begin with a dot are refused as well: a local store keeps its lock and its unfinished files under such names.

    Raises:
        StoreError: an absolute key, one with an empty part, or one with a part that begins with a dot (so also `..`).
    """
    parts = key.split("/")
    if any(not part or part.startswith(".") for part in parts) or "\\" in key or "\0" in key:
        raise StoreError(
            f"{key!r}: not a key; keys are relative paths such as versions/1/model.json, with no part empty or beginning with a dot"
        )
    return key


def cannot_follow(prefix: str, after: str) -> bool:
    """Whether no key that starts with `prefix` can be greater than `after`."""
    return after > prefix and not after.startswith(prefix)
