"""The served model: an ONNX graph that takes uint8 images and gives probabilities and embeddings."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime as ort

from driftloop.bundle import ONNX_INT8, ModelDescription, read_model, verify
from driftloop.contracts import TIMM
from driftloop.errors import InputError, IntegrityError
from driftloop.evaluation.classification import named_classes, probability_of
from driftloop.inference.provider import CPU, CUDA, ORT_ERRORS_ONLY, choose_provider, loading_cuda, log_once, warn_once
from driftloop.plurals import counted
from driftloop.runtime import available_threads

INPUT, PROBABILITIES, EMBEDDING = "images", "probabilities", "embedding"
#: The log keeps embeddings as float16; what lies outside its range is clipped rather than turned into infinity.
FLOAT16_MAX = float(np.finfo(np.float16).max)
#: Images that a call has on CUDA, each number in a session of its own; a batch is filled up to the next. A session knows how to compute its
#: convolutions for the number that it saw last: for any other it makes up its mind again, which takes longer than thousands of images
#: (onnxruntime's issues 6978 and 22705).
CUDA_BATCHES = (1, 8, 64)
#: An optimisation of onnxruntime's for convolutions in floats, which lays channels out in blocks. In our own networks as INT8 only the stem
#: is one: to bring its many channels back into the quantised ones' order takes longer than the blocks save, 4 % of a grey image at 64 px
#: and 6 % at 224 px. timm's networks have more of them, or a large stem, which the blocks make faster.
IN_BLOCKS = "NchwcTransformer"


@dataclass(frozen=True)
class ServedPredictions:
    """What the graph answers for N images."""

    probabilities: np.ndarray
    """float32 (N, K), calibrated."""
    embedding: np.ndarray
    """float16 (N, D)."""
    shares: Sequence[float] = ()
    """The model's `naming_shares`."""

    def __len__(self) -> int:
        return len(self.probabilities)

    @cached_property
    def labels(self) -> np.ndarray:
        """The predicted class of each image, int64 (N,)."""
        return named_classes(self.probabilities, self.shares)

    @cached_property
    def confidences(self) -> np.ndarray:
        """The probability of the predicted class of each image, float32 (N,)."""
        return probability_of(self.labels, self.probabilities)


