"""The deployment itself: the graphs made and measured, one of them chosen."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.onnx_deployment import benchmark, held_out, variant
from components.onnx_deployment.half import write_half
from components.onnx_deployment.held_out import measure_references
from components.onnx_deployment.quantisation import Quantisation, quantise
from components.onnx_deployment.temperature import Calibration, TemperatureFit, calibration_on, fit_temperature
from components.onnx_deployment.variant import COMPETING, GraphOutcomes, VariantChoice, choose_variant, judge_accuracy
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset import Description
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.measures import Measured, measure_classifier, thresholds_of
from driftloop.inference.provider import CPU, CUDA
from driftloop.inference.reference import Regime
from driftloop.inference.served_model import ServedModel, open_session
from driftloop.runtime import progress
from driftloop.settings import DeploySettings
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.privacy import PRIVACY
from driftloop.training.weights import load_model

#: Validation images on which the exported graph is compared with PyTorch.
PARITY_IMAGES = 256


@dataclass(frozen=True)
class Deployment:
    """Everything that was made and measured, for the files, the report and the metrics."""

    model: ModelDescription
    """Of the trained bundle, with the temperature."""
    temperature: TemperatureFit
    """Of the calibration inside all graphs."""
    fit_splits: tuple[str, ...]
    """Whose images that was fitted on."""
    calibration: Calibration
    """What it does on the clean test split."""
    parity: float
    """Largest difference of a probability between PyTorch and the exported FP32 graph."""
    quantisation: Quantisation
    """How the INT8 ranges were set."""
    range_splits: tuple[str, ...]
    """By whose images."""
    decision: dict[str, GraphOutcomes]
    """Each reduced graph beside FP32, by its file, on the images that decide which is served."""
    serve_on: str
    """The hardware it is chosen for, "cpu" or "cuda"."""
    choice: VariantChoice
    """Which graph is served."""
    test: dict[str, GraphOutcomes]
    """The same on the clean test split."""
    test_tags: np.ndarray
    """Of each image there, as `driftloop.tags` stores them."""
    measures: dict[str, Measured]
    """Of each graph there, by its file, at thresholds from the images that decide; with intervals for the one that is served."""
    rows: list[dict[str, Any]]
    """The benchmark's on the CPU."""
    gpu_rows: list[dict[str, Any]]
    """The benchmark's on the GPU; none where it is served on CPUs, or where this machine has no GPU that onnxruntime can use."""
    regimes: list[Regime]
    """What drift is judged against."""
    sizes_mb: dict[str, float]
    """Of the weights and the graphs, by file name."""
    provider: str
    """onnxruntime's execution provider of the served graph."""


def deploy(dataset: Description, source: Path, candidate: Path, settings: DeploySettings) -> Deployment:
    """Make the graphs in `candidate` and measure them."""
    network, model = load_model(source), bundle.read_model(source)
    held_out.check_fit(dataset, model)
    candidate.mkdir(parents=True, exist_ok=True)
    fp32, int8 = candidate / bundle.ONNX_FP32, candidate / bundle.ONNX_INT8

    validation = held_out.open_cases(dataset, held_out.TEMPERATURE_SPLITS)
    logits, labels = held_out.compute_logits(network, model, validation), held_out.case_labels(validation)
    fit = fit_temperature(logits, labels, held_out.case_groups(validation))
    model = model.model_copy(update={"temperature": fit.temperature})
    graph = ServingGraph(network, mean=model.mean, std=model.std, temperature=fit.temperature, class_shares=model.class_shares)
    progress(0.05, "exporting")
    export_onnx(graph, fp32, image_size=model.image_size, channels=model.channels)
    parity = check_parity(graph, fp32, held_out.draw_images(validation, PARITY_IMAGES, seed=settings.seed))

    progress(0.4, "quantising")
    range_splits = held_out.PRIVATE_RANGE_SPLITS if PRIVACY in model.training else held_out.RANGE_SPLITS
    ranging = held_out.open_cases(dataset, range_splits)
    range_images = held_out.draw_images(ranging, 2 * settings.calibration_images, seed=settings.seed)
    quantisation = quantise(fp32, int8, range_images[::2], range_images[1::2], settings.calibration)

    progress(0.55, "timing")
    testing, seconds = held_out.open_cases(dataset, held_out.TEST_SPLITS), settings.benchmark_seconds
    rows = benchmark.compare_latencies(graph, {bundle.ONNX_FP32: fp32, bundle.ONNX_INT8: int8}, testing[0].images, seconds=seconds)
    provider, gpu_rows, reduced = CPU, [], [bundle.ONNX_INT8]
    if settings.serve_on == "cuda":
        write_half(fp32, candidate / bundle.ONNX_FP16)
        reduced.append(bundle.ONNX_FP16)
        if open_session(fp32, threads=1, provider=CUDA).get_providers()[0] == CUDA:
            provider, graphs = CUDA, {name: candidate / name for name in (bundle.ONNX_FP32, bundle.ONNX_FP16)}
            timed = benchmark.compare_latencies(graph, graphs, testing[0].images, seconds=seconds, provider=CUDA)
            gpu_rows = [row for row in timed if row["variant"] in graphs]

    progress(0.75, "choosing what is served")
    providers = dict.fromkeys((bundle.ONNX_FP32, *reduced), provider) | {bundle.ONNX_INT8: CPU}
    models = {name: ServedModel(candidate, model, name, provider=chosen) for name, chosen in providers.items()}
    decision = _outcomes(models, held_out.open_cases(dataset, held_out.VARIANT_SPLITS), reduced)
    admissions = {name: judge_accuracy(decision[name], max_drop=settings.int8_max_drop) for name in COMPETING[settings.serve_on]}
    choice = choose_variant(admissions, benchmark.milliseconds(rows if settings.serve_on == "cpu" else gpu_rows))
    served = models[choice.served]
    progress(0.85, "measuring the reference")
    test, tags = _outcomes(models, testing, reduced), np.concatenate([part.tags for part in testing])
    return Deployment(
        model=model,
        temperature=fit,
        fit_splits=tuple(part.split for part in validation),
        calibration=calibration_on(held_out.compute_logits(network, model, testing), held_out.case_labels(testing), fit.temperature),
        parity=parity,
        quantisation=quantisation,
        range_splits=tuple(part.split for part in ranging),
        decision=decision,
        serve_on=settings.serve_on,
        choice=choice,
        test=test,
        test_tags=tags,
        measures=_measures(decision, test, tags, model, choice.served),
        rows=rows,
        gpu_rows=gpu_rows,
        regimes=measure_references(served, dataset),
        sizes_mb={path.name: path.stat().st_size / 1e6 for path in (source / bundle.WEIGHTS, *(candidate / name for name in models))},
        provider=served.provider,
    )


