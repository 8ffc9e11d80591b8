"""Fine-tuning from the champion: a few epochs at a lower rate than it was trained with, and the best average of their weights kept.

Batch norm goes on learning: its running statistics move to those of the mixed batches. Frozen statistics would stay those of clean images
alone; only pretrained layers keep theirs (`Recipe.keep_statistics`). Weights are averaged because at this rate the balance between the
classes swings from one epoch to the next, on clean and on drifted images alike, and sixty drifted images are too few to tell a good epoch
from a lucky one (all three choices are compared in bench/retraining_recovery.py). Of a pretrained network that the first training left as
it was only the head is fitted again (`refit_head`), or, where it was trained with differential privacy, trained again with noise
(`retrain_private_head`).

`build_mix`, `build_validation` and `build_recipe` make of the grown dataset and the settings what `fine_tune` takes.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.automated_retraining.mix import Mix
from components.automated_retraining.operating_point import keep_operating_point, mean_probabilities
from components.automated_retraining.restyle import Restyle, fit_restyle
from driftloop.bundle import ModelDescription
from driftloop.contracts import DRIFTED_TRAIN, DRIFTED_VAL, TRAIN, VAL
from driftloop.dataset import Description, Split, open_split
from driftloop.settings import RetrainSettings, TrainSettings
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, Pixels
from driftloop.training.classifier import Classifier
from driftloop.training.device import mixed_precision
from driftloop.training.epoch import Batch, at_shares, validate
from driftloop.training.loop import Checkpoint, EpochSelection, TrainingPass, train
from driftloop.training.pretrained import Embedded, embed_all, logistic_head, set_head
from driftloop.training.privacy import PRIVACY, check_privacy, plan_privacy
from driftloop.training.private_head import Scale
from driftloop.training.recipe import Recipe

#: Images of each side that the change of style is measured on; a mean spectrum needs no more.
STYLE_IMAGES = 2000
#: The largest rate that was tried: recovery grew with the rate up to it.
HIGHEST_RATE = 2e-3
#: In `model.json`, under `training`: the rate that the first model of a line was trained with.
FIRST_RATE = "first_learning_rate"
#: There too, as `Recipe` has them.
LAYER_DECAY, KEEP_STATISTICS, CLIP = "layer_decay", "keep_statistics", "clip"
PRECISIONS = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True)
class FineTuningEpoch:
    """One epoch; losses are per image."""

    epoch: int
    """its number; 0 is the champion before the first"""
    loss: float
    """of the training"""
    clean_loss: float
    """on the champion's validation split"""
    clean_accuracy: float
    """on the champion's validation split"""
    drifted_loss: float
    """on the drifted validation split"""
    drifted_accuracy: float
    """on the drifted validation split"""
    seconds: float
    """training and validation"""

    @property
    def score(self) -> float:
        """What early stopping looks at, lower is better: both losses count alike, however many images are behind them."""
        return (self.clean_loss + self.drifted_loss) / 2


@dataclass(frozen=True)
class FineTuningResult:
    """A whole fine-tuning."""

    before: FineTuningEpoch
    """the champion before it, as epoch 0"""
    epochs: list[FineTuningEpoch]
    """all epochs"""
    best_epoch: int
    """number of the one that was kept"""
    after: FineTuningEpoch
    """the kept epoch at the champion's operating point; as it was, where that was not asked for"""
    offsets: list[float]
    """what was added to the logits for that, (K,); empty where it was not asked for"""
    resumed_after: int = 0
    """epoch after which a killed run was resumed; 0 for none"""


@dataclass(frozen=True)
class Validation:
    """The two splits that stop the training."""

    clean: Iterable[Batch]
    """the champion's own"""
    drifted: Iterable[Batch]
    """the drifted one"""
    class_shares: Sequence[float] = ()
    """the champion's, by which losses and the operating point speak of images as they come"""

    def measure(self, model: nn.Module, epoch: int, trained: float, began: float) -> FineTuningEpoch:
        """The epoch's record; `trained` is the loss of the training, `began` when the epoch did."""

        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(at_shares(logits, self.class_shares), targets)

        clean, drifted = (validate(model, images, loss=loss) for images in (self.clean, self.drifted))
        seconds = round(time.perf_counter() - began, 3)
        return FineTuningEpoch(epoch, trained, clean.loss, clean.accuracy, drifted.loss, drifted.accuracy, seconds)

    def measure_pass(self, model: nn.Module, done: TrainingPass) -> FineTuningEpoch:
        """The record of the epoch whose pass this was."""
        return self.measure(model, done.epoch, done.result.loss, done.began)