class ServedModel:
    """A bundle's ONNX graph in an onnxruntime session; safe to share between threads.

    Example:
        model = ServedModel.open("runs/latest/candidate")
        predictions = model.predict(images)              # uint8 (N, side, side, channels)
        model.description.classes[predictions.labels[0]]
    """

    def __init__(
        self,
        directory: str | Path,
        description: ModelDescription,
        variant: str,
        threads: int = 0,
        provider: str = "",
        batches: Sequence[int] | None = None,
    ) -> None:
        """Sessions on the file `variant` of `directory`; `open` is for sealed bundles and checks their sums first.

        `batches` are the numbers of images that each session is kept to, ascending; none: one session takes any number. By default that
        is so on the CPU, and CUDA has `CUDA_BATCHES`.
        """
        path = Path(directory, variant)
        if not path.is_file():
            raise InputError(f"{directory}: no {variant} in this bundle; onnx_deployment writes it")
        self.description, self.variant = description, variant
        self.naming_shares = tuple(description.naming_shares)
        self.threads = threads or available_threads()
        # Of grey images the stem adds up the same numbers in the same order either way, of colours it does not.
        thin = variant == ONNX_INT8 and description.channels == 1 and not description.architecture.startswith(TIMM)
        without = (IN_BLOCKS,) if thin else ()
        self.session = open_session(path, threads=self.threads, provider=provider, without=without)
        self.provider: str = self.session.get_providers()[0]
        self.embedding_size = check_graph(self.session, description, path)
        if batches is None:
            batches = CUDA_BATCHES if self.provider == CUDA else ()
        #: The numbers of images that a call has, each in a session of its own; none where one session takes any number.
        self.batches = tuple(batches)
        others = [open_session(path, threads=self.threads, provider=provider, without=without) for _ in self.batches[1:]]
        self._sessions = [self.session, *others]
        log_once(f"{variant} runs on {self.provider}, {counted(self.threads, 'thread')}")

    @classmethod
    def open(cls, directory: str | Path, variant: str = "", threads: int = 0, provider: str = "") -> Self:
        """Open the sealed bundle in `directory`.

        Args:
            directory: the bundle; every file is checked against SHA256SUMS first.
            variant: the ONNX file to run; empty takes the one the bundle serves.
            threads: onnxruntime's threads within an operator; 0 takes the cores this process may use.
            provider: onnxruntime's execution provider; empty takes the one that suits the graph and the machine.

        Raises:
            InputError: no bundle, not exported yet, no such variant, or a graph with other inputs or outputs than ours.
            IntegrityError: a file does not match its checksum.
        """
        description = read_model(directory)
        verify(directory)
        variant = variant or description.served
        if not variant:
            raise InputError(f"{directory}: this model was not exported yet; run onnx_deployment on it first")
        return cls(directory, description, variant, threads, provider)

    def predict(self, images: np.ndarray, batch_size: int = 64) -> ServedPredictions:
        """Classify uint8 images (N, side, side, channels), at most `batch_size` at a time; N may be 0.

        Raises:
            InputError: another type, rank or size than the model was trained for.
        """
        self.check(images)
        batch_size = min((batch_size, *self.batches[-1:]))
        batches = [self._run(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        if not batches:
            return ServedPredictions(
                np.zeros((0, len(self.description.classes)), np.float32), np.zeros((0, self.embedding_size), np.float16)
            )
        if len(batches) == 1:
            return batches[0]
        return joined(batches)

    def check(self, images: np.ndarray) -> None:
        """Raise the InputError that says why `images` cannot be classified by this model."""
        side, channels = self.description.image_size, self.description.channels
        expected = f"expected uint8 images (N, {side}, {side}, {channels})"
        if not hasattr(images, "dtype"):  # a split of several files is no ndarray, and answers like one
            raise InputError(f"{expected}, got {type(images).__name__}")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, channels):
            raise InputError(f"{expected}, got {images.dtype} {images.shape}; decode and resize the images first")

    def _run(self, batch: np.ndarray) -> ServedPredictions:
        images = len(batch)
        which = bisect_left(self.batches, images)
        if self.batches and (short := self.batches[which] - images):
            batch = np.concatenate([batch, np.zeros((short, *batch.shape[1:]), np.uint8)])
        answers = self._sessions[which].run([PROBABILITIES, EMBEDDING], {INPUT: np.ascontiguousarray(batch)})
        probabilities, embedding = (np.asarray(answer)[:images] for answer in answers)
        clipped = np.clip(embedding, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        return ServedPredictions(probabilities.astype(np.float32, copy=False), clipped, self.naming_shares)


def joined(parts: Sequence[ServedPredictions]) -> ServedPredictions:
    """What one model answered in several parts, at least one."""
    return ServedPredictions(
        np.concatenate([part.probabilities for part in parts]), np.concatenate([part.embedding for part in parts]), parts[0].shares
    )


def open_session(path: str | Path, *, threads: int, provider: str = "", without: Sequence[str] = ()) -> ort.InferenceSession:
    """An onnxruntime session on `path`: `threads` within an operator, one operator at a time, all graph optimisations but `without`.

    An empty `provider` takes the one that suits the graph and the machine. Only errors reach stderr.

    Raises:
        IntegrityError: onnxruntime cannot load the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ORT_ERRORS_ONLY
    # Idle threads sleep instead of spinning: they would take the core from the request that comes next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = provider or choose_provider(Path(path).name)
    try:
        if chosen == CPU:
            return ort.InferenceSession(str(path), options, providers=[CPU], disabled_optimizers=without)
        with loading_cuda():
            session = ort.InferenceSession(str(path), options, providers=[chosen, CPU])
    except Exception as broken:  # onnxruntime's own exception classes share no public base
        raise IntegrityError(f"{path}: onnxruntime cannot load this graph ({_first_line(broken)})") from None
    if chosen not in session.get_providers():
        warn_once(
            f"{Path(path).name} runs on the CPU: {chosen} was asked for, but there is no GPU, or onnxruntime found no CUDA and cuDNN "
            "libraries of its version"
        )
    return session


def check_graph(session: ort.InferenceSession, description: ModelDescription, path: str | Path) -> int:
    """The length of the graph's embedding, after checking that its inputs and outputs are what the bundle says.

    Raises:
        InputError: other names, types or sizes.
    """
    side, channels, classes = description.image_size, description.channels, len(description.classes)
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    wanted = f"wanted: uint8 {INPUT} (N, {side}, {side}, {channels}) -> {PROBABILITIES} (N, {classes}), {EMBEDDING} (N, D)"
    if set(inputs) != {INPUT} or set(outputs) != {PROBABILITIES, EMBEDDING}:
        raise InputError(f"{path}: inputs {sorted(inputs)}, outputs {sorted(outputs)}; {wanted}")
    shape: Sequence[object] = inputs[INPUT].shape[1:]
    if inputs[INPUT].type != "tensor(uint8)" or list(shape) != [side, side, channels]:
        raise InputError(f"{path}: takes {inputs[INPUT].type} (N, {', '.join(map(str, shape))}); {wanted}")
    given, size = outputs[PROBABILITIES].shape[-1], outputs[EMBEDDING].shape[-1]
    if given != classes or not isinstance(size, int):
        raise InputError(f"{path}: gives {given} probabilities and an embedding of {size}; {wanted}")
    return size


def _first_line(error: Exception) -> str:
    """The first line of an exception's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
