"""drift-watch: what a schedule runs; it looks at the traffic since the last watch and closes the loop where it must."""

from kfp import dsl

from driftloop.settings import describe
from pipelines.stages import watch_stage


@dsl.pipeline(
    name="drift-watch",
    description=describe(
        "Watch the champion's traffic; on confirmed and harmful drift retrain, and promote what passes the gate.",
        *("until", "drift_alpha", "gate_margin", "seed", "store", "gpus", "train_nodes"),
        *("monitor_config", "drift_config", "retrain_config", "deploy_config", "gate_config"),
    ),
)
def drift_watch(
    until: str = "",
    drift_alpha: float = 0.05,
    gate_margin: float = 0.02,
    seed: int = 1,
    store: str = "s3://driftloop/demo",
    gpus: str = "1",
    train_nodes: dict = {},
    monitor_config: dict = {},
    drift_config: dict = {},
    retrain_config: dict = {},
    deploy_config: dict = {},
    gate_config: dict = {},
) -> None:
    watch_stage(
        *(until, drift_alpha, gate_margin, seed, store, gpus, train_nodes),
        monitor=monitor_config,
        drift=drift_config,
        retrain=retrain_config,
        deploy=deploy_config,
        gate=gate_config,
    )
