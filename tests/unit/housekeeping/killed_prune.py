"""A prune that is killed right after its first deletion, in a process of its own."""

import os
import signal
from datetime import datetime

from driftloop.housekeeping.pruning import PrunePolicy, carry_out_prune, plan_prune
from driftloop.store import open_store


def prune_and_die(uri: str, cutoff: datetime, environment: dict[str, str]) -> None:
    """Prune until the first object is gone, then end by SIGKILL."""
    os.environ.update(environment)
    store = open_store(uri)
    delete = store.delete

    def deadly(key: str) -> None:
        delete(key)
        os.kill(os.getpid(), signal.SIGKILL)

    store.delete = deadly  # type: ignore[method-assign]
    policy = PrunePolicy(cutoff, in_use=frozenset())
    for _ in carry_out_prune(store, plan_prune(store, policy), policy):
        pass
