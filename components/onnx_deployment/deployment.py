"""The deployment itself: both graphs made and measured, one of them chosen."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.onnx_deployment import benchmark, held_out, variant
from components.onnx_deployment.held_out import measure_references
from components.onnx_deployment.quantisation import Quantisation, quantise
from components.onnx_deployment.temperature import TemperatureFit, fit_temperature
from components.onnx_deployment.variant import GraphOutcomes, VariantChoice, choose_variant
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset import Description
from driftloop.inference.reference import Regime
from driftloop.inference.served_model import ServedModel
from driftloop.runtime import progress
from driftloop.settings import DeploySettings
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.weights import load_model

#: Validation images on which the exported graph is compared with PyTorch.
PARITY_IMAGES = 256


@dataclass(frozen=True)
class Deployment:
    """Everything that was made and measured, for the files, the report and the metrics."""

    model: ModelDescription
    """Of the trained bundle."""
    temperature: TemperatureFit
    """Of the calibration inside both graphs."""
    parity: float
    """Largest difference of a probability between PyTorch and the exported FP32 graph."""
    quantisation: Quantisation
    """How the INT8 ranges were set."""
    decision: GraphOutcomes
    """Both graphs on the images that decide which is served."""
    choice: VariantChoice
    """Which graph is served."""
    test: GraphOutcomes
    """Both graphs on the clean test split."""
    rows: list[dict[str, Any]]
    """The benchmark's."""
    regimes: list[Regime]
    """What drift is judged against."""
    sizes_mb: dict[str, float]
    """Of the weights and both graphs, by file name."""
    provider: str
    """onnxruntime's execution provider of the served graph."""


def deploy(dataset: Description, source: Path, candidate: Path, settings: DeploySettings) -> Deployment:
    """Make both graphs in `candidate` and measure them."""
    network, model = load_model(source), bundle.read_model(source)
    held_out.check_fit(dataset, model)
    candidate.mkdir(parents=True, exist_ok=True)
    fp32, int8 = candidate / bundle.ONNX_FP32, candidate / bundle.ONNX_INT8

    validation = held_out.open_cases(dataset, held_out.TEMPERATURE_SPLITS)
    fit = fit_temperature(held_out.compute_logits(network, model, validation), held_out.case_labels(validation))
    graph = ServingGraph(network, mean=model.mean, std=model.std, temperature=fit.temperature)
    progress(0.05, "exporting")
    export_onnx(graph, fp32, image_size=model.image_size, channels=model.channels)
    parity = check_parity(graph, fp32, held_out.draw_images(validation, PARITY_IMAGES, seed=settings.seed))

    progress(0.4, "quantising")
    training_images = held_out.draw_images(
        held_out.open_cases(dataset, held_out.RANGE_SPLITS), 2 * settings.calibration_images, seed=settings.seed
    )
    quantisation = quantise(fp32, int8, training_images[::2], training_images[1::2], settings.calibration)

    progress(0.55, "choosing what is served")
    plain, quantised = ServedModel(candidate, model, bundle.ONNX_FP32), ServedModel(candidate, model, bundle.ONNX_INT8)
    decision = variant.run_graphs(plain, quantised, held_out.open_cases(dataset, held_out.VARIANT_SPLITS))
    choice = choose_variant(decision.fp32_right, decision.int8_right, decision.groups, max_drop=settings.int8_max_drop)
    served = quantised if choice.served == bundle.ONNX_INT8 else plain

    progress(0.6, "timing")
    testing = held_out.open_cases(dataset, held_out.TEST_SPLITS)
    rows = benchmark.compare_latencies(
        graph, {bundle.ONNX_FP32: fp32, bundle.ONNX_INT8: int8}, testing[0].images, seconds=settings.benchmark_seconds
    )
    progress(0.85, "measuring the reference")
    return Deployment(
        model=model,
        temperature=fit,
        parity=parity,
        quantisation=quantisation,
        decision=decision,
        choice=choice,
        test=variant.run_graphs(plain, quantised, testing),
        rows=rows,
        regimes=measure_references(served, dataset),
        sizes_mb={path.name: path.stat().st_size / 1e6 for path in (source / bundle.WEIGHTS, fp32, int8)},
        provider=served.provider,
    )


def deployment_facts(deployment: Deployment, *, seconds: float) -> dict[str, Any]:
    """The step's facts, as JSON takes them."""
    names = {bundle.ONNX_FP32: "onnx_fp32", bundle.ONNX_INT8: "onnx_int8"}
    return {
        "accuracy_fp32": variant.proportion_right(deployment.test.fp32_right).model_dump(),
        "accuracy_int8": variant.proportion_right(deployment.test.int8_right).model_dump(),
        "int8_drop": variant.accuracy_drop(deployment.test),
        "agreement": deployment.test.agreement,
        "served": deployment.choice.served,
        "served_reason": deployment.choice.reason,
        "speedup": benchmark.speedups(deployment.rows, names),
        "benchmark": deployment.rows,
        "temperature": deployment.temperature.temperature,
        "calibration": asdict(deployment.temperature),
        "quantisation": asdict(deployment.quantisation),
        "parity": deployment.parity,
        "provider": deployment.provider,
        "sizes_mb": deployment.sizes_mb,
        "regimes": {regime.name: len(regime) for regime in deployment.regimes},
        "seconds": seconds,
    }
