"""The serving graph: uint8 images in, calibrated probabilities and embeddings out; exported to ONNX and checked against PyTorch."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from driftloop.errors import RunFailed
from driftloop.inference.provider import CPU
from driftloop.inference.served_model import EMBEDDING, INPUT, PROBABILITIES, open_session
from driftloop.training.batches import normalise
from driftloop.training.classifier import Classifier
from driftloop.training.epoch import at_shares

#: Largest batch the exported graph promises to take.
MAX_BATCH = 65_536
#: PyTorch and onnxruntime add up in different orders; beyond this the export is wrong, not inexact.
TOLERANCE = 1e-3


class ServingGraph(nn.Module):
    """A trained network with everything around it that serving needs: normalisation before, class shares, temperature and softmax after."""

    def __init__(
        self, network: Classifier, *, mean: list[float], std: list[float], temperature: float, class_shares: Sequence[float] = ()
    ) -> None:
        """`mean` and `std` per channel on the scale 0-1, as the network was trained with; `class_shares` as in `ModelDescription`."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.temperature, self.class_shares = temperature, class_shares
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, H, W, C) -> probabilities (N, K), embedding (N, D)."""
        embedding = self.network.embed(normalise(images.permute(0, 3, 1, 2), self.mean, self.std))
        logits = at_shares(self.network.classify(embedding), self.class_shares)
        return torch.softmax(logits / self.temperature, dim=1), embedding

    @torch.inference_mode()
    def predict(self, images: np.ndarray, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """The same for arrays of any N >= 1, in batches."""
        parts = [self(torch.from_numpy(np.array(images[start : start + batch_size]))) for start in range(0, len(images), batch_size)]
        return torch.cat([part[0] for part in parts]).numpy(), torch.cat([part[1] for part in parts]).numpy()


def export_onnx(graph: ServingGraph, path: str | Path, *, image_size: int, channels: int) -> None:
    """Export to ONNX with a dynamic batch, in one file, and run ONNX's full checker on it."""
    example = torch.zeros(2, image_size, image_size, channels, dtype=torch.uint8)
    batch = torch.export.Dim("N", min=1, max=MAX_BATCH)
    # The exporter reports its stages on stdout even when not asked to.
    with contextlib.redirect_stdout(io.StringIO()), _attention_by_steps(graph):
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes={"images": {0: batch}},
            input_names=[INPUT],
            output_names=[PROBABILITIES, EMBEDDING],
            verbose=False,
        )
    if program is None:
        raise RunFailed(f"{path}: torch.onnx.export returned no program")
    model = without_traces(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextlib.contextmanager
def _attention_by_steps(network: nn.Module) -> Iterator[None]:
    """Have timm's networks compute attention step by step: the exporter cannot follow all uses of the fused kernel (BEiT, Twins)."""
    fused = [module for module in network.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True  # type: ignore[assignment]


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes: they carry stack traces with the paths of the machine that exported it."""
    for item in (
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
        model.graph,
    ):
        del item.metadata_props[:]
        item.doc_string = ""
    del model.metadata_props[:]
    return model


def check_parity(graph: ServingGraph, path: str | Path, images: np.ndarray) -> float:
    """The largest difference of any probability between PyTorch and the exported file on `images` (uint8 NHWC).

    Raises:
        RunFailed: the difference is above 1e-3.
    """
    expected, _ = graph.predict(images)
    session = open_session(path, threads=torch.get_num_threads(), provider=CPU)
    exported = session.run([PROBABILITIES], {INPUT: np.array(images)})[0]
    difference = float(np.abs(expected - exported).max())
    if not difference <= TOLERANCE:  # NaN fails too
        raise RunFailed(
            f"{path}: a probability differs from PyTorch's by {difference:.2g}; more than {TOLERANCE:g} is a fault of the export"
        )
    return difference
