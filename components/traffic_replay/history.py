"""What earlier replays have played: an image is never shown twice to a store's champions, and a replay that was cut off goes on.

The request ids of a replay are `replay-<key>-<image>`: `key` names the replay, `image` is the beginning of the source image's
sha256. A replay that ends leaves a receipt; the same replay started again before that is the same one and goes on where it stopped,
afterwards it is a new one, with new images.
"""

import hashlib
import io
import json
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from driftloop.errors import Conflict
from driftloop.inference.log_format import PREFIX as LOGS
from driftloop.store import Store

RECEIPTS = f"{LOGS}replays/"
MARK = "replay-"
#: Hexadecimal digits of the source image's sha256 in a request id: enough that two images never share one.
DIGITS = 32


def replay_key(store: Store, description: dict[str, Any]) -> str:
    """The key of the replay with this description that has not ended yet.

    Args:
        description: everything that fixes the replay, as JSON values.
    """
    number = 0
    while True:
        key = hashlib.sha256(json.dumps({**description, "number": number}, sort_keys=True).encode()).hexdigest()[:12]
        if not store.exists(f"{RECEIPTS}{key}.json"):
            return key
        number += 1


def leave_receipt(store: Store, key: str, description: dict[str, Any]) -> None:
    """Say that the replay `key` has ended; nothing happens when that was said before."""
    try:
        store.create(f"{RECEIPTS}{key}.json", json.dumps(description, indent=1).encode())
    except Conflict:
        return


def request_id(key: str, sha256: str) -> str:
    """The id under which the replay `key` asks about the source image with this checksum."""
    return f"{MARK}{key}-{image_id(sha256)}"


def image_id(sha256: str) -> str:
    """How request ids name a source image: the beginning of its checksum."""
    return sha256[:DIGITS]


def played_rows(store: Store) -> pd.DataFrame:
    """Every row of every replay in the log: request_id, time, key and image (its `image_id`).

    Reads two columns of each log file, one file at a time.
    """
    parts = [pd.DataFrame({"request_id": pd.Series(dtype=str), "time": pd.Series(dtype="datetime64[us, UTC]")})]
    for entry in store.list(LOGS):
        if entry.key.endswith(".parquet"):
            rows = pq.read_table(io.BytesIO(store.read(entry.key)), columns=["request_id", "time"]).to_pandas()
            parts.append(rows[rows["request_id"].str.startswith(MARK)])
    rows = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    names = rows["request_id"].str.removeprefix(MARK).str.split("-", n=1)
    return rows.assign(key=names.str[0], image=names.str[1])
