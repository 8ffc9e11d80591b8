"""What a dataset's hash covers: every pixel, every label, every split; not where the shards lie or when they were written."""

import hashlib
import json
from collections.abc import Sequence

import pandas as pd

from driftloop.dataset.description import Shard

#: Columns of the samples table, in order.
COLUMNS = ("path", "label", "split", "group", "sha256", "width", "height")


def manifest_hash(classes: Sequence[str], image_size: int, channels: int, shards: Sequence[Shard], samples: pd.DataFrame) -> str:
    """The content hash that names a dataset: equal content, equal name."""
    content = {
        "classes": list(classes),
        "image_size": image_size,
        "channels": channels,
        "shards": [[shard.split, shard.rows, shard.sha256] for shard in shards],
        "samples": samples_hash(samples),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def samples_hash(samples: pd.DataFrame) -> str:
    """Content hash of the samples table; unlike its parquet file's, it does not depend on the library that writes it."""
    digest = hashlib.sha256()
    for row in zip(*(samples[column] for column in COLUMNS), strict=True):
        digest.update(json.dumps([value if isinstance(value, str) else int(value) for value in row]).encode())
    return digest.hexdigest()
