"""`driftloop config`: what can be set, and what it is for."""

import json

import pytest
from typer.testing import CliRunner

from driftloop.cli.config import config, find_settings, known_settings
from driftloop.errors import SettingError
from driftloop.settings import GROUPS, PARAMETERS


def _say(*arguments: str, columns: int = 80) -> str:
    result = CliRunner().invoke(config, arguments, env={"COLUMNS": str(columns)})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_every_parameter_and_setting_is_listed_once_with_a_meaning() -> None:
    listed = known_settings()
    scalars = [name for name in PARAMETERS if not name.endswith("_config")]
    settings = [f"{name}_config.{field}" for name, group in GROUPS.items() for field in group.model_fields]
    assert [setting.key for setting in listed] == scalars + settings
    assert all(setting.meaning for setting in listed)


def test_ranges_are_those_that_the_checks_keep() -> None:
    ranges = {setting.key: setting.range for setting in known_settings()}
    assert ranges["data_image_size"] == "32 to 512"
    assert ranges["train_config.label_smoothing"] == "0 to below 1"
    assert ranges["train_config.baseline_share"] == "above 0 to 1"
    assert ranges["deploy_config.serve_on"] == "cpu | cuda"
    assert ranges["data_config.group_pattern"] == ""
    assert ranges["drift_config.harm_labels"] == "10 to 1,000,000"


def test_a_list_fits_eighty_columns_and_json_has_it_all() -> None:
    text = _say("list")
    assert max(map(len, text.splitlines())) <= 80
    assert "label_smoothing" in text
    only = json.loads(_say("list", "gate", "--json"))
    assert {setting["key"].partition(".")[0] for setting in only} == {"gate_config"}


def test_explain_takes_a_name_with_its_group_or_without() -> None:
    assert [setting.key for setting in find_settings("train_config.label_smoothing")] == ["train_config.label_smoothing"]
    assert [setting.key for setting in find_settings("ablation_seconds")] == ["train_config.ablation_seconds"]
    assert [setting.key for setting in find_settings("label_smoothing")] == [
        "train_config.label_smoothing",
        "retrain_config.label_smoothing",
    ]
    assert "share of each target" in _say("explain", "label_smoothing", columns=200)


@pytest.mark.parametrize(("wrong", "said"), [("ablation_second", "did you mean train_config.ablation_seconds"), ("xyzzy", "config list")])
def test_what_cannot_be_set_is_one_line_with_the_cure(wrong: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        _say("explain", wrong)
    with pytest.raises(SettingError, match="known: parameters, data"):
        _say("list", wrong)
