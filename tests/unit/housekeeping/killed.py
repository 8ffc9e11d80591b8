"""Commands that are killed by SIGKILL just before one of their writes to the store, each in a process of its own."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from components.model_promotion.step import run as promotion
from driftloop import registry
from driftloop.dataset import Description, extend_dataset
from driftloop.dataset.writing import write_dataset
from driftloop.housekeeping.pruning import HOME_KINDS, PrunePolicy, carry_out_prune, plan_prune
from driftloop.registry.restoring import plan_restoration, restore
from driftloop.store import Store, open_store
from driftloop.store.local import LocalStore
from driftloop.store.s3 import S3Store
from tests.factories.datasets import random_split
from tests.factories.records import CLASSES

#: Every way in which a store changes; a batch of deletions is one request on S3, and one deletion after the other in a folder.
WRITES: dict[type, tuple[str, ...]] = {
    LocalStore: ("create", "replace", "put", "upload", "adopt", "delete"),
    S3Store: ("create", "replace", "put", "upload", "delete", "_delete_batch"),
}


def promote(store: Store, folder: Path) -> None:
    promotion(folder / "candidate", folder / "dataset", folder / "evidence", store=store.uri)


def roll_back(store: Store, folder: Path) -> None:
    registry.rollback(store, reason="bad", hold=True)


def release(store: Store, folder: Path) -> None:
    registry.release(store, reason="repaired")


def restore_pointer(store: Store, folder: Path) -> None:
    restore(store, plan_restoration(store))


def prune(store: Store, *, days: float) -> None:
    """A prune to which everything is old, so many days from now."""
    policy = PrunePolicy(datetime.now(UTC) + timedelta(hours=1), in_use=frozenset())
    now = datetime.now(UTC) + timedelta(days=days)
    for _ in carry_out_prune(store, lambda: plan_prune(store, policy), dict.fromkeys(HOME_KINDS, store), now, wait_s=86_400):
        pass


def write_new_dataset(store: Store, folder: Path) -> None:
    splits = {"train": random_split(4, seed=91), "test": random_split(4, seed=92)}
    write_dataset(store, splits, classes=CLASSES, source="test")


def extend_first_dataset(store: Store, folder: Path) -> None:
    key = next(info.key for info in store.list("datasets/") if info.key.endswith("/dataset.json"))
    extend_dataset(store, Description.model_validate_json(store.read(key)), {"drifted_train": random_split(4, seed=93)})


COMMANDS: dict[str, Callable[[Store, Path], None]] = {
    "promotion": promote,
    "rollback": roll_back,
    "release": release,
    "restore-pointer": restore_pointer,
    "prune that marks": lambda store, folder: prune(store, days=0),
    "prune that deletes": lambda store, folder: prune(store, days=2),
    "dataset": write_new_dataset,
    "grown dataset": extend_first_dataset,
}


def run_and_die(command: str, uri: str, folder: Path, write: int, environment: dict[str, str]) -> None:
    """Run a command in this process, which dies just before its write number `write`, counted from 0."""
    os.environ.update(environment)
    arm(write)
    COMMANDS[command](open_store(uri), folder)


def arm(write: int) -> None:
    left = write

    def deadly(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return method(*arguments)

        return call

    for kind, names in WRITES.items():
        for name in names:
            setattr(kind, name, deadly(getattr(kind, name)))
