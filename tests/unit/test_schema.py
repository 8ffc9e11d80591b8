"""Which forms of a stored object are read, and what a user is told about the others."""

from typing import Any

import pytest

from driftloop.errors import IntegrityError, StoreError
from driftloop.schema import check_schema


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
