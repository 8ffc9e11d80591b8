"""Every command shows two examples, and each is a call that the command line takes."""

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from driftloop.cli.examples import EXAMPLES
from driftloop.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))
    else:
        yield " ".join(path)


def test_every_command_has_two_examples_in_its_help() -> None:
    assert set(commands(get_command(app))) == EXAMPLES.keys()
    assert {len(set(examples)) for examples in EXAMPLES.values()} == {2}


def test_every_command_but_a_service_answers_scripts_in_json() -> None:
    def takes_json(name: str) -> bool:
        command: Any = get_command(app)
        for word in name.split():
            command = command.commands[word]
        return any("--json" in parameter.opts for parameter in command.params)

    assert {name for name in EXAMPLES if not takes_json(name)} == {"serve"}


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, examples in EXAMPLES.items() for example in examples])
def test_an_example_parses(name: str, example: str) -> None:
    command: Any = get_command(app)
    words = shlex.split(example)
    assert example.startswith(name)
    for word in name.split():
        command = command.commands[word]
    command.make_context(name, words[len(name.split()) :], resilient_parsing=False)
    assert f"driftloop {example}" in (command.epilog or "")
