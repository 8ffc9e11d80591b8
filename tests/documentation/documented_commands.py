"""The `driftloop` commands of the pages that people read, and a folder in which the quick ones can be run as they stand there."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from driftloop.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "k8s" / "README.md"]
OPERATORS = "();<>|&"
#: Those after which comes a file's name, and no command.
REDIRECTIONS = "<>"
#: Words after which the shell begins a command.
OPENERS = ("do", "then", "else", "exec")
#: `make run ARGS="..."` passes these on (Makefile).
PIPELINES = ("training", "drift-watch", "full-loop")


@dataclass(frozen=True)
class Documented:
    """A call of `driftloop` in a block of a page."""

    page: str
    words: tuple[str, ...]
    """Its arguments, as the shell hands them over."""

    def __str__(self) -> str:
        return shlex.join(self.words)


def documented() -> list[Documented]:
    """Every call in the ```sh and ```console blocks of `PAGES`, in their order, each once a page."""
    found = []
    for page in PAGES:
        for kind, block in re.findall(r"^```(sh|console)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            typed = block if kind == "sh" else "\n".join(line[2:] for line in block.splitlines() if line.startswith("$ "))
            for line in typed.replace("\\\n", " ").splitlines():
                found += [Documented(str(page.relative_to(ROOT)), words) for words in calls(line)]
    return list(dict.fromkeys(found))


def calls(line: str) -> list[tuple[str, ...]]:
    """The arguments of every `driftloop`, and of every `make run`, in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace_split = True
    words, found = list(lexer), []
    for index, word in enumerate(words):
        if index and not (set(words[index - 1]) <= set(OPERATORS) - set(REDIRECTIONS) or words[index - 1] in OPENERS):
            continue
        rest = words[index + 1 :]
        end = next((place for place, later in enumerate(rest) if set(later) <= set(OPERATORS)), len(rest))
        if word == "driftloop":
            found.append(tuple(rest[:end]))
        elif word == "make" and rest[:1] == ["run"]:
            given = shlex.split(next((text.removeprefix("ARGS=") for text in rest[:end] if text.startswith("ARGS=")), ""))
            found.append(("run", *(given if given[:1] and given[0] in PIPELINES else ["full-loop", *given])))
    return found


def parse(words: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The command's name and what it would be called with, read by the real command line; fails where it would."""
    command: Any = typer.main.get_command(app)
    rest, names, parent = list(words), [], None
    while True:
        context = command.make_context("driftloop", rest, parent=parent)
        if not hasattr(command, "commands"):
            return " ".join(names), context.params
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        names.append(name)
        parent = context


def named_in_sentences() -> list[tuple[str, str]]:
    """Page and text of every `driftloop ...` that stands in a sentence; there arguments may be left out."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        found += [(str(page.relative_to(ROOT)), code) for code in re.findall(r"`driftloop ([a-z][^`]*)`", text)]
    return list(dict.fromkeys(found))
