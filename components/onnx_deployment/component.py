"""The KFP component of theme 4."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from driftloop.runtime import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def onnx_deployment(
    dataset: Input[Dataset],
    model: Input[Model],
    config: dict,
    candidate: Output[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """Turn a trained model into what users get: calibrated ONNX graphs, measured, with the reference that drift is judged against.

    Args:
        dataset: the dataset it was trained on, with its held-out splits.
        model: the trained bundle.
        config: overrides of the deployment settings.
        candidate: the bundle that the gate judges: weights, both graphs, benchmark.json, reference.npz.
        metrics: accuracies, latencies and speed-ups.
        report: the same for people.
    """
    from components.onnx_deployment.step import run

    run(dataset.path, model.path, candidate.path, report.path, config=config, metrics=metrics)
