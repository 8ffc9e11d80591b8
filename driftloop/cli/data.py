"""`driftloop data`: the images of a dataset as files."""

from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, StoreOption, answer, open_existing
from driftloop.errors import InputError

data = typer.Typer(help="The images of a dataset as files.", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """The images of a dataset as files."""


@data.command(name="export")
def export_images(
    output: Annotated[Path, typer.Option("--output", help="The new folder.")],
    store: StoreOption = DEFAULT_STORE,
    dataset: Annotated[
        str,
        typer.Option("--dataset", help="The dataset's hash, or its beginning; the champion's where it is left out.", show_default=False),
    ] = "",
    dvc: Annotated[
        bool, typer.Option("--dvc", help="Also write OUTPUT.dvc, as `dvc add` would; then `dvc commit` and `dvc push`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a dataset as PNG files by split and class, with a table of them: to look at, to version with DVC, to train on again."""
    from driftloop.cli.replay import champion_dataset
    from driftloop.exporting.folder import check_output
    from driftloop.exporting.images import dvc_file, find_dataset, write_dvc_file, write_images

    home = open_existing(store)
    check_output(output)
    described = dvc_file(output)
    if dvc and described.exists():
        raise InputError(f"{described}: is there already; name another folder, or remove it")
    description = find_dataset(home, dataset) if dataset else champion_dataset(home)
    count = write_images(description, output)
    short = description.manifest_hash[:12]
    line = f"{count:,} images of dataset {short} in {output}"
    if dvc:
        line += f"; {write_dvc_file(output)} describes them to DVC"
    answer(
        line,
        {"dataset": description.manifest_hash, "images": count, "folder": str(output), "dvc": str(described) if dvc else None},
        as_json=as_json,
    )
