"""The KFP components of this theme."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output

from driftloop.runtime import TRAIN_IMAGE, WATCH_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def data_analysis(
    source: str,
    source_hash: str,
    image_size: int,
    seed: int,
    store: str,
    replayed: bool,
    critical_classes: str,
    config: dict,
    dataset: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Read, audit, split and pack a source of labelled images, and report on it.

    Args:
        source: a folder, zip or tar of class folders (also on s3://), kaggle:owner/name, digits, synthetic:xray or synthetic:roof.
        source_hash: what source_resolution returned; makes KFP's cache follow the content.
        image_size: side of the square images that everything after this step sees, in pixels.
        seed: of synthetic images and of the report's samples; splits do not depend on it.
        store: the model's home, s3://bucket/prefix or a folder; the images go to datasets/<hash>/ in it.
        replayed: whether this pipeline replays traffic, for which a split is kept then.
        critical_classes: classes that later steps must not lose unseen, separated by commas; each must be one of the source.
        config: overrides of the data settings.
        dataset: where dataset.json, baseline_metrics.pt and facts.json go.
        report: the HTML report.
    """
    from components.data_analysis.step import run

    run(
        source,
        source_hash,
        dataset.path,
        report.path,
        image_size=image_size,
        seed=seed,
        store=store,
        replayed=replayed,
        critical_classes=critical_classes,
        config=config,
    )


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def ingest_plan(source: str, image_size: int, store: str, config: dict) -> list[str]:
    """Cut a folder of labelled images into shards, which several tasks read side by side.

    Args:
        source: a folder, mostly s3://bucket/folder.
        image_size: side of the square images, in pixels.
        store: the model's home, s3://bucket/prefix or a folder; the lists of files go to blocks/plans/ in it.
        config: overrides of the data settings.

    Returns:
        The keys of the shards' lists of files in the store.
    """
    from components.data_analysis.parallel import plan

    return plan(source, store, image_size=image_size, config=config)


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def ingest_shard(plan: str, store: str, config: dict) -> int:
    """Read the files of one shard into blocks of pixels, which data_analysis takes instead of reading these files itself.

    Args:
        plan: one of the keys that ingest_plan returned.
        store: the model's home; the blocks go to blocks/ in it.
        config: overrides of the data settings.

    Returns:
        How many files had to be read; the others were there.
    """
    from components.data_analysis.parallel import read_shard

    return read_shard(plan, store, config=config)
