"""The pipeline `ingest` as a person runs it: tasks that read side by side, and a training's first steps that go on from there."""

import re
from pathlib import Path

import pytest

from components.data_analysis.ingest import FILES_PER_CHUNK
from components.data_analysis.step import run
from driftloop.contracts import BLOCK_PLANS, BLOCKS
from driftloop.dataset import read_description
from driftloop.store import open_store
from tests.factories.image_folders import write_classes
from tests.pipelines.command import Command

FILES = 2 * (FILES_PER_CHUNK + 10)
READ_BY_TWO = (
    "ingest",
    "--source",
    "pets",
    "--store",
    "home",
    "--set",
    "data_image_size=32",
    "--set",
    f"data_config.shard_files={FILES_PER_CHUNK}",
)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    write_classes(tmp_path / "pets", FILES // 2)
    return Command(tmp_path)


def test_tasks_read_a_folder_side_by_side_and_the_dataset_is_the_same(command: Command) -> None:
    shown = command("run", *READ_BY_TWO).stdout
    assert f"{FILES} files in 3 shards of up to {FILES_PER_CHUNK}" in shown
    assert command.summary()["pipeline"] == "ingest"
    store = open_store(str(command.folder / "home"))
    blocks = [entry for entry in store.list(BLOCKS) if not entry.key.startswith(BLOCK_PLANS)]
    assert len(blocks) == 3
    hashes = []
    for name in ("home", "bare"):
        out = command.folder / f"out-{name}"
        given = {"image_size": 32, "seed": 1, "store": str(command.folder / name), "replayed": False}
        run(str(command.folder / "pets"), "", str(out / "dataset"), str(out / "report.html"), **given)
        hashes.append(read_description(out / "dataset").manifest_hash)
    assert hashes[0] == hashes[1]
    command("run", *READ_BY_TWO)
    # The runner's tasks write into one log at once, so that a line of the display may have the figures of another task.
    assert set(re.findall(r"(\d+) files read", (command.folder / "runs/latest/run.log").read_text())) == {"0"}
    assert [entry for entry in store.list(BLOCKS) if not entry.key.startswith(BLOCK_PLANS)] == blocks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", "3"), "--seed: the ingest pipeline has no seed; it belongs to training and drift-watch and full-loop"),
        (("--source", "digits"), "digits: only a folder, here or on S3, is read by parts; training reads all other sources itself"),
        (("--source", "nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_what_it_cannot_read_by_parts_is_one_line(command: Command, arguments: tuple[str, ...], said: str) -> None:
    done = command("run", "ingest", *arguments, status=2)
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
