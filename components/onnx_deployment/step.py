"""Theme 4: from a trained bundle to a candidate, the bundle that the gate judges and users may get."""

import shutil
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.onnx_deployment import benchmark, held_out, report, variant
from components.onnx_deployment.held_out import measure_references
from components.onnx_deployment.quantisation import Quantisation, quantise
from components.onnx_deployment.temperature import TemperatureFit, fit_temperature
from components.onnx_deployment.variant import GraphOutcomes, VariantChoice, choose_variant
from driftloop import bundle
from driftloop.bundle import ModelDescription
from driftloop.dataset import Description, read_description
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.reference import Regime, write_reference
from driftloop.inference.served_model import ServedModel
from driftloop.runtime import MetricsLog, progress, report_metrics
from driftloop.settings import DeploySettings
from driftloop.step_facts import write_facts, write_json
from driftloop.training.device import pick_device
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.weights import load_model

STEP = "onnx_deployment"
BENCHMARK = "benchmark.json"
PARITY_IMAGES = 256


@dataclass(frozen=True)
class Deployment:
    """Everything the step found, for the files, the report and the metrics."""

    model: ModelDescription
    calibration: TemperatureFit
    parity: float
    quantisation: Quantisation
    decision: GraphOutcomes
    choice: VariantChoice
    test: GraphOutcomes
    rows: list[dict[str, Any]]
    regimes: list[Regime]
    sizes_mb: dict[str, float]
    provider: str


def run(
    dataset: str | Path,
    model: str | Path,
    candidate: str | Path,
    report_path: str | Path,
    *,
    config: dict[str, Any],
    metrics: MetricsLog,
) -> None:
    """Export, quantise, choose, time and seal; see the README of this folder.

    Args:
        dataset, model: directories of the dataset artifact and of the trained bundle.
        candidate: directory of the bundle to write.
        report_path: HTML file to write.
        config: overrides of `DeploySettings`.
        metrics: gets the figures that KFP's UI compares between runs.

    Raises:
        InputError: the dataset is not the model's, or lacks a split that is needed.
        IntegrityError: the trained bundle is damaged.
        RunFailed: the exported graph does not compute what PyTorch does.
    """
    settings = DeploySettings.complete(config)
    started = time.perf_counter()
    pick_device("0")
    found = deploy(read_description(dataset), Path(model), Path(candidate), settings)
    findings = described(found, seconds=time.perf_counter() - started)
    write_candidate(found, Path(candidate), findings, dataset, model)
    report.write_deployment_report(found, report_path)
    log_metrics(findings, metrics)
    drop, speed = findings["int8_drop"]["value"], findings["speedup"]
    report_metrics(
        f"{'INT8' if found.choice.served == bundle.ONNX_INT8 else 'FP32'} served · INT8 {speed['onnx_int8']:.1f}x, "
        f"FP32 {speed['onnx_fp32']:.1f}x PyTorch · accuracy {findings['accuracy_int8']['value']:.3f} ({-100 * drop:+.1f} points)"
    )


