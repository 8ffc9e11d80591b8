"""Theme 4: from a trained bundle to a candidate, the bundle that the gate judges and users may get."""

import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from components.onnx_deployment.deployment import Deployment, deploy, deployment_facts
from components.onnx_deployment.report import build_report, with_deployment
from components.onnx_deployment.variant import GRAPH_NAMES
from driftloop import bundle
from driftloop.contracts import BENCHMARK, ONNX_DEPLOYMENT
from driftloop.dataset import read_description
from driftloop.evaluation.calibration import CALIBRATION_ERROR
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.reference import write_reference
from driftloop.reporting.chapter import write_chapter
from driftloop.runtime import MetricsLog, report_metrics
from driftloop.settings import DeploySettings
from driftloop.step_facts import write_facts, write_json
from driftloop.tracking import leave_record
from driftloop.training.device import pick_device


def run(
    dataset: str | Path,
    model: str | Path,
    candidate: str | Path,
    report: str | Path,
    *,
    config: dict[str, Any],
    metrics: MetricsLog,
) -> None:
    """Export, quantise, choose, time and seal; see the README of this folder.

    Args:
        dataset, model: directories of the dataset artifact and of the trained bundle.
        candidate: directory of the bundle to write.
        report: HTML file to write.
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
    description = read_description(dataset)
    deployment = deploy(description, Path(model), Path(candidate), settings)
    facts = deployment_facts(deployment, seconds=time.perf_counter() - started)
    page = build_report(deployment)
    page.write(report)
    write_chapter(candidate, ONNX_DEPLOYMENT, page.chapter, dataset, model)
    write_candidate(deployment, Path(candidate), facts, dataset, model)
    leave_record(description.store, ONNX_DEPLOYMENT, candidate, {bundle.CARD: Path(candidate, bundle.CARD), "report.html": report})
    _log_metrics(facts, metrics)
    report_metrics(outcome_line(facts, GRAPH_NAMES[deployment.choice.served]))


def outcome_line(facts: dict[str, Any], served: str) -> str:
    """What the terminal shows: the accuracy of the graph that is served, and what that, or INT8 where FP32 is served, costs."""
    speed, reduced = facts["speedup"], "INT8" if served == "FP32" else served
    cost = f"{-100 * facts[f'{reduced.lower()}_drop']['value']:+.1f} points"
    return (
        f"{served} served · INT8 {speed['onnx_int8']:.1f}x, FP32 {speed['onnx_fp32']:.1f}x PyTorch · "
        f"accuracy {facts[f'accuracy_{served.lower()}']['value']:.3f} ({cost if served == reduced else f'{reduced} {cost}'})"
    )


def write_candidate(deployment: Deployment, candidate: Path, facts: dict[str, Any], dataset: str | Path, source: str | Path) -> None:
    """Complete the bundle around the graphs, and seal it."""
    served = facts[f"accuracy_{GRAPH_NAMES[deployment.choice.served].lower()}"]
    known = deployment.model.model_dump()["metrics"]
    metrics = {name: value for name, value in known.items() if not name.startswith(bundle.SERVED_ACCURACY)} | {
        bundle.SERVED_ACCURACY: served
    }
    metrics |= {bundle.SERVED_ACCURACY_OF.format(level=level): accuracy for level, accuracy in facts["accuracy_by_tag"].items()}
    model = deployment.model.model_validate(
        deployment.model.model_dump()
        | {
            "served": deployment.choice.served,
            "metrics": metrics,
            "libraries": deployment.model.libraries | _library_versions(),
        }
    )
    shutil.copyfile(Path(source, bundle.WEIGHTS), candidate / bundle.WEIGHTS)
    write_reference(candidate / bundle.REFERENCE, deployment.regimes, statistic_names(model.channels))
    timed = {"rows": deployment.rows, "gpu_rows": deployment.gpu_rows, "speedup": facts["speedup"], "sizes_mb": deployment.sizes_mb}
    write_json(candidate / BENCHMARK, timed)
    (candidate / bundle.CARD).write_text(with_deployment(Path(source, bundle.CARD), model, facts), encoding="utf-8")
    bundle.write_model(candidate, model)
    write_facts(candidate, ONNX_DEPLOYMENT, facts, dataset, source)
    bundle.seal(candidate)


def _log_metrics(facts: dict[str, Any], metrics: MetricsLog) -> None:
    """The figures that KFP's UI lists and compares between runs."""
    metrics.log_metric("accuracy_fp32", facts["accuracy_fp32"]["value"])
    metrics.log_metric("accuracy_int8", facts["accuracy_int8"]["value"])
    metrics.log_metric("int8_drop", facts["int8_drop"]["value"])
    for name, ratio in facts["speedup"].items():
        metrics.log_metric(f"speedup_{name}", ratio)
    for row in facts["benchmark"]:
        metrics.log_metric(f"p50_ms_{row['variant']}_batch_{row['batch']}", row["p50_ms"])
    for row in facts["benchmark_gpu"]:
        metrics.log_metric(f"gpu_p50_ms_{row['variant']}_batch_{row['batch']}", row["p50_ms"])
    metrics.log_metric("temperature", facts["temperature"])
    metrics.log_metric(CALIBRATION_ERROR, facts["measures"]["overall"][CALIBRATION_ERROR]["value"])


def _library_versions() -> dict[str, str]:
    """Versions of what made the graphs and runs them."""
    versions = {}
    for name in ("onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
