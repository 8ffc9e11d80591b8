"""The form in which a stored object is written: an integer `schema_version` in it, counted up when what it holds changes its meaning.

Readers know the newest form and the one before, so that a store outlives an upgrade and a half-finished one (a service still on the old
release). An object without the field was written before there was one: form 1.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from driftloop.errors import IntegrityError, StoreError

SCHEMA_VERSION = "schema_version"

Parsed = TypeVar("Parsed", bound=BaseModel)


def check_schema(content: Any, kind: str, newest: int) -> int:
    """The form of a stored object, if this driftloop can read it.

    Called first in a model's `mode="before"` validator, it gives every reader of the model the same answer: `ValueError` becomes
    pydantic's `ValidationError` there, and `StoreError` passes through, so that what is merely newer is never taken for damaged.

    Args:
        content: the object as JSON was read: a mapping.
        kind: what it is, for people: `champion.json`, or where it lies.
        newest: the newest form that this driftloop knows; it reads this one and the one before.

    Raises:
        StoreError: the object is of a newer form, or of one that is no longer read.
        ValueError: it is no mapping, or its form is not a number from 1: it is damaged.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{kind}: not a JSON object")
    version = content.get(SCHEMA_VERSION, 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{kind}: {SCHEMA_VERSION} {version!r} is not a number from 1")
    if version > newest:
        raise StoreError(f"{kind}: written by a newer driftloop (form {version}, this one knows up to {newest}); upgrade driftloop")
    if version < newest - 1:
        raise StoreError(
            f"{kind}: written by an old driftloop (form {version}, this one knows {newest - 1} and {newest}); run `driftloop store upgrade`"
        )
    return version


def of_known_form(kind: str, newest: int) -> Any:
    """A pydantic validator that checks the form of a stored object first, and takes one of the form before as of the newest.

    Assign it to a name of the model, which has the field `schema_version`; raises as `check_schema`.
    """

    def checked(content: Any) -> Any:
        check_schema(content, kind, newest)
        return {**content, SCHEMA_VERSION: newest}

    return model_validator(mode="before")(checked)


def parse_stored(model: type[Parsed], data: bytes, where: str) -> Parsed:
    """A stored object as its model.

    Raises:
        IntegrityError: it is damaged; the line says `where` it lies.
        StoreError: it is of a form that is not read.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError:
        raise _damaged(where) from None


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A stored object that has no model of its own.

    Raises:
        IntegrityError: it is damaged; the line says `where` it lies.
    """
    try:
        content = json.loads(data)
    except ValueError:
        raise _damaged(where) from None
    if not isinstance(content, dict):
        raise _damaged(where)
    return content


def _damaged(where: str) -> IntegrityError:
    return IntegrityError(f"{where}: damaged, it cannot be read as what its name says; restore it from a backup")
