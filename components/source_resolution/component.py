"""The KFP component of this theme."""

from kfp import dsl

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def source_resolution(source: str, config: dict) -> str:
    """Check a source of labelled images and return its content hash, the cache key of data_analysis.

    Args:
        source: a folder, zip or tar of class folders (also on s3://), kaggle:owner/name, digits, synthetic:xray or synthetic:roof.
        config: overrides of the data settings, of which the classes count that file names tell.
    """
    from components.source_resolution.step import run

    return run(source, config)
