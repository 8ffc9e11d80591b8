"""Training with differential privacy (DP-SGD, Abadi et al. 2016) by Opacus, and what it spends.

Each step takes every image by a coin of its own (Poisson sampling), shortens the gradient of each image to `clip`, adds Gaussian noise to
their sum, and forgets the rest. The unit of privacy is one image: with it or without it, any set of weights is at most exp(epsilon) times
as likely, but for a probability of delta. Opacus is imported by the functions that need it, which are called only where it was asked for.
"""

import importlib.util
import secrets
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from driftloop.errors import InputError
from driftloop.settings import TrainSettings
from driftloop.training.classifier import Loss
from driftloop.training.epoch import Batch, EpochResult, Tally

#: In `model.json`, under `training`, and among a step's facts.
PRIVACY = "privacy"
#: How the steps are added up: Renyi differential privacy (Mironov et al. 2019). An upper bound without numerical error; Opacus' other
#: accountant, PRV, lies a little below it.
ACCOUNTANT = "rdp"
ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64), 96, 128, 256, 512)
#: Networks of this library, which are there with group norm, too.
OWN = ("residual", "plain_cnn")
#: Images whose single gradients are in memory together.
MOST_TOGETHER = 64


#: What cards and pages say where only a head was trained.
HEAD_SENTENCE = (
    "What learnt from the training images, and what this covers, is the head alone, a linear layer; the layers below it have pretrained "
    "weights as they came, from other images, which count as public."
)


