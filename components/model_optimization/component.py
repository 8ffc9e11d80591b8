"""The KFP components of theme 3: the optimised training, and a task of the search before it."""

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from driftloop.runtime import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def model_optimization(
    dataset: Input[Dataset],
    baseline: Input[Model],
    epochs: int,
    gpus: str,
    seed: int,
    config: dict,
    model: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Train a better model than the baseline, and find out which ingredient brought what.

    Args:
        dataset: the packed dataset of data_analysis.
        baseline: the baseline's bundle, for the comparison on the same test images.
        epochs: of the training.
        gpus: number of GPUs; 0 trains on the CPU.
        seed: of weights, batches, views and dropout.
        config: overrides of the training settings.
        model: the bundle: weights, description, facts, TensorBoard events.
        metrics: accuracy on the test split with its interval, the gain over the baseline, and more.
        roc: ROC curve and confusion matrix.
        report: learning-rate finder, learning curves, ablation, comparison.
    """
    from components.model_optimization.step import run

    run(
        dataset.path,
        baseline.path,
        model.path,
        report.path,
        epochs=epochs,
        gpus=gpus,
        seed=seed,
        config=config,
        metrics=metrics,
        roc=roc,
    )


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def trial_search(dataset: Input[Dataset], number: int, epochs: int, gpus: str, seed: int, config: dict) -> int:
    """Try sets of values beside the other tasks of a search, until all of its trials are finished or under way.

    Args:
        dataset: the packed dataset of data_analysis.
        number: of this task among those of the search, from 0.
        epochs: of the training that follows.
        gpus: number of GPUs; 0 trains on the CPU.
        seed: of the search and of every training.
        config: overrides of the training settings.

    Returns:
        How many trials have been finished, by whichever task.
    """
    from components.model_optimization.trial_search import run

    return run(dataset.path, number=number, epochs=epochs, gpus=gpus, seed=seed, config=config)
