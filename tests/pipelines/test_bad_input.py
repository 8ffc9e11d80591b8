"""A person's own mistakes: one line that says what, where and how to mend it, exit status 2, nothing half written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipelines.command import Command


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def images(folder: Path, count: int, value: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([value, count])
    for index in range(count):
        Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / f"{value}_{index}.png")


def refused(command: Command, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = command("run", "training", "--set", "gpus=0", *arguments, status=2, env=env)
    line = done.stderr.strip()
    assert line.startswith("driftloop: "), done.stderr
    assert "\n" not in line, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "no/such/folder"), "no/such/folder"),
        (("--source", "synthetic:xrays"), "did you mean synthetic:xray"),
        (("--set", "train_config.label_smooting=0.1"), "did you mean train_config.label_smoothing?"),
        (("--set", "train_config.label_smoothing=7"), "train_config.label_smoothing: 7"),
        (("--set", "data_image_size=4"), "outside 32..512"),
        (("--store", "ftp://somewhere/else"), "ftp://somewhere/else"),
        (("--drift", "none"), "belongs to full-loop"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_starts(command: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(command, *arguments)
    assert not (command.folder / "runs").exists()


def test_a_folder_without_classes_is_refused(command: Command) -> None:
    images(command.folder / "flat", 3)
    assert "flat: no class folders found" in refused(command, "--source", "flat")


def test_one_class_is_not_enough(command: Command) -> None:
    images(command.folder / "one" / "cats", 40)
    assert "one" in refused(command, "--source", "one")


def test_a_class_with_three_images_is_not_enough(command: Command) -> None:
    images(command.folder / "few" / "cats", 60, 1)
    images(command.folder / "few" / "dogs", 3, 2)
    line = refused(command, "--source", "few", "--store", "home")
    assert "dogs" in line
    assert "3" in line
    assert not list((command.folder / "home").glob("**/*"))


def test_too_many_broken_files_stop_the_run_and_leave_a_summary(command: Command) -> None:
    for value, name in enumerate(("cats", "dogs")):
        images(command.folder / "broken" / name, 60, value)
        for index in range(10):
            (command.folder / "broken" / name / f"x{index}.png").write_bytes(b"not an image")
    line = refused(command, "--source", "broken", "--store", "home")
    assert "20" in line
    assert "driftloop" in line
    assert command.summary()["error"]
    assert not [path for path in (command.folder / "home").glob("**/*") if path.is_file()]


def test_a_watch_without_a_store_says_what_to_run_first(command: Command) -> None:
    done = command("run", "drift-watch", status=2)
    assert "run `driftloop run full-loop` first" in done.stderr.replace("\n", " ")


def test_a_store_that_cannot_be_reached_is_named(command: Command) -> None:
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    line = refused(command, "--store", "s3://driftloop/demo", env=env)
    assert "127.0.0.1:9" in line
