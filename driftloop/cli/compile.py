"""`driftloop compile`: the pipelines as YAML, as they are submitted to Kubeflow."""

from pathlib import Path

import typer

from driftloop.backends.compiled_pipeline import compile_to_yaml
from driftloop.cli.arguments import JsonOption, print_json
from driftloop.errors import InputError
from pipelines import PIPELINES

COMPILED = Path("pipelines/compiled")


def compile_pipelines(
    output: Path = typer.Option(COMPILED, help="Folder for <pipeline>.yaml."),
    check: bool = typer.Option(False, "--check", help="Write nothing; fail when a file there is stale."),
    as_json: JsonOption = False,
) -> None:
    """Write the pipelines as YAML."""
    stale, written = [], []
    for name, pipeline in PIPELINES.items():
        path = output / f"{name}.yaml"
        fresh = compile_to_yaml(pipeline)
        if check:
            stale += [path] if not path.exists() or path.read_text() != fresh else []
        else:
            output.mkdir(parents=True, exist_ok=True)
            path.write_text(fresh)
            written.append(path)
    if as_json:
        print_json({"written": [str(path) for path in written], "stale": [str(path) for path in stale]})
    else:
        for path in written:
            typer.echo(path)
    if stale:
        raise InputError(f"{', '.join(map(str, stale))}: stale; run `driftloop compile` and commit the result")
