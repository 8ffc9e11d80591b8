"""Stores in a folder with the troubles of one far away."""

from pathlib import Path

from driftloop.errors import StoreError
from driftloop.store.local import LocalStore


class TroubledStore(LocalStore):
    """A local store that takes nothing while it is `away`, and takes parquet files without saying so while it is `answerless`."""

    def __init__(self, root: str | Path, *, away: bool = False, answerless: bool = False) -> None:
        super().__init__(root)
        self.away, self.answerless = away, answerless

    def create(self, key: str, data: bytes) -> str:
        if self.away:
            raise StoreError("the store is away")
        tag = super().create(key, data)
        if self.answerless and key.endswith(".parquet"):
            raise StoreError("the connection broke")
        return tag
