"""How fine-tuning is set up from the champion and the settings."""

from dataclasses import asdict

import pytest
import torch

from components.automated_retraining.fine_tuning import build_recipe, champion_views, fine_tuning_rate
from driftloop.bundle import ModelDescription
from driftloop.settings import RetrainSettings
from driftloop.training.augmentation import Augmentation
from tests.factories.records import model_description

CPU = torch.device("cpu")


def champion(**training: object) -> ModelDescription:
    return model_description(training=training)


@pytest.mark.parametrize(("trained", "expected"), [(3e-3, 1.5e-3), (1e-3, 5e-4), (1e-2, 2e-3)])
def test_the_rate_is_half_the_champions_and_never_high(trained: float, expected: float) -> None:
    assert fine_tuning_rate(RetrainSettings(), champion(learning_rate=trained)) == pytest.approx(expected)


def test_the_rate_does_not_halve_with_every_retraining() -> None:
    retrained = champion(learning_rate=1.5e-3, first_learning_rate=3e-3)
    assert fine_tuning_rate(RetrainSettings(), retrained) == pytest.approx(1.5e-3)


def test_a_rate_in_the_settings_is_taken_as_it_is() -> None:
    assert fine_tuning_rate(RetrainSettings(learning_rate=1e-4), champion(learning_rate=3e-3)) == 1e-4


def test_images_are_seen_in_the_views_that_the_champion_was_trained_with() -> None:
    assert champion_views(champion()) == Augmentation()
    all_around = champion_views(champion(augmentation={"rotation": 180.0, "vertical_flip": True}))
    assert all_around == Augmentation(rotation=180.0, vertical_flip=True)
    cropped = Augmentation(crop=0.4, randaugment=9)
    assert champion_views(champion(augmentation=asdict(cropped))) == cropped
    assert champion_views(champion(augmentation={})) is None


def test_the_recipe_is_in_float32_where_mixed_precision_is_turned_off() -> None:
    assert build_recipe(RetrainSettings(mixed_precision=False), champion(), CPU).precision == "float32"


def test_weights_are_averaged_unless_the_settings_say_no() -> None:
    assert build_recipe(RetrainSettings(), champion(), CPU).average == RetrainSettings().weight_average > 0
    assert build_recipe(RetrainSettings(weight_average=0), champion(), CPU).average == 0
