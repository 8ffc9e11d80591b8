"""The replay of a held-out stream as a KFP component."""

from kfp import dsl
from kfp.dsl import Dataset, Input

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def traffic_replay(dataset: Input[Dataset], champion_version: str, drift: str, seed: int, store: str, config: dict) -> str:
    """Play the dataset's stream split through the champion as if it were production traffic, at first clean, then drifted.

    Args:
        dataset: the `dataset` output of data_analysis; its stream split is played, no image twice.
        champion_version: the registered version that answers, as model_promotion returns it; empty takes the champion.
        drift: what happens to the traffic: none, or for example blur+noise:0.6, prior:0.2, gradual:brightness:0.5.
        seed: of the order of the images, of the drift and of the labels that arrive.
        store: the store whose log and labels are written: a folder or s3://bucket/prefix.
        config: overrides of the traffic settings.

    Returns:
        The end of the replay's log, an ISO 8601 time in UTC: what production_monitoring takes as `until`.
    """
    from components.traffic_replay.step import run

    return run(dataset.path, champion_version=champion_version, drift=drift, seed=seed, store=store, config=config)
