"""Theme 6 as a KFP component."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def drift_detection(
    traffic: Input[Dataset],
    champion: Input[Model],
    store: str,
    alpha: float,
    critical_classes: str,
    config: dict,
    retrain_config: dict,
    evidence: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    sheet: Output[HTML],
) -> str:
    """Decide whether a production window has drifted from what its champion was accepted for, and whether that matters.

    Args:
        traffic: the watch's rows, labels and past records, from production_monitoring.
        champion: the bundle that served those rows, with its drift reference, or a link to it.
        store: the model's home: holds the images, and takes the watch's record.
        alpha: level of a window's drift test, lowered where the budget of false alarms asks for it.
        critical_classes: classes for which an unknown recall is not harmless, separated by commas.
        config: overrides of the drift settings (window_size, harm_labels, cooldown_days, ...).
        retrain_config: overrides of the retrain settings, the same that the retraining gets: it is started with enough labels only.
        evidence: drift_report.json, windows.parquet (request and window), label_requests.csv and facts.json.
        metrics: p-values, MMD, windows drifted, accuracy drop.
        report: what moved, the most shifted images, the embedding map and the history.
        sheet: the images to label, on a page that makes the file of answers.

    Returns:
        The verdict: stable, alert, needs_labels or retrain.
    """
    from components.drift_detection.step import run

    return run(
        traffic.path,
        champion.path,
        evidence.path,
        report.path,
        sheet.path,
        store=store,
        alpha=alpha,
        critical_classes=critical_classes,
        config=config,
        retrain_config=retrain_config,
        metrics=metrics,
    )
