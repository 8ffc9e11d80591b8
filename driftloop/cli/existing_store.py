"""The store that a command looks at, where it must be there already."""

from pathlib import Path

from driftloop.errors import InputError
from driftloop.store import Store, open_store

DEFAULT_STORE = "runs/latest/store"


def open_existing(uri: str) -> Store:
    """The store, after checking that it is there and lets us in.

    Raises:
        InputError: no such folder.
        StoreError: it cannot be reached, or refuses.
    """
    if "://" not in uri and not Path(uri).expanduser().exists():
        raise InputError(f"{uri}: no store there; name one with --store, or make one with `driftloop run full-loop`")
    home = open_store(uri)
    home.check()
    return home
