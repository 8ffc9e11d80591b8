"""The errors driftloop raises, as one small tree.

Each message is one line that says what is wrong, where, and how to mend it. The classes name the package as their module, so
that an uncaught one ends a pod's log with `driftloop.InputError: <message>`: the line a user needs is always the last.
"""

import importlib
from typing import Any, ClassVar


class DriftloopError(Exception):
    """Something the user or the operator can mend; the message says how."""

    exit_code = 2
    #: The module that it is found in, for an error that goes from one process to another.
    defined_in: ClassVar[str] = __name__

    def __init_subclass__(cls) -> None:
        cls.defined_in, cls.__module__ = cls.__module__, "driftloop"

    def __reduce__(self) -> tuple[Any, ...]:
        return _raised_elsewhere, (self.defined_in, type(self).__name__, self.args)


def _raised_elsewhere(module: str, name: str, arguments: tuple[Any, ...]) -> Any:
    """An error that another process of this program raised."""
    return getattr(importlib.import_module(module), name)(*arguments)


class InputError(DriftloopError):
    """Images, labels or files that cannot be used as they are."""


class SettingError(InputError):
    """An unknown setting, or one with a value outside its range."""


class StoreError(DriftloopError):
    """The store cannot be used: unreachable, no such bucket, no permission."""


class StoreAway(StoreError):
    """The store does not answer, or not properly: it may come back by itself."""


class NotFound(StoreError):
    """No object under that key."""


class Conflict(StoreError):
    """A conditional write lost: the object exists already, or it changed since it was read."""


class IntegrityError(StoreError):
    """Bytes that do not match their checksum."""


class NoChampion(DriftloopError):
    """The store names no champion and the step needs one."""


class GateRefused(DriftloopError):
    """The gate refused a candidate and there is no champion to go on with."""


class RunFailed(DriftloopError):
    """A step of a pipeline failed for a reason that is not the user's."""

    exit_code = 1


class NotMet(DriftloopError):
    """Everything ran, and a target or the gate was not met; raised only where people ask for that (`--strict`)."""

    exit_code = 3


DriftloopError.__module__ = "driftloop"