def deploy(dataset: Description, source: Path, candidate: Path, settings: DeploySettings) -> Deployment:
    """Make both graphs in `candidate` and measure them."""
    network, model = load_model(source), bundle.read_model(source)
    held_out.check_fit(dataset, model)
    candidate.mkdir(parents=True, exist_ok=True)
    fp32, int8 = candidate / bundle.ONNX_FP32, candidate / bundle.ONNX_INT8

    validation = held_out.open_cases(dataset, held_out.TEMPERATURE_SPLITS)
    calibration = fit_temperature(held_out.compute_logits(network, model, validation), held_out.case_labels(validation))
    graph = ServingGraph(network, mean=model.mean, std=model.std, temperature=calibration.temperature)
    progress(0.05, "exporting")
    export_onnx(graph, fp32, image_size=model.image_size, channels=model.channels)
    parity = check_parity(graph, fp32, held_out.draw_images(validation, PARITY_IMAGES, seed=settings.seed))

    progress(0.4, "quantising")
    drawn = held_out.draw_images(held_out.open_cases(dataset, held_out.RANGE_SPLITS), 2 * settings.calibration_images, seed=settings.seed)
    quantisation = quantise(fp32, int8, drawn[::2], drawn[1::2], settings.calibration)

    progress(0.55, "choosing what is served")
    plain, quantised = ServedModel(candidate, model, bundle.ONNX_FP32), ServedModel(candidate, model, bundle.ONNX_INT8)
    deciding = held_out.open_cases(dataset, held_out.VARIANT_SPLITS)
    decision = variant.run_graphs(plain, quantised, deciding)
    choice = choose_variant(decision.fp32_right, decision.int8_right, held_out.case_groups(deciding), max_drop=settings.int8_max_drop)
    served = quantised if choice.served == bundle.ONNX_INT8 else plain

    progress(0.6, "timing")
    testing = held_out.open_cases(dataset, held_out.TEST_SPLITS)
    rows = benchmark.compare_latencies(
        graph, {bundle.ONNX_FP32: fp32, bundle.ONNX_INT8: int8}, testing[0].images, seconds=settings.benchmark_seconds
    )
    progress(0.85, "measuring the reference")
    return Deployment(
        model=model,
        calibration=calibration,
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


def described(found: Deployment, *, seconds: float) -> dict[str, Any]:
    """The step's facts, as JSON takes them."""
    names = {bundle.ONNX_FP32: "onnx_fp32", bundle.ONNX_INT8: "onnx_int8"}
    return {
        "accuracy_fp32": variant.proportion_right(found.test.fp32_right).model_dump(),
        "accuracy_int8": variant.proportion_right(found.test.int8_right).model_dump(),
        "int8_drop": variant.accuracy_drop(found.test),
        "agreement": found.test.agreement,
        "served": found.choice.served,
        "served_reason": found.choice.reason,
        "speedup": benchmark.speedups(found.rows, names),
        "benchmark": found.rows,
        "temperature": found.calibration.temperature,
        "calibration": asdict(found.calibration),
        "quantisation": asdict(found.quantisation),
        "parity": found.parity,
        "provider": found.provider,
        "sizes_mb": found.sizes_mb,
        "regimes": {regime.name: len(regime) for regime in found.regimes},
        "seconds": seconds,
    }


def write_candidate(found: Deployment, candidate: Path, findings: dict[str, Any], dataset: str | Path, source: str | Path) -> None:
    """Complete the bundle around the graphs, and seal it."""
    served = findings["accuracy_int8" if found.choice.served == bundle.ONNX_INT8 else "accuracy_fp32"]
    model = found.model.model_validate(
        found.model.model_dump()
        | {
            "served": found.choice.served,
            "temperature": found.calibration.temperature,
            "metrics": found.model.model_dump()["metrics"] | {"served_accuracy": served},
            "libraries": found.model.libraries | libraries(),
        }
    )
    shutil.copyfile(Path(source, bundle.WEIGHTS), candidate / bundle.WEIGHTS)
    write_reference(candidate / bundle.REFERENCE, found.regimes, statistic_names(model.channels))
    write_json(candidate / BENCHMARK, {"rows": found.rows, "speedup": findings["speedup"], "sizes_mb": found.sizes_mb})
    (candidate / bundle.CARD).write_text(report.with_deployment(Path(source, bundle.CARD), model, findings), encoding="utf-8")
    bundle.write_model(candidate, model)
    write_facts(candidate, STEP, findings, dataset, source)
    bundle.seal(candidate)


def log_metrics(findings: dict[str, Any], metrics: MetricsLog) -> None:
    """The figures that KFP's UI lists and compares between runs."""
    metrics.log_metric("accuracy_fp32", findings["accuracy_fp32"]["value"])
    metrics.log_metric("accuracy_int8", findings["accuracy_int8"]["value"])
    metrics.log_metric("int8_drop", findings["int8_drop"]["value"])
    for name, ratio in findings["speedup"].items():
        metrics.log_metric(f"speedup_{name}", ratio)
    for row in findings["benchmark"]:
        metrics.log_metric(f"p50_ms_{row['variant']}_batch_{row['batch']}", row["p50_ms"])
    metrics.log_metric("temperature", findings["temperature"])
    metrics.log_metric("calibration_error", findings["calibration"]["ece_after"])


def libraries() -> dict[str, str]:
    """Versions of what made the graphs and runs them."""
    found = {}
    for name in ("onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
