"""Where the TensorBoard of all runs finds a step's events: `tensorboard/<run>/<step>/` in the bucket of the store."""

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

from driftloop.errors import StoreError
from driftloop.store import open_store


def publish_events(events: Path, store: str, step: str) -> None:
    """Copy a step's events to that place, if its store is on S3 and its run has a name (DRIFTLOOP_RUN_ID).

    They are only for looking at: a store that fails now is reported by the step that needs it.

    Args:
        events: the folder that holds them, with folders in it or not.
        store: the model's home.
        step: such as "2-baseline".
    """
    run = os.environ.get("DRIFTLOOP_RUN_ID")
    if not store.startswith("s3://") or not run:
        return
    with contextlib.suppress(StoreError):
        bucket = open_store(f"s3://{urlsplit(store).hostname}/tensorboard/{run}")
        for path in sorted(events.rglob("*tfevents*")):
            bucket.upload(f"{step}/{path.relative_to(events).as_posix()}", path)