@dataclass(frozen=True)
class PrivacyBudget:
    """What a private training may spend, and the noise that keeps it there; plain values, for a recipe."""

    epsilon: float
    """Spent by this training, which takes all of its steps; not above the one that was asked for."""
    delta: float
    """The probability that is left out of it; below 1 / images."""
    target: float
    """The epsilon that was asked for."""
    noise_multiplier: float
    """Standard deviation of the noise on a sum of gradients, in units of `clip`."""
    clip: float
    """Largest norm of one image's gradient."""
    sample_rate: float
    """Probability with which a step takes an image; the highest, where kinds of images have their own."""
    batch_size: int
    """Images that a step takes on average."""
    steps: int
    """Of the whole training."""
    total_epsilon: float
    """The sum over this training and those that its weights come from: the images of the first were in all of them."""
    total_delta: float
    """The sum of their deltas."""
    accountant: str = ACCOUNTANT
    """How the steps are added up."""
    head_only: bool = False
    """Whether only the head of a pretrained network learnt."""

    def described(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    def order(self, images: int) -> Callable[[np.random.Generator, int, int], list[np.ndarray]]:
        """The sampler of `TrainingBatches`: every image by a coin of its own in each step."""
        return lambda _, steps, __: [poisson(images, self.sample_rate) for _ in range(steps)]


def poisson(images: int, rate: float) -> np.ndarray:
    """The rows of a batch, (n,) int64 with n around `rate` * `images`, 0 among the possible.

    From the system's own randomness: who knows which images were taken, or the noise, has no privacy before him, and a run's seed is told.
    """
    return np.flatnonzero(np.random.default_rng().random(images) < rate)


def check_privacy(settings: TrainSettings) -> None:
    """Say at once what does not go with `train_config.epsilon`.

    Raises:
        InputError: Opacus is not installed, or a setting would break what epsilon promises.
    """
    asked = f"train_config.epsilon={settings.epsilon:g}"
    if importlib.util.find_spec("opacus") is None:
        raise InputError(f"{asked}: the package opacus is not installed where this runs; pip install 'driftloop[privacy]'")
    for wrong, why in (
        (
            settings.trained_layers == "all" and settings.architecture not in OWN and settings.weights != "none",
            "trained_layers=all: a pretrained network's batch norm mixes images; leave it out for its head alone, or set weights=none",
        ),
        (settings.mixup > 0, "mixup: it puts an image into the gradient of another; set it to 0"),
        (settings.cutmix > 0, "cutmix: it puts an image into the gradient of another; set it to 0"),
        (settings.sweep_trials > 0, "sweep_trials: every trial would spend a budget of its own; set it to 0, and learning_rate by hand"),
        (settings.precision not in ("auto", "float32"), "precision: the gradients of single images are taken in float32; leave it out"),
    ):
        if wrong:
            raise InputError(f"{asked} does not go with train_config.{why}")


def delta_for(images: int) -> float:
    """The power of ten below 1 / `images`: at 1 / images, giving away an image unprotected would count as private."""
    return 10.0 ** -len(str(images))


def spent(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """The epsilon of so many steps at this delta, an upper bound, by Opacus' accountant."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that another order might give less: a bound it is all the same
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))


def plan_privacy(
    target: float,
    *,
    images: int,
    sample_rate: float,
    batch_size: int,
    steps: int,
    clip: float,
    before: Mapping[str, Any] | None = None,
    head_only: bool = False,
) -> PrivacyBudget:
    """The noise by which a training of `steps` steps spends no more than `target`, and what it spends.

    Args:
        target: epsilon.
        images: of the training split.
        sample_rate: highest probability with which a step takes an image, in (0, 1].
        batch_size: images that it takes on average.
        steps: of the training.
        clip: largest norm of one image's gradient.
        before: the described budget of the training that this one goes on from; epsilons and deltas add up (Dwork et al. 2006).
        head_only: whether only the head of a pretrained network learns.

    Raises:
        InputError: no noise is enough.
    """
    from opacus.accountants.utils import get_noise_multiplier

    delta = delta_for(images)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            noise = get_noise_multiplier(
                target_epsilon=target,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant=ACCOUNTANT,
                epsilon_tolerance=target / 100,
                alphas=list(ORDERS),
            )
    except ValueError:
        raise InputError(f"train_config.epsilon={target:g}: no noise is enough for {steps:,} steps; ask for more, or train less") from None
    epsilon = spent(noise, sample_rate, steps, delta)
    earlier = (before["total_epsilon"], before["total_delta"]) if before else (0.0, 0.0)
    total = epsilon + float(earlier[0]), delta + float(earlier[1])
    return PrivacyBudget(epsilon, delta, target, noise, clip, sample_rate, batch_size, steps, *total, head_only=head_only)


class PrivateTraining:
    """A network and its optimiser with the gradients of single images, clipping and noise put between them.

    Args:
        model: without batch norm and without layers that change their input in place; its own `state_dict` stays as it is.
        optimizer: over the model's parameters.
        budget: of the training.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, budget: PrivacyBudget) -> None:
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        # Of convolutions in channels-last format Opacus 1.6 takes wrong gradients of single images. (Of grey ones, too, which pass for
        # contiguous and are computed in channels-last: that is why each batch is copied.)
        model.to(memory_format=torch.contiguous_format)
        device = next(model.parameters()).device
        noise = torch.Generator(device)
        noise.manual_seed(secrets.randbits(63))
        self._model = GradSampleModule(model, loss_reduction="mean")
        self._optimizer = DPOptimizer(
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.clip,
            expected_batch_size=budget.batch_size,
            loss_reduction="mean",
            generator=noise,
        )
        self._device = device

    def train_epoch(self, batches: Iterable[Batch], *, loss: Loss, after_step: Callable[[], None]) -> EpochResult:
        """One pass; an empty batch is a step of noise alone. Arguments are those of `train_epoch`."""
        self._model.train()
        tally = Tally(self._device)
        for images, targets in batches:
            parts = list(zip(images.split(MOST_TOGETHER), targets.split(MOST_TOGETHER), strict=True))
            for place, part in enumerate(parts, 1):
                self._optimizer.zero_grad(set_to_none=True)
                self._gradients(*part, loss, tally)
                self._optimizer.signal_skip_step(place < len(parts))
                self._optimizer.step()
            after_step()
        return tally.result()

    def _gradients(self, images: Tensor, targets: Tensor, loss: Loss, tally: Tally) -> None:
        if not len(images):
            for parameter in self._optimizer.params:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")  # images need no gradient
            logits = self._model(images.clone(memory_format=torch.contiguous_format))
            value = loss(logits, targets)
            value.backward()
        tally.add(value, logits, targets)

    def close(self) -> None:
        """Leave the network as it would be without: no hooks, no gradients of single images."""
        self._optimizer.zero_grad(set_to_none=True)
        self._model.to_standard_module()
        for parameter in self._optimizer.params:
            del parameter.summed_grad


def privacy_sentences(budget: Mapping[str, Any], *, largest_group: int | None = None) -> list[str]:
    """What a described budget promises and what it does not, for cards and pages.

    Args:
        budget: as `PrivacyBudget.described` gives it.
        largest_group: most training images of one patient or site, where that is known.
    """
    epsilon, delta = budget["total_epsilon"], budget["total_delta"]
    earlier = budget["total_epsilon"] > budget["epsilon"]
    return [
        f"Trained with differential privacy (DP-SGD): epsilon {epsilon:.2f} at delta {delta:.2g}"
        + (f", the sum over this training ({budget['epsilon']:.2f}) and those before it, whose images it saw again" if earlier else "")
        + f"; noise multiplier {budget['noise_multiplier']:.3f}, each image's gradient clipped to {budget['clip']:g}, "
        f"sampling rate {budget['sample_rate']:.4f}, {budget['steps']:,} steps, accountant {budget['accountant'].upper()}.",
        *([HEAD_SENTENCE] if budget.get("head_only") else []),
        "The unit of privacy is one training image, not one patient: several images of one patient are protected less"
        + (
            f" (at most {largest_group} here: up to {largest_group} times that epsilon, at a greater delta)."
            if largest_group and largest_group > 1
            else "."
        ),
        "It covers the weights and what is computed from them. It does not cover reports, figures about training images, the baseline, the "
        "validation and test images, or the drift reference; which setting was chosen by looking at results is not counted either.",
        "The noise comes from PyTorch's generator, seeded by the operating system: not from a cryptographic one, and not hardened against "
        "attacks on floating-point numbers.",
    ]
