"""Theme 7, retraining, step by step: drifted images and their roles, dataset, fine-tuning, bundle."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.automated_retraining.drifted_images import collect_drifted_images, read_coverage
from components.automated_retraining.fine_tuning import (
    FineTuningData,
    FineTuningEpoch,
    build_mix,
    build_recipe,
    build_validation,
    describe_training,
    fine_tune,
    refit_head,
    retrain_private_head,
    with_privacy,
)
from components.automated_retraining.grown_dataset import grow, open_parent, provenance_table, write_provenance
from components.automated_retraining.report import build_report
from components.automated_retraining.retrained_bundle import describe_retrained, retrained_card
from components.automated_retraining.retraining_facts import epoch_curves, epoch_line, log_metrics, retraining_facts, summary_line
from driftloop.bundle import CARD, digest_of, read_model
from driftloop.contracts import AUTOMATED_RETRAINING, DRIFT_DETECTION
from driftloop.dataset import write_description
from driftloop.inference.traffic import read_traffic
from driftloop.registry.bundle_link import linked_bundle
from driftloop.reporting.chapter import write_chapter
from driftloop.runtime import MetricsLog, progress, report_metrics
from driftloop.settings import RetrainSettings
from driftloop.step_facts import read_facts, write_facts
from driftloop.store import open_store
from driftloop.tracking import leave_record
from driftloop.training.checkpoint import StoreCheckpoint
from driftloop.training.curves import TrainingEvents
from driftloop.training.device import pick_device
from driftloop.training.outcome import device_name, write_bundle
from driftloop.training.privacy import PRIVACY
from driftloop.training.seeding import set_seed
from driftloop.training.weights import load_model


def run(
    traffic: str | Path,
    champion: str | Path,
    drift: str | Path,
    dataset: str | Path,
    model: str | Path,
    *,
    gpus: str,
    seed: int,
    store: str,
    config: dict[str, Any] | None = None,
    metrics: MetricsLog,
) -> None:
    """Grow the dataset by the confirmed drift and fine-tune the champion on it; see the README of this folder.

    Killed and run again, it goes on from the last finished epoch.

    Args:
        traffic, champion, drift: directories of the traffic, the champion's bundle or a link to it, and the drift evidence.
        dataset, model: directories to write the new dataset's description and the retrained bundle into.
        gpus: number of GPUs asked for.
        seed: of everything random.
        store: the model's home; only `datasets/` is written.
        config: overrides of RetrainSettings.
        metrics: takes the figures for the pipeline's UI.

    Raises:
        InputError: no traffic, evidence or bundle, the champion's dataset is not in the store, or too few labels.
    """
    began = time.perf_counter()
    settings = RetrainSettings.complete(config)
    set_seed(seed)
    home, watched, old = open_store(store), read_traffic(traffic), read_model(champion)
    found = read_facts(drift).get(DRIFT_DETECTION, {})
    drifted = collect_drifted_images(home, watched, read_coverage(drift), open_parent(home, old.dataset), settings, found)
    grown = grow(home, drifted.parent, drifted.rows, drifted.roles, drifted.images, drifted.hold_out)
    write_description(dataset, grown.dataset)
    origins = provenance_table(drifted.rows, drifted.roles, old.classes, grown.regime, drifted.hold_out)
    write_provenance(home, grown.dataset, origins, dataset)

    device = pick_device(gpus)
    with TemporaryDirectory(prefix="driftloop-champion-") as scratch:
        network = load_model(linked_bundle(home, champion, scratch))
    data = FineTuningData(grown.dataset, old.mean, old.std, device, old.class_shares)
    recipe, views = build_recipe(settings, old, device), None
    checkpoint = StoreCheckpoint.of(home, grown.dataset, training_identity(champion, seed, settings))

    with TrainingEvents(model, home.uri, AUTOMATED_RETRAINING) as events:

        def report(epoch: FineTuningEpoch) -> None:
            events.epoch(epoch.epoch, epoch_curves(epoch))
            progress(epoch.epoch / recipe.epochs, epoch_line(epoch))

        if recipe.layer_decay == 0 and PRIVACY in old.training:
            result, recipe = retrain_private_head(
                network.to(device), data, settings, recipe, old, seed=seed, checkpoint=checkpoint, on_epoch=report
            )
        elif recipe.layer_decay == 0:
            result = refit_head(network.to(device), data, settings, on_epoch=report)
        else:
            mix = build_mix(data, settings, old, seed=seed)
            views, recipe = mix.augmentation, with_privacy(recipe, old, mix)
            result = fine_tune(
                network.to(device),
                mix,
                build_validation(data),
                recipe,
                seed=seed,
                patience=settings.patience,
                keep_balance=settings.keep_balance,
                checkpoint=checkpoint,
                on_epoch=report,
            )

    training = describe_training(settings, recipe, views, old)
    seconds = time.perf_counter() - began
    facts = retraining_facts(grown, drifted, result, training=training, device=device_name(device), seconds=seconds)
    about = describe_retrained(old, grown.dataset, result, parent=watched.info.champion_version, seed=seed, training=training)
    card = retrained_card(about, result)
    write_chapter(model, AUTOMATED_RETRAINING, build_report(facts, watched.info.champion_version).chapter, champion, traffic, drift)
    write_bundle(model, network, about, card, AUTOMATED_RETRAINING, facts, champion, traffic, drift)
    write_facts(dataset, AUTOMATED_RETRAINING, facts, champion, traffic, drift)
    leave_record(home, AUTOMATED_RETRAINING, model, {CARD: Path(model, CARD)})
    checkpoint.clear()
    log_metrics(facts, metrics)
    report_metrics(summary_line(facts))


def training_identity(champion: str | Path, seed: int, settings: RetrainSettings) -> dict[str, Any]:
    """What, beside the dataset, determines the fine-tuning: only the same one is resumed."""
    return {"champion": digest_of(champion), "seed": seed, "settings": settings.model_dump()}