@dataclass(frozen=True)
class FineTuningData:
    """The grown dataset as the champion sees it, on the device to train on."""

    dataset: Description
    """the grown dataset"""
    mean: Sequence[float]
    """of each channel, from the champion"""
    std: Sequence[float]
    """of each channel, from the champion"""
    device: torch.device
    """to train on"""
    class_shares: Sequence[float] = ()
    """from the champion"""

    def pixels(self, split: Split) -> Pixels:
        """The images of a split, to be drawn from."""
        return Pixels(split.images, split.labels, self.mean, self.std, self.device)

    def ordered(self, name: str) -> OrderedBatches:
        """The batches of a split, in its order."""
        split = open_split(self.dataset, name)
        return OrderedBatches(split.images, split.labels, mean=self.mean, std=self.std, device=self.device)


def fine_tune(
    model: nn.Module,
    mix: Mix,
    validation: Validation,
    recipe: Recipe,
    *,
    seed: int,
    patience: int,
    keep_balance: bool = True,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[FineTuningEpoch], None] | None = None,
) -> FineTuningResult:
    """Fine-tune `model` and leave it with the weights of its best epoch, at the champion's operating point.

    Args:
        model: the champion, on the device of the batches.
        mix: what it learns from.
        validation: what it is judged by after each epoch.
        recipe: how.
        seed: of everything random.
        patience: epochs without a better score after which it stops.
        keep_balance: whether clean validation images shall get each class as often as from the champion.
        checkpoint: where to leave and look for the last finished epoch, or None.
        on_epoch: called after each epoch.
    """
    before = validation.measure(model, 0, 0.0, time.perf_counter())
    wanted = mean_probabilities(model, validation.clean, validation.class_shares)
    judge = EpochSelection(FineTuningEpoch, validation.measure_pass, lambda epoch: -epoch.score)
    trained = train(model, mix, judge, recipe, seed=seed, patience=patience, checkpoint=checkpoint, on_epoch=on_epoch)
    after, offsets = _at_the_operating_point(model, trained.records[trained.best_epoch - 1], wanted if keep_balance else None, validation)
    return FineTuningResult(before, trained.records, trained.best_epoch, after, offsets, trained.resumed_after)


def refit_head(
    network: Classifier, data: FineTuningData, settings: RetrainSettings, *, on_epoch: Callable[[FineTuningEpoch], None]
) -> FineTuningResult:
    """Fit the head of a pretrained network, whose other layers stay as they are, to old and drifted images together.

    Exact, as the first fit was, and one pass over the images, where epochs of random views would go through all layers again and again to
    move the last one. `settings.drifted_share` is what the drifted images weigh, and each class counts alike, as in a mix of batches.

    Args:
        network: the champion, on the device of the data; in the end with the new head.
        data: the grown dataset.
        settings: shares, and whether clean images keep the champion's balance between the classes.
        on_epoch: called with what was reached.
    """
    began = time.perf_counter()
    parts = _embedded(network, data)
    clean, drifted = ([_as_batch(parts[name], data.device)] for name in (VAL, DRIFTED_VAL))
    validation = Validation(clean, drifted, data.class_shares)
    head = network.head
    before, wanted = validation.measure(head, 0, 0.0, began), mean_probabilities(head, validation.clean, validation.class_shares)
    shares = 1 - settings.drifted_share, settings.drifted_share
    fitted = logistic_head([parts[TRAIN], parts[DRIFTED_TRAIN]], [parts[VAL], parts[DRIFTED_VAL]], balanced=True, shares=shares)
    set_head(head, *fitted)
    losses = [validate(head, [_as_batch(parts[name], data.device)]).loss for name in (TRAIN, DRIFTED_TRAIN)]
    reached = validation.measure(head, 1, float(np.dot(shares, losses)), began)
    on_epoch(reached)
    after, offsets = _at_the_operating_point(head, reached, wanted if settings.keep_balance else None, validation)
    return FineTuningResult(before, [reached], 1, after, offsets)


