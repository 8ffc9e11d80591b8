"""The steps `ingest_plan` and `ingest_shard`: a source that is a folder is read by many pods side by side, a block a chunk.

What data_analysis would read is read before it, into the store, where it finds the blocks (`blocks.py`), whoever made them. A shard that
was killed and is repeated goes on after its last block, and a source that was read already is only looked at.
"""

import gzip
import hashlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from components.data_analysis.blocks import Blocks, stamped
from components.data_analysis.ingest import FILES_PER_CHUNK, Chunk, chunks_of
from components.data_analysis.step import check_champion
from driftloop import runtime
from driftloop.contracts import BLOCK_PLANS
from driftloop.errors import InputError, IntegrityError
from driftloop.plurals import counted
from driftloop.processes import spread
from driftloop.settings import DataSettings, check_parameter
from driftloop.sources import SourceFile, check_source, is_folder, opened
from driftloop.sources.s3 import stamp_of
from driftloop.store import open_store

#: More tasks than this in one loop would be too much for a workflow's state on a cluster; shards are larger then.
MOST_SHARDS = 200


def plan(source: str, store: str, *, image_size: int, config: dict[str, Any] | None = None) -> list[str]:
    """Cut a source into shards; the keys under which the store has the list of each. See the component for the arguments.

    Raises:
        InputError: not a folder, one that cannot be used, or a store whose champion is for other images.
        SettingError: a setting or the image size out of range.
        StoreError: the store cannot be written.
    """
    settings = DataSettings.complete(config)
    image_size = check_parameter("data_image_size", image_size)
    home = open_store(store)
    home.check()
    if not is_folder(source if source.startswith("s3://") else check_source(source, settings.classes)):
        raise InputError(f"{source}: only a folder, here or on S3, is read by parts; training reads all other sources itself")
    runtime.progress(0.02, "listing the source")
    with opened(source, seed=0, classes=settings.classes, fetched=False) as folder:
        files = folder.files
        deep_range = check_champion(home, sorted({file.label for file in files}), image_size, settings.resize) or None
        reading = {"source": source, "image_size": image_size, "resize": settings.resize, "deep_range": deep_range}
        size = FILES_PER_CHUNK * max(-(-settings.shard_files // FILES_PER_CHUNK), -(-len(files) // (FILES_PER_CHUNK * MOST_SHARDS)))
        shards, after = [], ""
        for start in range(0, len(files), size):
            listed = [[file.path, stamp_of(folder.objects[file.path]) if folder.remote else ""] for file in files[start : start + size]]
            shards.append(gzip.compress(json.dumps(reading | {"after": after, "files": listed}).encode(), mtime=0))
            after = listed[-1][0]
    name = hashlib.sha256(b"".join(hashlib.sha256(shard).digest() for shard in shards)).hexdigest()[:16]
    keys = [f"{BLOCK_PLANS}{name}/{number:05d}.json.gz" for number in range(len(shards))]
    for key, shard in zip(keys, shards, strict=True):
        home.put(key, shard)
    runtime.report_metrics(f"{len(files):,} files in {counted(len(keys), 'shard')} of up to {size:,}")
    return keys


def read_shard(plan: str, store: str, *, config: dict[str, Any] | None = None) -> int:
    """Leave a block of every chunk of a shard in the store; the number of files that had to be read for that.

    Raises:
        InputError: a file changed since the plan was made.
        StoreError: the store or the source cannot be reached.
    """
    settings = DataSettings.complete(config)
    shard = json.loads(gzip.decompress(open_store(store).read(plan)))
    files = [SourceFile(path, "", "") for path, _ in shard["files"]]
    remote = shard["source"] if shard["source"].startswith("s3://") else ""
    chunks = chunks_of(files, dict(shard["files"]) if remote else None, shard["after"])
    blocks = Blocks(store, remote, shard["image_size"], shard["resize"], shard["deep_range"])
    read = 0
    for done, fresh in enumerate(spread(partial(keep_chunk, blocks, shard["source"]), chunks, workers=settings.workers), 1):
        read += fresh
        if done % 8 == 0:
            runtime.progress(done / len(chunks), f"{min(done * FILES_PER_CHUNK, len(files)):,} of {len(files):,} files")
    there = len(files) - read
    runtime.report_metrics(f"{read:,} files read{f', {there:,} were in the store' if there else ''}")
    return read


def keep_chunk(blocks: Blocks, source: str, chunk: Chunk) -> int:
    """Leave a chunk's block in the store, unless a good one is there; the number of files that were read."""
    with tempfile.TemporaryDirectory(prefix="driftloop-chunk-") as name:
        spool = Path(name)
        root = spool / "files" if blocks.remote else Path(source)
        chunk = stamped(root, chunk)
        try:
            if blocks.take(spool, chunk) is not None:
                return 0
        except IntegrityError as damaged:
            print(f"{damaged}; its {len(chunk.files)} files are read anew", flush=True)
        blocks.make(root, spool, chunk)
    return len(chunk.files)
