"""`driftloop demo`: the whole loop on a page, by itself or under one's own hands."""

import json
import os
import shutil
import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from driftloop import rehearsal
from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.backends.run_folder import RunFolder
from driftloop.cli.arguments import collect
from driftloop.cli.replay import champion_dataset
from driftloop.errors import InputError
from driftloop.store import open_store
from pipelines import PIPELINES

if TYPE_CHECKING:
    from driftloop.demo.story import Event

#: What makes minutes of hours. Days pass in seconds here: no cooldown, and the budget of false alarms is one for years.
QUICK = {
    **rehearsal.QUICK,
    "drift_config": {
        "cooldown_days": 0,
        "retrainings_per_30_days": 1000,
        "false_alarms_per_90_days": 1000,
        "quota_per_day": 1_000_000,
    },
    "retrain_config": {"epochs": 10},
}
EPOCHS = 12
#: Of a store that is taken over: what belongs to its own production stays behind.
LEFT_BEHIND = ("logs", "watch", "labels")


def demo(
    once: Annotated[bool, typer.Option("--once", help="Play the story without a person, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the events as JSON, and nothing else.")] = False,
    source: Annotated[str, typer.Option(help="What visitors bring: synthetic:xray or synthetic:roof.")] = "synthetic:xray",
    store: Annotated[str, typer.Option(help="Folder of a store whose champion is taken, instead of training one.")] = "",
    drift: Annotated[str, typer.Option(help="Kinds of drift that the slider turns up.")] = "blur+noise",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any.")] = 8090,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Visitors a second.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of images and trainings.")] = 1,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any parameter or setting. Repeatable.")] = None,
) -> None:
    """Train, serve, drift, notice, label, retrain, judge and swap, before your eyes: everything real but the visitors.

    The page has a slider for the drift, a switch for the labelling team, and a button that rolls back. Ctrl-C ends it.
    """
    # The command line starts without waiting for what only this command needs.
    from driftloop.sources.built_in import parse_synthetic

    if as_json and not once:
        raise InputError("--json: needs --once; without it the demo has no end")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = _arguments(source, drift, seed, assignments or [])
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as missing:
        raise InputError(f"driftloop demo needs {missing.name}: install driftloop with its extra: pip install 'driftloop[serve]'") from None
    kind = _kind_of_champion(store) if store else parse_synthetic(source).kind
    folder = RunFolder.create("demo")
    if store:
        _take(Path(store), folder.store)
    folder.store.mkdir(exist_ok=True)
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    console.print(f"[bold]demo[/] in {folder.path}")

    def say(event: "Event") -> None:
        console.print(f"[dim]{event.seconds:6.1f} s[/]  [bold]{event.event:<16}[/] {escape(event.text)}")

    from driftloop.demo.site import SiteThread
    from driftloop.demo.story import Story

    story = Story(folder.path.absolute(), arguments | {"store": str(folder.store.absolute())}, kind=kind, drift=drift, rate=rate, say=say)
    try:
        try:
            site = SiteThread(story, port)
        except OSError as refused:
            raise InputError(f"--port {port}: {refused.strerror or refused}; name another") from None
        with site:
            console.print(f"[bold]{site.address}[/]  simulated traffic, everything else real{'' if once else '; Ctrl-C ends it'}")
            if browser and not once:
                webbrowser.open(site.address)
            story.begin()
            if once:
                story.play()
            else:
                story.go_on()
    except KeyboardInterrupt:
        console.print("ended")
    finally:
        story.close()
        events = [asdict(event) for event in story.events]
        (folder.path / "events.json").write_text(json.dumps(events, indent=1) + "\n")
        if as_json:
            sys.stdout.write(json.dumps(events, indent=1) + "\n")


def _arguments(source: str, drift: str, seed: int, assignments: list[str]) -> dict[str, Any]:
    """The parameters of the full-loop pipeline for a demo, checked.

    Raises:
        InputError: anything unknown or out of range, or a source that has an end.
    """
    from driftloop.scenarios import parse
    from driftloop.sources.built_in import SYNTHETIC, parse_synthetic, with_stream

    if not source.startswith(SYNTHETIC):
        raise InputError(f"--source {source}: visitors bring new images without end, which only {SYNTHETIC}xray and {SYNTHETIC}roof have")
    parse_synthetic(source)
    if ":" in drift or "," in drift:
        raise InputError(f"--drift {drift}: the kinds alone, such as blur+noise; the slider sets how strong they are")
    if parse(f"{drift}:0.5").shifts_prior:
        raise InputError(f"--drift {drift}: the slider changes images; which classes come stays as it is")
    pipeline = PIPELINES["full-loop"]
    given = collect(pipeline, [], {"data_source": with_stream(source, 8), "seed": seed}, assignments)
    if "store" in given:
        raise InputError("store: a demo has a store of its own; --store takes another one's champion")
    parameters = default_arguments(pipeline) | {"train_epochs": EPOCHS} | given
    return rehearsal.shortened(parameters, QUICK) | {"gpus": "0"}


def _kind_of_champion(path: str) -> str:
    """The kind of synthetic image that a folder's champion was trained on.

    Raises:
        InputError: no folder of a store, or another kind of image.
        NoChampion: the store names none.
    """
    from driftloop.sources.built_in import SYNTHETIC, parse_synthetic

    if not Path(path).is_dir():
        raise InputError(f"--store {path}: no folder of a store; leave it out to train a first version")
    trained_on = champion_dataset(open_store(path)).source
    if not trained_on.startswith(SYNTHETIC):
        raise InputError(f"--store {path}: its champion was trained on {trained_on}; visitors only have synthetic images")
    return parse_synthetic(trained_on).kind


def _take(store: Path, own: Path) -> None:
    """Copy a store's datasets and versions: the demo's traffic must not become part of a real history."""
    shutil.copytree(store.resolve(), own, ignore=lambda folder, names: LEFT_BEHIND if Path(folder) == store.resolve() else ())
