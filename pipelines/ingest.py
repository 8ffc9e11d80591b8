"""ingest: a folder of images that is too large for one machine, read by many side by side, before a training."""

from typing import Any

from kfp import dsl

from components.data_analysis.component import ingest_plan, ingest_shard
from pipelines.placement import place
from pipelines.signature import pipeline

#: Tasks that read at once: what a storage gives is shared among them.
PARALLELISM = 50


@pipeline(
    "ingest", "Read a large folder of images into the store, by many tasks at once; a training of the same source goes on from there."
)
def ingest(data_source: str, data_image_size: int, store: str, data_config: dict[str, Any]) -> None:
    planned = place(ingest_plan(source=data_source, image_size=data_image_size, store=store, config=data_config), "shards")
    with dsl.ParallelFor(planned.output, name="reading", parallelism=PARALLELISM) as plan:
        place(ingest_shard(plan=plan, store=store, config=data_config), "shard")
