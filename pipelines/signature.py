"""Pipelines whose parameters are those of their stages: names, types, defaults and descriptions come from `driftloop.settings`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from kfp import dsl

from driftloop.settings import PARAMETERS, StageParameters, describe


def pipeline(name: str, description: str, *, defaults: Mapping[str, Any] | None = None) -> Callable[[Callable[..., None]], Any]:
    """Make a KFP pipeline of a function that takes the parameters of stages, and single parameters by their names.

    KFP reads the names, types and defaults of a function's arguments; it is shown the parameters themselves, in the order of
    `PARAMETERS`, and what it passes is handed on in the stages' bundles.

    Args:
        name: as KFP and the command line know it.
        description: what the pipeline does, in one sentence; each of its parameters is described below it.
        defaults: where the pipeline's own default of a parameter differs from that in `PARAMETERS`.
    """

    def build(function: Callable[..., None]) -> Any:
        hints = get_type_hints(function)
        bundles = {argument: hints[argument] for argument in inspect.signature(function).parameters if _is_bundle(hints[argument])}
        wanted = {name for bundle in bundles.values() for name in bundle.names()} | (hints.keys() - bundles.keys() - {"return"})
        names = [name for name in PARAMETERS if name in wanted]

        def flat(*values: Any) -> None:
            given = dict(zip(names, values, strict=True))
            singles = {argument: given[argument] for argument in hints if argument in given}
            function(**singles, **{argument: bundle.of(given) for argument, bundle in bundles.items()})

        flat.__name__ = function.__name__
        flat.__signature__ = inspect.Signature([_shown(name, defaults or {}) for name in names])  # type: ignore[attr-defined]
        return dsl.pipeline(flat, name=name, description=describe(description, names))

    return build


def _is_bundle(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, StageParameters)


def _shown(name: str, defaults: Mapping[str, Any]) -> inspect.Parameter:
    default = defaults.get(name, PARAMETERS[name].default)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=type(default))
