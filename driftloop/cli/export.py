"""`driftloop export`: a version as a folder for another server."""

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from driftloop.cli.arguments import DEFAULT_STORE, JsonOption, answer, open_existing


class Server(StrEnum):
    """Who is to take the folder."""

    KSERVE = "kserve"
    TRITON = "triton"
    BENTOML = "bentoml"


def export(
    to: Annotated[Server, typer.Option("--to", help="The server that takes it.")],
    output: Annotated[Path, typer.Option("--output", help="The new folder.")],
    store: Annotated[str, typer.Option("--store", help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    version: Annotated[str, typer.Option("--version", help="The version's number; the champion where it is left out.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a version as a folder that KServe, Triton or BentoML takes. `driftloop serve` needs none: it follows the champion by itself."""
    from driftloop.backends.cluster.uploads import image_prefix
    from driftloop.exporting.bento import write_bento  # onnxruntime, which the other commands need not wait for
    from driftloop.exporting.folder import check_output, fetch, written_whole
    from driftloop.exporting.kserve import check_store, write_kserve
    from driftloop.exporting.triton import write_triton

    check_output(output)
    if to is Server.KSERVE:
        check_store(store)
    prefix = image_prefix()
    home = open_existing(store)
    with tempfile.TemporaryDirectory() as directory, written_whole(output) as folder:
        fetched = fetch(home, version, Path(directory, "version"))
        if to is Server.KSERVE:
            same = fetched.version == fetched.champion
            write_kserve(folder, fetched, fetched if same else fetch(home, fetched.champion, Path(directory, "champion")), prefix)
        elif to is Server.TRITON:
            write_triton(folder, fetched)
        else:
            write_bento(folder, fetched)
    line = f"version {fetched.version} for {to.value} in {output}; {output / 'README.md'} says how it is started"
    answer(line, {"version": fetched.version, "server": to.value, "folder": str(output)}, as_json=as_json)
