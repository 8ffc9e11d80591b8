"""full-loop: training, replayed traffic that drifts, and the watch that answers it."""

from kfp import dsl

from components.traffic_replay.component import traffic_replay
from driftloop.settings import describe
from pipelines.placement import place
from pipelines.stages import training_stage, watch_stage


@dsl.pipeline(
    name="full-loop",
    description=describe(
        "The whole loop in one run: train a champion, replay traffic that drifts, watch, retrain, judge and promote.",
        *("data_source", "data_image_size", "train_epochs", "traffic_drift", "drift_alpha", "gate_margin"),
        *("seed", "store", "gpus", "train_nodes"),
        *(
            "data_config",
            "train_config",
            "deploy_config",
            "traffic_config",
            "monitor_config",
            "drift_config",
            "retrain_config",
            "gate_config",
        ),
    ),
)
def full_loop(
    data_source: str = "synthetic:xray",
    data_image_size: int = 64,
    train_epochs: int = 30,
    traffic_drift: str = "blur+noise:1.0",
    drift_alpha: float = 0.05,
    gate_margin: float = 0.02,
    seed: int = 1,
    store: str = "s3://driftloop/demo",
    gpus: str = "1",
    train_nodes: dict = {},
    data_config: dict = {},
    train_config: dict = {},
    deploy_config: dict = {},
    traffic_config: dict = {},
    monitor_config: dict = {},
    drift_config: dict = {},
    retrain_config: dict = {},
    gate_config: dict = {},
) -> None:
    trained = training_stage(
        *(data_source, data_image_size, train_epochs, gate_margin, seed, store, gpus, train_nodes),
        data=data_config,
        train=train_config,
        deploy=deploy_config,
        gate=gate_config,
    )
    replayed = place(
        traffic_replay(
            dataset=trained.dataset, champion_version=trained.version, drift=traffic_drift, seed=seed, store=store, config=traffic_config
        ),
        "traffic",
    )
    watch_stage(
        *(replayed.output, drift_alpha, gate_margin, seed, store, gpus, train_nodes),
        monitor=monitor_config,
        drift=drift_config,
        retrain=retrain_config,
        deploy=deploy_config,
        gate=gate_config,
    )
