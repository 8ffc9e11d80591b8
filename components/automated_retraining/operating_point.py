"""The operating point: how much of its belief a model gives each class on clean images.

Users live with the champion's balance between false alarms and misses. Fine-tuning moves it a little, in favour of one class and at the
cost of another, and nothing in the drift asks for that: offsets on the outputs, as Saerens et al. (2002) use them for changed class
shares, take it back. It needs no labels, and K - 1 numbers do not overfit a validation split.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from driftloop.training.epoch import Batch, predict

#: The fixed point is sought for so many rounds at most, or until no class is further from its mean than this.
_ROUNDS, _CLOSE = 200, 1e-6


def mean_probabilities(network: nn.Module, images: Iterable[Batch], class_shares: Sequence[float] = ()) -> Tensor:
    """What the network gives each class on average, (K,) float64; `class_shares` as for `predict`.

    They matter: a mean of probabilities that speak of equally many images of each class moves with how sure a network is, not only with
    its balance. At twenty to one a candidate that was surer than its champion was shifted until it named every third image the rare class.
    """
    return predict(network, images, class_shares).double().mean(0)


def offsets_for(probabilities: Tensor, wanted: Tensor) -> Tensor:
    """What must be added to the logits so that the mean probabilities are the wanted ones, (K,) float64, with mean 0.

    Args:
        probabilities: (N, K), of the model.
        wanted: (K,), all above 0, with sum 1.
    """
    logits = probabilities.double().clamp_min(1e-12).log()
    offsets = torch.zeros_like(wanted)
    for _ in range(_ROUNDS):
        reached = (logits + offsets).softmax(1).mean(0)
        if (reached - wanted).abs().max() < _CLOSE:
            break
        # A class that gets too little is raised by its ratio: a fixed point that rises to the maximum of a concave likelihood.
        offsets = offsets + (wanted / reached.clamp_min(1e-12)).log()
    return offsets - offsets.mean()


def keep_operating_point(network: nn.Module, wanted: Tensor, images: Iterable[Batch], class_shares: Sequence[float] = ()) -> Tensor:
    """Shift the network's outputs to the wanted mean probabilities on `images`; the offsets (K,).

    Args:
        network: its last linear layer gives the logits.
        wanted: what `mean_probabilities` said of the champion.
        images: clean ones that nothing was trained on.
        class_shares: the champion's.
    """
    wanted = wanted.clamp_min(1e-6)
    offsets = offsets_for(predict(network, images, class_shares), wanted / wanted.sum())
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.add_(offsets.to(last.bias))
    return offsets
