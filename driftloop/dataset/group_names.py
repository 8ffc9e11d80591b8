"""Names of groups (patients, sources) in what leaves the service: a keyed hash, the same for the same name in one store.

A service makes the key of its store. Where there is none, nothing but replays has logged anything, and their groups are names that the
dataset beside the log shows already: they stay as they are, and a seed goes on meaning the same split.
"""

import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from driftloop.errors import Conflict, NotFound
from driftloop.spelling import composed
from driftloop.store.interface import Store

KEY = "keys/groups"
_HASHED = re.compile(r"g:[0-9a-f]{24}")


@dataclass(frozen=True)
class GroupNames:
    """Hides names."""

    key: bytes
    """Empty leaves names as they are."""

    @classmethod
    def of(cls, store: Store) -> Self:
        """With the store's key, which is made where there is none."""
        known = cls.known(store)
        if known.key:
            return known
        with suppress(Conflict):  # another replica was faster
            store.create(KEY, secrets.token_bytes(32))
        return cls.known(store)

    @classmethod
    def known(cls, store: Store) -> Self:
        """With the store's key, where there is one."""
        try:
            return cls(store.read(KEY))
        except NotFound:
            return cls(b"")

    def hashed(self, name: str) -> str:
        """The name as it is logged; one that was hashed already stays as it is."""
        if not self.key or _HASHED.fullmatch(name):
            return name
        return "g:" + hmac.new(self.key, composed(name).encode(), hashlib.sha256).hexdigest()[:24]
