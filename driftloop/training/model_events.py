"""A trained model in TensorBoard, beside its curves: its network, its hyperparameters, what it was shown, and what it gets wrong."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.tensorboard import SummaryWriter

from driftloop.contracts import TEST
from driftloop.dataset import open_split
from driftloop.reporting.tensorboard import publish_events
from driftloop.training.augmentation import Augmentation, mix
from driftloop.training.batches import normalise, to_tensor
from driftloop.training.curves import EVENTS_FOLDER
from driftloop.training.outcome import TrainedModel
from driftloop.training.task import Task

#: Images of each kind that are shown; only these are read from the dataset.
SHOWN = 16


def write_model_events(
    bundle: str | Path,
    trained: TrainedModel,
    task: Task,
    *,
    step: str,
    augmentation: Augmentation | None = None,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> None:
    """Write the model into `<bundle>/events/` and publish the folder again; before the bundle is sealed.

    Args:
        bundle: directory of the bundle, with the curves.
        trained: the model; its network is traced once, with one image.
        task: what it was trained on.
        step: the component's name.
        augmentation, mixup_alpha, cutmix_alpha: how the training images were shown.
    """
    folder = Path(bundle, EVENTS_FOLDER)
    with SummaryWriter(str(folder)) as writer:
        batch = augmented_batch(task, augmentation, mixup_alpha, cutmix_alpha, seed=trained.seed)
        writer.add_images("images/as_trained", batch, dataformats="NCHW")
        predictions = trained.scores.test_predictions
        wrong = predictions.surest_errors(SHOWN)
        if len(wrong):
            writer.add_images("images/surest_errors", np.array(open_split(task.description, TEST).images[wrong]), dataformats="NHWC")
            lines = [f"{place}. {predictions.described_error(row, task.description.classes)}" for place, row in enumerate(wrong, 1)]
            writer.add_text("images/surest_errors", "\n".join(lines))
        first = to_tensor(np.array(task.train.images[:1])).to(task.device)
        mean, std = (torch.tensor(values, device=task.device) for values in (task.description.mean, task.description.std))
        with warnings.catch_warnings():
            # Tracing, deprecated or not, is the only way into TensorBoard's graph that torch has.
            warnings.simplefilter("ignore")
            writer.add_graph(trained.network, normalise(first, mean, std))
        writer.add_hparams(_hyperparameters(trained), _reached(trained), run_name=".")
    publish_events(folder, task.description.store, step.replace("_", "-"))


def augmented_batch(task: Task, augmentation: Augmentation | None, mixup_alpha: float, cutmix_alpha: float, *, seed: int) -> torch.Tensor:
    """Training images as an epoch shows them, before they are normalised: uint8 (N, C, H, W), N at most `SHOWN`."""
    generator = torch.Generator().manual_seed(seed)
    rows = np.sort(torch.randperm(len(task.train.labels), generator=generator)[:SHOWN].numpy())
    images = to_tensor(np.array(task.train.images[rows]))
    if augmentation:
        images = augmentation(images, generator)
    if mixup_alpha > 0 or cutmix_alpha > 0:
        targets = F.one_hot(torch.as_tensor(task.train.labels[rows], dtype=torch.int64), len(task.description.classes)).float()
        images = mix(images.float(), targets, mixup_alpha, cutmix_alpha, generator)[0].round().to(torch.uint8)
    return images


def _hyperparameters(trained: TrainedModel) -> dict[str, bool | float | int | str]:
    return _flat({"architecture": trained.architecture, "seed": trained.seed} | trained.training)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | int | str]:
    flat: dict[str, bool | float | int | str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | float | int | str) else str(value)
    return flat


def _reached(trained: TrainedModel) -> dict[str, float]:
    scores = trained.scores
    reached = {"final/val_accuracy": scores.val.accuracy.value, "final/test_accuracy": scores.test.accuracy.value}
    return reached if scores.auc is None else reached | {"final/test_auc": scores.auc}
