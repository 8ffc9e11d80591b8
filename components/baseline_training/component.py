"""The KFP component of theme 2."""

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from driftloop.runtime import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def baseline_training(
    dataset: Input[Dataset],
    epochs: int,
    gpus: str,
    seed: int,
    config: dict,
    model: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    card: Output[Markdown],
    curves: Output[HTML],
) -> list[int]:
    """Train the plain network that everything else is measured against: float32, Adam, no augmentation.

    Args:
        dataset: the packed dataset of data_analysis.
        epochs: of the optimised training; the baseline takes the share train_config.baseline_share of them.
        gpus: number of GPUs; 0 trains on the CPU.
        seed: of weights, batches and dropout.
        config: overrides of the training settings.
        model: the bundle: weights, description, facts, TensorBoard events.
        metrics: accuracy on the test split with its interval, and more.
        roc: ROC curve and confusion matrix.
        card: the model card.
        curves: learning curves and the evaluation in pictures.

    Returns:
        The numbers of the tasks that search before the optimised training; mostly none.
    """
    from components.baseline_training.step import run

    return run(
        dataset.path,
        model.path,
        card.path,
        curves.path,
        epochs=epochs,
        gpus=gpus,
        seed=seed,
        config=config,
        metrics=metrics,
        roc=roc,
    )
