"""What the pipeline `ingest` costs and what it saves data_analysis: processor time an image and bytes; and what planning takes by file.

    python -m bench.ingest_shards [--count 800] [--sides 64 224] [--rounds 3] [--names 1000000] [--work FOLDER] [--out FILE]

The photographs are those of `bench.ingest`; each run is a process of its own that reads alone. "files" is reading as data_analysis does it
without blocks; "shards" is the reading of all shards, with their blocks; "blocks" is what data_analysis does where they are there: of a
source on S3, whose listing names the files' stamps, and of a folder, whose files are hashed for it. Planning lists names that are made
up, as S3 lists them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.gate_error_rates import environment
from bench.ingest import written

FILES, SHARDS, STAMPED, HASHED, PLAN, RESOLVE = "files", "shards", "blocks, S3", "blocks, folder", "ingest_plan", "source_resolution"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "driftloop-ingest"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ingest_shards.json")
    parser.add_argument("--one", nargs=4, metavar=("WHAT", "FOLDER", "SIDE", "STORE"), help="a single run, as this bench starts it")
    parser.add_argument("--listing", nargs=2, metavar=("WHAT", "NAMES"), help="likewise")
    chosen = parser.parse_args()
    if chosen.one:
        what, folder, side, store = chosen.one
        print(json.dumps(once(what, Path(folder), int(side), store)))
        return 0
    if chosen.listing:
        print(json.dumps(listed(chosen.listing[0], int(chosen.listing[1]))))
        return 0
    folder = written(chosen.work, chosen.count)
    rows = [measured(folder, side, chosen.count, chosen.rounds) for side in chosen.sides]
    planning = {what: in_a_process("--listing", what, str(chosen.names)) for what in (RESOLVE, PLAN)}
    found = {"count": chosen.count, "rounds": chosen.rounds, "rows": rows, "names": chosen.names, "planning": planning}
    result = environment() | found
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def in_a_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.ingest_shards", *arguments]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return found


def measured(folder: Path, side: int, count: int, rounds: int) -> dict[str, Any]:
    """A row of the table: milliseconds of processor time an image, and kilobytes of its block."""
    runs: dict[str, list[float]] = {FILES: [], SHARDS: [], STAMPED: [], HASHED: []}
    size = 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="driftloop-shards-") as store:
            for what, seconds in runs.items():
                seconds.append(in_a_process("--one", what, str(folder), str(side), store)["cpu"])
            size = sum(path.stat().st_size for path in Path(store, "blocks").iterdir() if path.is_file())
    return {"side": side, "cpu_ms": {what: 1000 * median(of) / count for what, of in runs.items()}, "block_kb": size / count / 1000}


def once(what: str, folder: Path, side: int, store: str) -> dict[str, float]:
    """Processor seconds of one run, without its imports."""
    from components.data_analysis.blocks import Blocks, stamped
    from components.data_analysis.ingest import chunks_of, ingest
    from components.data_analysis.parallel import plan, read_shard
    from driftloop.sources import opened

    config = {"workers": 1}
    with opened(str(folder), seed=1) as source, tempfile.TemporaryDirectory(prefix="driftloop-spool-") as spool:
        stamps = None
        if what == STAMPED:
            chunks = [stamped(folder, chunk) for chunk in chunks_of(source.files)]
            stamps = {file.path: stamp for chunk in chunks for file, stamp in zip(chunk.files, chunk.stamps, strict=True)}
        began = time.process_time()
        if what == SHARDS:
            for shard in plan(str(folder), store, image_size=side, config=config):
                read_shard(shard, store, config=config)
        else:
            keeper = None if what == FILES else Blocks(store, "", side, "stretch", None)
            ingest(folder, source.files, Path(spool), image_size=side, resize="stretch", workers=1, keeper=keeper, stamps=stamps)
        return {"cpu": time.process_time() - began}


class MadeUp:
    """A bucket of so many objects."""

    def __init__(self, names: int) -> None:
        self.names = names

    def list(self, prefix: str = "", after: str = "") -> Iterator[Any]:
        from driftloop.store import ObjectInfo

        began = datetime.now(UTC)
        for number in range(self.names):
            label = "NORMAL" if number < self.names // 2 else "PNEUMONIA"
            yield ObjectInfo(f"{label}/person{number:09d}_image.jpeg", 358_000 + number % 1000, began + timedelta(milliseconds=number))


def listed(what: str, names: int) -> dict[str, float]:
    """Bytes of memory and microseconds of processor time a name; and bytes of the lists in the store."""
    from components.data_analysis.parallel import plan
    from driftloop.sources import s3

    s3.open_store = lambda uri: MadeUp(names)  # type: ignore[assignment,return-value]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with tempfile.TemporaryDirectory(prefix="driftloop-plan-") as store:
        if what == PLAN:
            plan("s3://bucket/images", store, image_size=64)
        else:
            s3.hash_remote("s3://bucket/images")
        seconds, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = sum(path.stat().st_size for path in Path(store).rglob("*.gz"))
    return {"bytes": 1024 * (peak - before) / names, "cpu_us": 1e6 * seconds / names, "list_bytes": size / names}


def table(result: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    head = (
        "side",
        "reading files",
        "in shards, with their blocks",
        "from blocks, source on S3",
        "from blocks, a folder",
        "block, kB an image",
    )
    lines = [
        f"{result['count']:,} grey JPEG of 1,400 x 1,120 pixels, one process, {result['rounds']} rounds; milliseconds of processor time an "
        "image.",
        "",
        f"| {' | '.join(head)} |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        cpu = row["cpu_ms"]
        times = " | ".join(f"{cpu[what]:.2f}" for what in (FILES, SHARDS, STAMPED, HASHED))
        lines.append(f"| {row['side']} | {times} | {row['block_kb']:.1f} |")
    plan, resolve = result["planning"][PLAN], result["planning"][RESOLVE]
    lines += [
        "",
        f"Of {result['names']:,} names, by the name: `source_resolution` takes {resolve['bytes']:.0f} bytes of memory and "
        f"{resolve['cpu_us']:.0f} us of processor time, `ingest_plan` {plan['bytes']:.0f} and {plan['cpu_us']:.0f}, and leaves "
        f"{plan['list_bytes']:.0f} bytes in the store. What a server takes to list them comes on top.",
        "",
        "From blocks: what is left of the reading of `data_analysis`, with fetching them from a store in a folder; a folder's files are "
        "hashed for it.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