def _outcomes(models: dict[str, ServedModel], cases: list[held_out.Cases], reduced: list[str]) -> dict[str, GraphOutcomes]:
    """Each reduced graph beside the FP32 one."""
    return {name: variant.run_graphs(models[bundle.ONNX_FP32], models[name], cases) for name in reduced}


def _measures(
    decision: dict[str, GraphOutcomes], test: dict[str, GraphOutcomes], tags: np.ndarray, model: ModelDescription, served: str
) -> dict[str, Measured]:
    some = next(iter(test))
    held_out = {bundle.ONNX_FP32: decision[some].fp32} | {name: found.reduced for name, found in decision.items()}
    graphs = {bundle.ONNX_FP32: test[some].fp32} | {name: found.reduced for name, found in test.items()}
    return {
        name: measure_classifier(
            probabilities,
            test[some].labels,
            model.classes,
            thresholds=thresholds_of(held_out[name], decision[some].labels),
            groups=test[some].groups,
            tags=tags,
            shares=model.naming_shares,
            intervals=name == served,
        )
        for name, probabilities in graphs.items()
    }


def deployment_facts(deployment: Deployment, *, seconds: float) -> dict[str, Any]:
    """The step's facts, as JSON takes them."""
    names = {bundle.ONNX_FP32: "onnx_fp32", bundle.ONNX_INT8: "onnx_int8"}
    int8, half = deployment.test[bundle.ONNX_INT8], deployment.test.get(bundle.ONNX_FP16)
    of_half = (
        {"accuracy_fp16": proportion_right(half.reduced_right, half.groups).model_dump(), "fp16_drop": variant.accuracy_drop(half)}
        if half
        else {}
    )
    served = int8.fp32_right if deployment.choice.served == bundle.ONNX_FP32 else deployment.test[deployment.choice.served].reduced_right
    by_tag = variant.by_tag(served, deployment.test_tags, int8.groups)
    return of_half | {
        "accuracy_fp32": proportion_right(int8.fp32_right, int8.groups).model_dump(),
        "accuracy_int8": proportion_right(int8.reduced_right, int8.groups).model_dump(),
        "int8_drop": variant.accuracy_drop(int8),
        "accuracy_by_tag": {level: found.model_dump() for level, found in by_tag.items()},
        "measures": deployment.measures[deployment.choice.served].described(),
        "agreement": int8.agreement,
        "serve_on": deployment.serve_on,
        "served": deployment.choice.served,
        "served_reason": deployment.choice.reason,
        "speedup": benchmark.speedups(deployment.rows, names),
        "benchmark": deployment.rows,
        "benchmark_gpu": deployment.gpu_rows,
        "temperature": deployment.temperature.temperature,
        "calibration": asdict(deployment.calibration) | {"note": deployment.temperature.note},
        "quantisation": asdict(deployment.quantisation),
        "parity": deployment.parity,
        "provider": deployment.provider,
        "sizes_mb": deployment.sizes_mb,
        "regimes": {regime.name: len(regime) for regime in deployment.regimes},
        "seconds": seconds,
    }
