import pickle
from pathlib import Path

import pytest
import torch

from driftloop import bundle
from driftloop.errors import InputError, IntegrityError
from driftloop.training import architectures
from driftloop.training.classifier import Classifier
from driftloop.training.weights import load_model, save_weights
from tests.factories.records import model_description


def write(directory: Path, architecture: str = architectures.RESIDUAL, classes: int = 2) -> Classifier:
    model = architectures.build_network(architecture, channels=1, classes=classes).eval()
    save_weights(model, directory)
    bundle.write_model(
        directory,
        model_description(architecture=architecture, classes=[f"class {index}" for index in range(classes)], seed=1),
    )
    bundle.seal(directory)
    return model


@pytest.mark.parametrize("architecture", [architectures.PLAIN_CNN, architectures.RESIDUAL])
def test_a_saved_model_comes_back_with_the_same_answers_in_evaluation_mode(tmp_path: Path, architecture: str) -> None:
    model = write(tmp_path, architecture)
    images = torch.randn(3, 1, 32, 32)
    loaded = load_model(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(loaded(images), model(images))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with open(tmp_path / bundle.WEIGHTS, "ab") as stream:
        stream.write(b"x")
    with pytest.raises(IntegrityError, match=r"model[.]pth: does not match its checksum"):
        load_model(tmp_path)


class Payload:
    """What an attacker would pickle: code that runs when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.marker), "w"))


def test_a_pickled_object_is_refused_and_does_not_run(tmp_path: Path) -> None:
    directory, marker = tmp_path / "bundle", tmp_path / "owned"
    write(directory)
    torch.save({"weights": Payload(marker)}, directory / bundle.WEIGHTS)
    bundle.seal(directory)
    with pytest.raises(IntegrityError, match="not a plain state dict"):
        load_model(directory)
    (directory / bundle.WEIGHTS).write_bytes(pickle.dumps(Payload(marker)))
    bundle.seal(directory)
    with pytest.raises(IntegrityError, match="not a plain state dict"):
        load_model(directory)
    assert not marker.exists()


def test_weights_of_another_architecture_are_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path)
    save_weights(architectures.build_network(architectures.PLAIN_CNN, channels=1, classes=2), tmp_path)
    bundle.seal(tmp_path)
    with pytest.raises(InputError, match=r"does not fit model[.]json") as refused:
        load_model(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_state_that_is_not_a_dict_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    torch.save([torch.zeros(1)], tmp_path / bundle.WEIGHTS)
    bundle.seal(tmp_path)
    with pytest.raises(InputError, match=r"does not fit model[.]json"):
        load_model(tmp_path)


def test_a_bundle_without_weights_says_so(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / bundle.WEIGHTS).unlink()
    bundle.seal(tmp_path)
    with pytest.raises(InputError, match="no weights"):
        load_model(tmp_path)


def test_a_directory_without_a_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model bundle"):
        load_model(tmp_path)
