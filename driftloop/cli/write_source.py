"""`driftloop write-source`: the images of a built-in source as a folder, to look at or to change."""

from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli.arguments import JsonOption, answer


def write_source_images(
    source: Annotated[str, typer.Argument(help="digits, synthetic:xray or synthetic:roof.")],
    folder: Annotated[Path, typer.Argument(help="Where to write; must be new or empty.")],
    seed: Annotated[int, typer.Option(help="Seed of the synthetic images.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write the images of a built-in source as files, in the layout that --source reads."""
    from driftloop.sources import write_source

    written = write_source(source, folder, seed)
    answer(written, {"folder": str(folder), "written": written}, as_json=as_json)
