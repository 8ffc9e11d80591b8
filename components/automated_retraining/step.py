"""Theme 7, retraining, step by step: rows, sides, dataset, fine-tuning, bundle."""

import time
from pathlib import Path
from typing import Any

from components.automated_retraining.checkpoint import StoreCheckpoint
from components.automated_retraining.confirmed_rows import read_coverage
from components.automated_retraining.drifted_images import gather
from components.automated_retraining.findings import findings, log_metrics, say, summary
from components.automated_retraining.fine_tuning import Sources, build_mix, build_recipe, build_validation, described, fine_tune
from components.automated_retraining.grown_dataset import grow, open_parent, provenance, write_provenance
from components.automated_retraining.retrained_bundle import describe_model, with_retraining
from driftloop import bundle
from driftloop.bundle import read_model
from driftloop.dataset import write_description
from driftloop.inference.traffic import read_traffic
from driftloop.runtime import MetricsLog, figures, progress
from driftloop.settings import RetrainSettings
from driftloop.step_facts import write_facts
from driftloop.store import open_store
from driftloop.training.device import pick_device
from driftloop.training.outcome import device_name, write_bundle
from driftloop.training.seeding import set_seed
from driftloop.training.weights import load_model

STEP = "automated_retraining"


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
        traffic, champion, drift: directories of the traffic, the champion's bundle and the drift evidence.
        dataset, model: directories to write the new dataset's description and the retrained bundle into.
        gpus: number of GPUs, "0" or "1".
        seed: of everything random.
        store: the model's home; only `datasets/` is written.
        config: overrides of RetrainSettings.
        metrics: takes the figures for the pipeline's UI.

    Raises:
        InputError: no window, evidence or bundle, the champion's dataset is not in the store, or too few labels.
    """
    began = time.perf_counter()
    settings = RetrainSettings.complete(config)
    set_seed(seed)
    home, watch, old = open_store(store), read_traffic(traffic), read_model(champion)
    drifted = gather(home, watch, read_coverage(drift), open_parent(home, old.dataset), settings)
    grown = grow(home, drifted.parent, drifted.rows, drifted.sides, watch.images)
    write_description(dataset, grown.dataset)
    write_provenance(home, grown.dataset, provenance(drifted.rows, drifted.sides, old.classes, grown.regime), dataset)

    network, device = load_model(champion), pick_device(gpus)
    sources = Sources(grown.dataset, old.mean, old.std, device)
    mix, recipe = build_mix(sources, settings, old, seed=seed), build_recipe(settings, old, device)
    checkpoint = StoreCheckpoint(home, grown.dataset, identity(champion, seed, settings))
    course = fine_tune(
        network.to(device),
        mix,
        build_validation(sources),
        recipe,
        seed=seed,
        patience=settings.patience,
        keep_balance=settings.keep_balance,
        checkpoint=checkpoint,
        on_epoch=lambda epoch: progress(epoch.epoch / settings.epochs, say(epoch)),
    )

    training = described(settings, recipe, mix, old)
    found = findings(grown, drifted, course, training=training, device=device_name(device), seconds=time.perf_counter() - began)
    about = describe_model(old, grown.dataset, course, parent=watch.info.champion_version, seed=seed, training=training)
    write_bundle(model, network, about, with_retraining(champion, about, course), STEP, found, champion, traffic, drift)
    write_facts(dataset, STEP, found, champion, traffic, drift)
    checkpoint.clear()
    log_metrics(found, metrics)
    figures(summary(found))


def identity(champion: str | Path, seed: int, settings: RetrainSettings) -> dict[str, Any]:
    """What, beside the dataset, determines the fine-tuning: only the same one is resumed."""
    return {"champion": bundle.sha256_file(Path(champion, bundle.SUMS)), "seed": seed, "settings": settings.model_dump()}
