"""What kind of images it is, and after which changes they still show the same."""

import pytest

from driftloop.dataset import Description, read_description
from driftloop.errors import SettingError
from driftloop.settings import TrainSettings
from driftloop.training.augmentation import Augmentation
from driftloop.training.domains import domain_of, views_of
from tests.factories.datasets import write_squares_dataset


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Description:
    root = tmp_path_factory.mktemp("squares")
    write_squares_dataset(root)
    return read_description(root / "dataset")


@pytest.mark.parametrize(
    ("source", "classes", "domain"),
    [
        ("synthetic:xray?scale=0.1", ["NORMAL", "PNEUMONIA"], "xray"),
        ("/data/lungs", ["NORMAL", "PNEUMONIA"], "xray"),
        ("/data/xrays/chest_xray.zip", ["a", "b"], "xray"),
        ("kaggle:paultimothymooney/chest-xray-pneumonia/versions/2", ["NORMAL", "BACTERIA", "VIRUS"], "xray"),
        ("/data/chest_xray/train", ["NORMAL", "BACTERIA", "VIRUS"], "xray"),
        ("s3://bucket/ChestX-ray14/images/", ["Cardiomegaly", "No Finding"], "xray"),
        ("/data/covid19-radiography-database", ["COVID", "Normal"], "xray"),
        ("/data/cxr", ["a", "b"], "xray"),
        ("/data/animals", ["fox", "ray"], "natural"),
        ("/data/rooftops", ["a", "b"], "aerial"),
        ("/data/meters", [str(digit) for digit in range(10)], "digits"),
        ("/data/grades", ["0", "1", "2"], "natural"),
        ("/home/roof/cats", ["a", "b"], "natural"),
        ("synthetic:roof", ["clean", "dirty"], "aerial"),
        ("elpv:mono", ["functional", "defective"], "aerial"),
        ("digits", ["0", "1"], "digits"),
        ("/data/fashion_mnist/", ["0", "1"], "digits"),
        ("/data/roofless-orchestra", ["waterproof", "flute"], "natural"),
    ],
)
def test_the_names_give_the_domain_away(squares: Description, source: str, classes: list[str], domain: str) -> None:
    description = squares.model_copy(update={"source": source, "classes": classes})
    assert domain_of(TrainSettings(), description) == domain
    assert domain_of(TrainSettings(domain="natural"), description) == "natural"


def test_x_rays_and_digits_are_not_mirrored_and_views_from_above_are_turned_all_around(squares: Description) -> None:
    views = {name: views_of(TrainSettings(domain=name), squares) for name in ("xray", "digits", "aerial", "natural")}
    assert not any(views[name].flip or views[name].vertical_flip for name in ("xray", "digits"))
    assert views["aerial"].rotation == 180
    assert views["aerial"].flip
    assert views["aerial"].vertical_flip
    assert views["natural"] == Augmentation()


def test_what_the_settings_say_themselves_overrules_the_domain(squares: Description) -> None:
    views = views_of(TrainSettings(domain="xray", flip=True, rotation=0, crop=0.3, randaugment=9), squares)
    assert views == Augmentation(flip=True, rotation=0, crop=0.3, randaugment=9)


@pytest.mark.parametrize(("name", "value"), [("crop", 1.0), ("crop", -0.1), ("randaugment", 31), ("randaugment", 1.5), ("cutmix", -1)])
def test_amounts_that_mean_nothing_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"train_config.{name}"):
        TrainSettings.complete({name: value})
