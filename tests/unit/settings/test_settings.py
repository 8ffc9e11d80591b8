"""Settings are checked where they enter, and say how to mend what is wrong."""

import unicodedata
from typing import Literal

import pytest

from driftloop.errors import SettingError
from driftloop.settings import GROUPS, DataSettings, critical_names


def test_defaults_are_complete_without_overrides() -> None:
    for group in GROUPS.values():
        assert group.complete() == group.complete({}) == group.complete(None)


def test_every_setting_has_a_description() -> None:
    for group in GROUPS.values():
        for name, field in group.model_fields.items():
            assert field.description, f"{group.group}.{name}"


def test_integers_that_arrive_as_floats_are_integers() -> None:
    assert DataSettings.complete({"workers": 3.0}).workers == 3


def test_an_unknown_name_gets_the_nearest_one_as_a_hint() -> None:
    with pytest.raises(SettingError, match=r"data_config\.val_shar: no such setting \(did you mean data_config\.val_share\?\)"):
        DataSettings.complete({"val_shar": 0.2})


def test_a_value_out_of_range_is_named_with_its_range() -> None:
    with pytest.raises(SettingError, match=r"data_config\.val_share: 2 should be less than or equal to 1"):
        DataSettings.complete({"val_share": 2})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(SettingError):
        DataSettings.complete({"val_share": value})


def test_messages_are_one_line() -> None:
    with pytest.raises(SettingError) as raised:
        DataSettings.complete({"workers": "many"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["M\u00e4ntel", "Ma\u0308ntel, kurz"])
def test_a_critical_class_in_another_spelling_is_the_model_s(name: str, form: Literal["NFC", "NFD"]) -> None:
    assert critical_names(unicodedata.normalize(form, name), ["Schuh", name]) == [name]
