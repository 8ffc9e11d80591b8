"""The course's names in one place: `from driftloop.course import Course, set_seed, train_epoch, ...`.

Course                the eight themes, run one by one on a small source
set_seed              seed Python, NumPy and PyTorch
pick_device           the GPU that was asked for, or the CPU with as many threads as it may use
PlainCNN              the plain network: convolution, batch norm, ReLU, max-pool, five times
ResidualNet           the small residual network
build_network         one of the two with fresh weights, by its name
count_parameters      the number of trainable parameters
Augmentation          random views of a batch
mixup                 each image of a batch blended with another
cutmix                a box of each image of a batch taken from another
OrderedBatches        a split's batches in order, for validating and predicting
TrainingBatches       shuffled and augmented batches, by epoch
train_epoch           one pass of training in float32
train_epoch_amp       one pass of training in mixed precision
validate              loss and accuracy, nothing is changed
predict               class probabilities
Recipe                everything about a training but the data and the network
fit                   train by a recipe and keep the best epoch's weights
find_learning_rate    the learning-rate range test
save_weights          write a network's weights as a plain state dict
load_model            read a network back from a bundle
ServingGraph          a network with normalisation before it, temperature and softmax after it
export_onnx           export a serving graph to ONNX
check_parity          compare the exported file with PyTorch
ServedModel           an exported model, served by onnxruntime
InferenceLogger       the log of every answer of a service

These need the extra `train` (PyTorch); `InferenceLogger` and `ServedModel` are importable without it from `driftloop.inference`.
The timing functions `benchmark_model` and `benchmark_onnx` belong to `components/onnx_deployment/benchmark.py`, the teaching detectors
`detect_pixel_drift` and `detect_embedding_drift` to `components/drift_detection/teaching.py`.
"""

from driftloop.coursework import Course
from driftloop.inference.log_writer import InferenceLogger
from driftloop.inference.served_model import ServedModel
from driftloop.training.architectures import PlainCNN, ResidualNet, build_network, count_parameters
from driftloop.training.augmentation import Augmentation, cutmix, mixup
from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.device import pick_device
from driftloop.training.epoch import predict, train_epoch, train_epoch_amp, validate
from driftloop.training.loop import fit
from driftloop.training.lr_finder import find_learning_rate
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from driftloop.training.weights import load_model, save_weights

__all__ = [
    "Augmentation",
    "Course",
    "InferenceLogger",
    "OrderedBatches",
    "PlainCNN",
    "Recipe",
    "ResidualNet",
    "ServedModel",
    "ServingGraph",
    "TrainingBatches",
    "build_network",
    "check_parity",
    "count_parameters",
    "cutmix",
    "export_onnx",
    "find_learning_rate",
    "fit",
    "load_model",
    "mixup",
    "pick_device",
    "predict",
    "save_weights",
    "set_seed",
    "train_epoch",
    "train_epoch_amp",
    "validate",
]
