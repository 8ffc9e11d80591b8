"""`driftloop report`: write a run's report again from its folder, or tell a model's life from its store."""

from pathlib import Path
from typing import Annotated

import typer

from driftloop.backends.run_folder import REPORTS
from driftloop.cli.arguments import JsonOption, answer, open_existing
from driftloop.cli.runs import Run, find_run
from driftloop.contracts import ENGLISH
from driftloop.errors import InputError

#: The two forms of a model's life.
LIFE = ("model_life.html", "model_life.pdf")


def report(
    run: Run = "",
    store: Annotated[
        str, typer.Option(help="Tell the life of the model in this store instead: a folder or s3://bucket/prefix.", show_default=False)
    ] = "",
    to: Annotated[Path, typer.Option(help="With --store: the folder to write into.")] = Path(),
    lang: Annotated[
        str, typer.Option(help="en or fr; else the run's own language. What has no translation yet stays English and is counted.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write report.html and report.pdf of a run again, from what its steps left; or, with --store, a model's life.

    A model's life: which version was in production when and why, what the watches found, accuracy over time, labels spent, decisions.
    """
    if store:
        if run:
            raise InputError(f"--store tells a model's life, {run} is a run: ask for one of the two")
        written = _write_life(store, to, lang or ENGLISH)
    else:
        from driftloop.backends.run_report import rebuild_report  # loads matplotlib, which no other command waits for

        folder = find_run(run)
        if not rebuild_report(folder, lang):
            raise InputError(f"{folder.path}: no step of this run left anything to report on; its log says why: {folder.log}")
        written = [folder.path / name for name in REPORTS]
    names = [str(path) for path in written]
    answer("\n".join(names), {"written": names}, as_json=as_json)


def _write_life(uri: str, to: Path, lang: str) -> list[Path]:
    from components.synthesis_report.life import read_life, write_life

    life = read_life(open_existing(uri))
    if to.exists() and not to.is_dir():
        raise InputError(f"--to: {to} is no folder")
    html, pdf = (to / name for name in LIFE)
    write_life(life, html, pdf, lang)
    return [html, pdf]
