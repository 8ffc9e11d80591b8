"""A recipe: everything about a training but the data and the network. Frozen, and plain enough for a checkpoint's name and a model card."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftloop.training.classifier import Classifier, Loss
from driftloop.training.privacy import PrivacyBudget

#: In an optimiser's groups: what the recipe's rate is multiplied with.
FACTOR = "factor"


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    epochs: int
    """Passes over the training split."""
    learning_rate: float
    """Constant without `one_cycle`, else its maximum."""
    weight_decay: float = 0.0
    """0 takes plain Adam, more takes AdamW (Loshchilov & Hutter 2019)."""
    one_cycle: bool = False
    """The rate rises over the first quarter of the steps, then falls to almost 0 (Smith 2018)."""
    precision: str = "float32"
    """Number type: "float32", "bfloat16" or "float16"."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes (Szegedy et al. 2016)."""
    average: float = 0.0
    """Decay of a moving average of the weights, which is then validated and kept; 0 for none."""
    class_weights: tuple[float, ...] = ()
    """Weight of each class in the loss; empty for none."""
    layer_decay: float = 1.0
    """What each layer's rate is multiplied with against the one above it, in pretrained networks; 1 for the same rate everywhere, 0 for a
    head that learns alone."""
    keep_statistics: bool = False
    """Whether the running statistics of batch norm stay, as pretrained layers and a head that was fitted on top of them expect them."""
    clip: float = 0.0
    """Largest norm of all gradients together; longer ones are shortened to it. 0 for no limit."""
    privacy: PrivacyBudget | None = None
    """Noise for differential privacy; None for a training without."""

    def described(self) -> dict[str, Any]:
        """The recipe as JSON takes it."""
        described = asdict(self) | {"class_weights": list(self.class_weights)}
        if self.privacy is None:
            del described["privacy"]
        return described

    def prepare(self, model: nn.Module) -> None:
        """Have a network's next trainings leave alone what this recipe does not move."""
        if isinstance(model, Classifier):
            model.keeps_statistics = self.keep_statistics
            if self.layer_decay == 0:
                model.freeze()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam or AdamW; biases and norms are not decayed, and the lower layers of a pretrained network move less."""
        # On a GPU, one kernel for all weights in place of dozens.
        fused = next(model.parameters()).is_cuda or None
        factors = model.rate_factors(self.layer_decay) if isinstance(model, Classifier) else {}
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            members.setdefault((factors.get(name, 1.0), decay), []).append(parameter)
        groups = [
            {"params": parameters, "weight_decay": decay, "lr": self.learning_rate * factor, FACTOR: factor}
            for (factor, decay), parameters in members.items()
        ]
        optimizer: torch.optim.Optimizer = (torch.optim.AdamW if self.weight_decay else torch.optim.Adam)(groups, fused=fused)
        if self.clip:

            def shorten(*_: object) -> None:
                nn.utils.clip_grad_norm_(model.parameters(), self.clip)

            # Before every step, whichever loop takes it; float16's gradients are unscaled by then (`train_epoch_amp`).
            optimizer.register_step_pre_hook(shorten)
        return optimizer

    def scheduler(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.OneCycleLR | None:
        """OneCycle over `steps` optimiser steps in all, or None for a constant rate."""
        if not self.one_cycle:
            return None
        # PyTorch divides by zero where the rise has a single step; so few are a smoke test, and their cycle is cut short.
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(12, steps), pct_start=0.25)

    def loss(self, device: torch.device) -> Loss:
        """Cross-entropy with this recipe's smoothing and class weights."""
        weights = torch.tensor(self.class_weights, device=device) if self.class_weights else None

        def smoothed(logits: Tensor, targets: Tensor) -> Tensor:
            if weights is None or targets.ndim > 1 or device.type == "cpu":
                return F.cross_entropy(logits, targets, weight=weights, label_smoothing=self.label_smoothing)
            return weighted_cross_entropy(logits, targets, weights, self.label_smoothing)

        return smoothed


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, label_smoothing: float) -> Tensor:
    """PyTorch's cross-entropy of class numbers (N,), smoothed and with a weight (K,) for each class; its own would wait for a GPU."""
    chosen = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    total = F.cross_entropy(logits, chosen, weight=weights, label_smoothing=label_smoothing, reduction="sum")
    return total / weights[targets].sum()
