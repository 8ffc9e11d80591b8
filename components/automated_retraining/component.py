"""Theme 7, retraining, as a KFP component."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from driftloop.runtime import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def automated_retraining(
    traffic: Input[Dataset],
    champion: Input[Model],
    drift: Input[Artifact],
    gpus: str,
    seed: int,
    store: str,
    config: dict,
    dataset: Output[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Fine-tune the champion on a mix of what it learned and the labelled images of the confirmed drift.

    Args:
        traffic: the rows, labels and images of production that the watch covers.
        champion: the bundle that serves, or a link to it; it names the dataset it was trained on.
        drift: the evidence of drift_detection, which names the rows of the confirmed windows.
        gpus: number of GPUs; 0 trains on the CPU.
        seed: of everything random.
        store: the model's home, s3://bucket/prefix or a folder; the new dataset goes to datasets/<hash>/ in it.
        config: overrides of the retrain settings.
        dataset: the champion's dataset and the drifted images, split into training, early stopping, gate and accepted regime.
        model: the fine-tuned bundle (model.pth, model.json, facts.json), not exported yet.
        metrics: accuracy on both validation splits before and after, and what the mix consists of.
    """
    from components.automated_retraining.step import run

    run(
        traffic.path,
        champion.path,
        drift.path,
        dataset.path,
        model.path,
        gpus=gpus,
        seed=seed,
        store=store,
        config=config,
        metrics=metrics,
    )
