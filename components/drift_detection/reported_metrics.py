"""The numbers of a watch's drift test that KFP's UI lists and compares between runs, and the one line of the log."""

from components.drift_detection import detectors
from components.drift_detection.findings import WatchFindings
from driftloop.plurals import counted
from driftloop.runtime import MetricsLog, report_metrics


def log_drift_metrics(findings: WatchFindings, metrics: MetricsLog) -> None:
    """Log p-values, effects and the accuracy drop for KFP's UI, and the line that the step ends with."""
    tested, drifted = len(findings.tested), findings.drifted_windows
    named: dict[str, float] = {"windows": tested, "windows_drifted": drifted, "alpha": findings.level.alpha}
    text = f"{findings.verdict.name}: {drifted} of {counted(tested, 'window')} drifted"
    if findings.explained:
        results = findings.explained.tested.test.results
        named |= {f"p_{name}": result.p_value for name, result in results.items()}
        effects = {detector.effect: results[detector.name].effect for detector in detectors.DETECTORS if detector.effect}
        named |= {name: effect for name, effect in effects.items() if effect is not None}
        text += ", p " + " ".join(f"{result.p_value:.2g} ({name})" for name, result in results.items())
    if findings.drop:
        named |= {"accuracy_drop": findings.drop.value, "accuracy_drop_low": findings.drop.low, "accuracy_drop_high": findings.drop.high}
        text += f", accuracy down {100 * findings.drop.value:.1f} points on {counted(findings.drop.n, 'label')}"
    for name, value in named.items():
        metrics.log_metric(name, value)
    report_metrics(text)
