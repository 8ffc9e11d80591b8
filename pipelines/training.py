"""training: from labelled images to a serving champion."""

from kfp import dsl

from driftloop.settings import describe
from pipelines.stages import training_stage


@dsl.pipeline(
    name="training",
    description=describe(
        "Train, optimise and export an image classifier; the gate decides whether it becomes the champion.",
        *("data_source", "data_image_size", "train_epochs", "gate_margin", "seed", "store", "gpus", "train_nodes"),
        *("data_config", "train_config", "deploy_config", "gate_config"),
    ),
)
def training(
    data_source: str = "synthetic:xray",
    data_image_size: int = 64,
    train_epochs: int = 30,
    gate_margin: float = 0.02,
    seed: int = 1,
    store: str = "s3://driftloop/demo",
    gpus: str = "1",
    train_nodes: dict = {},
    data_config: dict = {},
    train_config: dict = {},
    deploy_config: dict = {},
    gate_config: dict = {},
) -> None:
    training_stage(
        *(data_source, data_image_size, train_epochs, gate_margin, seed, store, gpus, train_nodes),
        data=data_config,
        train=train_config,
        deploy=deploy_config,
        gate=gate_config,
    )
