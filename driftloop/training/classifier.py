"""What every network here can do, whoever wrote it, and what it is trained to make small."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

#: Of logits (N, K) and targets, int64 (N,) class numbers or float32 (N, K) class probabilities, to one number.
Loss = Callable[[Tensor, Tensor], Tensor]


class Classifier(nn.Module):
    """A network in two halves; `embedding_size` is D."""

    embedding_size: int
    head: nn.Sequential
    """What `classify` applies; its last layer is linear."""
    frozen = False
    """Whether only the head learns."""
    keeps_statistics = False
    """Whether batch norm goes by its running statistics while it is trained, too, and leaves them as they are."""

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), normalised -> embeddings (N, D)."""
        raise NotImplementedError

    def classify(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, D) -> logits (N, K)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.embed(x))

    def freeze(self) -> None:
        """Let only the head learn from now on: what lies below it keeps its weights and its running statistics, and gets no gradients."""
        self.frozen = True
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("head."))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            for name, part in self.named_children():
                part.train(mode and name == "head")
        if self.keeps_statistics:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def rate_factors(self, layer_decay: float) -> dict[str, float]:
        """By parameter, what its learning rate is multiplied with: `layer_decay` to the depth below the head, 1 in small networks."""
        return dict.fromkeys((name for name, _ in self.named_parameters()), 1.0)