def retrain_private_head(
    network: Classifier,
    data: FineTuningData,
    settings: RetrainSettings,
    recipe: Recipe,
    champion: ModelDescription,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[FineTuningEpoch], None] | None = None,
) -> tuple[FineTuningResult, Recipe]:
    """Let the head of a champion that was trained with differential privacy go on, by steps with noise, on old and drifted images.

    Args:
        network: the champion, on the device of the data; in the end with the new head.
        data: the grown dataset.
        settings, recipe: of the retraining; the recipe yet without the noise.
        champion: its description, with the budget that it has spent.
        seed, checkpoint, on_epoch: as for `fine_tune`.

    Returns:
        What was reached, and the recipe with its budget.

    Raises:
        InputError: Opacus is not installed.
    """
    parts = _embedded(network, data)
    scale = Scale.of(parts[VAL][0], data.device)
    old, drifted = (scale.applied(parts[name]) for name in (TRAIN, DRIFTED_TRAIN))
    mix = Mix(old, drifted, batch_size=settings.batch_size, share=settings.drifted_share, private=True)
    clean, drifted_val = (scale.applied(parts[name]).whole() for name in (VAL, DRIFTED_VAL))
    validation = Validation(clean, drifted_val)
    recipe, layer = with_privacy(recipe, champion, mix), scale.scaled_head(network)
    result = fine_tune(
        layer,
        mix,
        validation,
        recipe,
        seed=seed,
        patience=settings.patience,
        keep_balance=settings.keep_balance,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    scale.fold(layer, network)
    return result, recipe


def _embedded(network: Classifier, data: FineTuningData) -> dict[str, Embedded]:
    """What the network says, below its head, of the old and the drifted images that train and that validate, by split."""
    parts: dict[str, Embedded] = {}
    for name in (TRAIN, DRIFTED_TRAIN, VAL, DRIFTED_VAL):
        batches = data.ordered(name)
        parts[name] = embed_all(network, batches), batches.labels
    return parts


def _as_batch(embedded: Embedded, device: torch.device) -> Batch:
    return torch.tensor(embedded[0], dtype=torch.float32, device=device), torch.tensor(embedded[1], device=device)


def _at_the_operating_point(
    model: nn.Module, reached: FineTuningEpoch, wanted: Tensor | None, validation: Validation
) -> tuple[FineTuningEpoch, list[float]]:
    """The epoch's record after its outputs were shifted to the `wanted` mean probabilities, and the shifts; none without."""
    if wanted is None:
        return reached, []
    offsets = keep_operating_point(model, wanted, validation.clean, validation.class_shares).tolist()
    return validation.measure(model, reached.epoch, reached.loss, time.perf_counter()), offsets


def build_mix(data: FineTuningData, settings: RetrainSettings, champion: ModelDescription, *, seed: int) -> Mix:
    """Old and drifted training images, in the views that the champion was trained with; the change of style is measured between the two."""
    old, drifted = open_split(data.dataset, TRAIN), open_split(data.dataset, DRIFTED_TRAIN)
    private = PRIVACY in champion.training
    restyle_share = 0.0 if private else settings.restyle_share  # a style is measured on all images, without noise
    return Mix(
        old=data.pixels(old),
        drifted=data.pixels(drifted),
        batch_size=settings.batch_size,
        share=settings.drifted_share,
        augmentation=champion_views(champion) if settings.augment else None,
        restyle=change_of_style(old.images, drifted.images, seed) if restyle_share > 0 else None,
        restyle_share=restyle_share,
        private=private,
    )


def champion_views(champion: ModelDescription) -> Augmentation | None:
    """The random views that the champion was trained with; the default ones where its description does not say."""
    augmentation = champion.training.get("augmentation")
    if augmentation is None:
        return Augmentation()
    return Augmentation(**augmentation) if augmentation else None


def change_of_style(old: np.ndarray, drifted: np.ndarray, seed: int) -> Restyle:
    """The change of style from the old images to the drifted ones, by at most `STYLE_IMAGES` of each."""
    rng = np.random.default_rng(seed)
    return fit_restyle(*(images[np.sort(rng.permutation(len(images))[:STYLE_IMAGES])] for images in (old, drifted)))


def build_validation(data: FineTuningData) -> Validation:
    """The champion's validation split and the drifted one."""
    return Validation(data.ordered(VAL), data.ordered(DRIFTED_VAL), data.class_shares)


def build_recipe(settings: RetrainSettings, champion: ModelDescription, device: torch.device) -> Recipe:
    """AdamW under one cycle, weights averaged, in 16 bits where that is faster.

    Layers move against each other as in the first training: where only a pretrained network's head was trained, only that learns again,
    and is fitted once (`refit_head`), or with noise as often as other layers (`retrain_private_head`).
    """
    layer_decay = float(champion.training.get(LAYER_DECAY, 1.0))
    precision = mixed_precision(device, champion.architecture) if settings.mixed_precision else None
    return Recipe(
        epochs=settings.epochs if layer_decay or PRIVACY in champion.training else 1,
        learning_rate=fine_tuning_rate(settings, champion),
        weight_decay=settings.weight_decay,
        one_cycle=True,
        precision=PRECISIONS[precision] if precision else "float32",
        label_smoothing=settings.label_smoothing,
        average=settings.weight_average,
        layer_decay=layer_decay,
        keep_statistics=bool(champion.training.get(KEEP_STATISTICS, False)),
        clip=float(champion.training.get(CLIP, 0.0)),
    )


def with_privacy(recipe: Recipe, champion: ModelDescription, mix: Mix) -> Recipe:
    """The recipe with the noise for the epsilon that the champion was trained with, again; as it is where there was none.

    The old images are seen once more, so the epsilons add up. What is counted is the highest rate of the two kinds of images.

    Raises:
        InputError: Opacus is not installed.
    """
    before = champion.training.get(PRIVACY)
    if before is None:
        return recipe
    check_privacy(TrainSettings(epsilon=before["target"]))
    budget = plan_privacy(
        before["target"],
        images=len(mix.old.labels) + len(mix.drifted.labels),
        sample_rate=max(mix.rates),
        batch_size=mix.batch_size,
        steps=recipe.epochs * mix.steps,
        clip=before["clip"],
        before=before,
        head_only=recipe.layer_decay == 0,
    )
    return replace(recipe, precision="float32", clip=0.0, privacy=budget)


def fine_tuning_rate(settings: RetrainSettings, champion: ModelDescription) -> float:
    """The highest rate: the settings', else half the rate of the first training in the champion's line, at most `HIGHEST_RATE`.

    A head that learns with noise has no layers below it that a high rate could wreck, and takes the half without that limit.
    """
    if PRIVACY in champion.training and champion.training.get(LAYER_DECAY) == 0:
        return settings.learning_rate or first_rate(champion) / 2
    return settings.learning_rate or min(HIGHEST_RATE, first_rate(champion) / 2)


def first_rate(champion: ModelDescription) -> float:
    """The rate that the champion, or the first model of its line, was trained with from scratch; a usual one where that is not known.

    Not the champion's own: it would halve with every retraining.
    """
    return float(champion.training.get(FIRST_RATE) or champion.training.get("learning_rate") or 2 * HIGHEST_RATE)


def describe_training(
    settings: RetrainSettings, recipe: Recipe, augmentation: Augmentation | None, champion: ModelDescription
) -> dict[str, Any]:
    """The training configuration for `model.json`: what a later retraining reads from it is part of it."""
    configuration = settings.model_dump() | {
        "epochs": recipe.epochs,
        "restyle_share": settings.restyle_share if recipe.layer_decay and not recipe.privacy else 0.0,
        "learning_rate": recipe.learning_rate,
        FIRST_RATE: first_rate(champion),
        "precision": recipe.precision,
        LAYER_DECAY: recipe.layer_decay,
        KEEP_STATISTICS: recipe.keep_statistics,
        CLIP: recipe.clip,
        "augmentation": asdict(augmentation) if augmentation else {},
    }
    if recipe.privacy:
        configuration[PRIVACY] = recipe.privacy.described()
    return configuration | {name: champion.training[name] for name in ("parameters",) if name in champion.training}
