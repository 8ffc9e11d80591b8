"""Which forms of a stored object are read, and what a user is told about the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from driftloop import bundle
from driftloop.dataset.description import read_description
from driftloop.errors import IntegrityError, StoreError
from driftloop.schema import check_schema
from tests.factories.candidates import write_dataset_artifact
from tests.factories.records import model_description


def test_an_object_without_the_field_is_of_form_one() -> None:
    assert check_schema({"version": "3"}, "champion.json", 1) == 1
    assert check_schema({"version": "3"}, "champion.json", 2) == 1


@pytest.mark.parametrize("version", [2, 3])
def test_the_last_two_forms_are_read(version: int) -> None:
    assert check_schema({"schema_version": version}, "champion.json", 3) == version


def test_a_newer_form_asks_for_an_upgrade_and_is_not_called_damaged() -> None:
    with pytest.raises(StoreError, match=r"champion\.json: written by a newer driftloop \(form 4, .* up to 3\); upgrade") as error:
        check_schema({"schema_version": 4}, "champion.json", 3)
    assert not isinstance(error.value, IntegrityError)


def test_a_form_that_is_no_longer_read_names_the_cure() -> None:
    with pytest.raises(StoreError, match=r"written by an old driftloop \(form 1.*knows 2 and 3\); run `driftloop store upgrade`"):
        check_schema({}, "watch record", 3)


@pytest.mark.parametrize("damaged", [[], "text", None, {"schema_version": 0}, {"schema_version": "2"}, {"schema_version": True}])
def test_what_is_no_object_or_names_no_form_is_damaged(damaged: Any) -> None:
    with pytest.raises(ValueError, match=r"model\.json"):
        check_schema(damaged, "model.json", 2)


def test_model_json_without_a_form_is_read_and_written_with_it(tmp_path: Path) -> None:
    written = model_description().model_dump(exclude={"schema_version"})
    (tmp_path / "model.json").write_text(json.dumps(written))
    bundle.write_model(tmp_path, bundle.read_model(tmp_path))
    assert json.loads((tmp_path / "model.json").read_text()) == written | {"schema_version": 1}


def test_dataset_json_without_a_form_is_read_and_written_with_it(tmp_path: Path) -> None:
    path = write_dataset_artifact(tmp_path, "store") / "dataset.json"
    written = {name: value for name, value in json.loads(path.read_text()).items() if name != "schema_version"}
    path.write_text(json.dumps(written))
    assert read_description(tmp_path).model_dump() == written | {"schema_version": 1}


def test_a_newer_model_or_dataset_asks_for_an_upgrade(tmp_path: Path) -> None:
    for name, read in (("model.json", bundle.read_model), ("dataset.json", read_description)):
        (tmp_path / name).write_text(json.dumps({"schema_version": 2, "all": "else is new"}))
        with pytest.raises(StoreError, match=rf"{name}: written by a newer driftloop .* upgrade driftloop"):
            read(tmp_path)
