"""`driftloop init`: from a folder of images to a configuration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

from driftloop.cli.arguments import collect
from driftloop.cli.init import DISAGREEMENT, init, proposed_test_share, shown_loss
from driftloop.errors import InputError, SettingError
from driftloop.evaluation.paired import tango_lower_bound
from driftloop.settings import DataSettings
from pipelines import PIPELINES

APP = typer.Typer()
APP.command()(init)


def _say(*arguments: str) -> str:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def _json(*arguments: str) -> Any:
    return json.loads(_say(*arguments, "--json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """120 grey images of 100 pixels, of two classes and forty patients."""
    for index in range(120):
        path = tmp_path / "images" / ("ill" if index % 3 == 0 else "well") / f"patient{index % 40}_{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((100, 120), index, np.uint8)).save(path)
    return tmp_path / "images"


def test_it_sees_classes_sizes_groups_and_splits(folder: Path) -> None:
    seen = _json(str(folder))
    assert seen["images"] == {"ill": 40, "well": 80}
    assert (seen["sizes"], seen["colour"], seen["image_size"]) == ("100 to 100 pixels, median 100", False, 96)
    assert seen["named_groups"] == 40
    assert sum(images for images, _ in seen["splits"].values()) == 120
    assert sum(groups for _, groups in seen["splits"].values()) == 40, "a patient is in one split"
    assert any("reference" in note for note in seen["notes"]), "so few patients are said to be few"


def test_patients_are_not_told_as_images_and_no_more_is_promised_than_the_gate_can_show(folder: Path) -> None:
    seen = _json(str(folder))
    images, patients = seen["splits"]["test"]
    assert seen["gate"].startswith(f"With {images} test images of {patients} patients or sites the gate can mostly show")
    assert "about 928 patients or sites would do for its margin of 2 points" in seen["gate"]
    told = float(seen["gate"].partition("loses less than ")[2].partition(" points")[0]) / 100
    assert told >= -tango_lower_bound(0, 0, patients) - 0.001


def test_classes_that_file_names_tell_are_seen_and_written_down(folder: Path, tmp_path: Path) -> None:
    for path in sorted(folder.glob("*/*.png")):
        path.rename(folder / f"{path.stem}_{path.parent.name}.png")
    with pytest.raises(InputError, match="no class folders found"):
        _say(str(folder))
    seen = _json(str(folder), "--classes", "ill, well")
    assert (seen["images"], seen["named_groups"]) == ({"ill": 40, "well": 80}, 40)
    written = tmp_path / "driftloop.yaml"
    _say(str(folder), "--classes", "ill, well", "--output", str(written))
    assert DataSettings.complete(collect(PIPELINES["training"], [written], {}, [])["data_config"]).classes == "ill, well"


def test_tags_and_a_class_that_is_rare_are_seen(folder: Path) -> None:
    assert _json(str(folder))["tags"] == {}
    for index in range(600):
        kind = "odd" if index % 60 == 0 else "well"
        Image.fromarray(np.full((100, 120), index % 251, np.uint8)).save(folder / "well" / f"{index}-photo.png")
        if kind == "odd":
            (folder / "odd").mkdir(exist_ok=True)
            (folder / "well" / f"{index}-photo.png").rename(folder / "odd" / f"{index}-photo.png")
    lines = [f"{path.relative_to(folder).as_posix()},{'AB'[number % 2]}" for number, path in enumerate(sorted(folder.glob("*/*.png")))]
    (folder / "tags.csv").write_text("\n".join(["file,site", *lines]))
    seen = _json(str(folder))
    assert seen["tags"] == {"site": 2}
    assert any(note.startswith("The test split has too few groups of odd (") for note in seen["notes"])
    (folder / "tags.csv").write_text("file,site\nwell/none.png,A\n")
    with pytest.raises(InputError, match=r"none\.png is not one of the images beside it"):
        _say(str(folder))


def test_each_image_counts_by_itself_however_long_the_names_of_its_folders(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.png")):
        kept = folder / f"{path.parent.name} as the ward calls them" / "2026" / path.name.replace("patient", "image")
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.rename(kept)
    splits = _json(str(folder))["splits"].values()
    assert sum(images for images, _ in splits) == sum(groups for _, groups in splits) == 120


def test_the_file_is_one_that_a_run_takes(folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "first.yaml"
    text = _say(str(folder), "--output", str(written), "--group-pattern", r"(patient\d+)")
    assert "40 patients or sites" in written.read_text()
    assert "driftloop run full-loop --config" in text
    parameters = collect(PIPELINES["full-loop"], [written], {}, [])
    assert parameters["data_source"] == str(folder)
    assert parameters["data_image_size"] == 96
    assert parameters["data_config"]["group_pattern"] == r"(patient\d+)"
    with pytest.raises(InputError, match=r"first\.yaml: is there already"):
        _say(str(folder), "--output", str(written))


def test_the_file_keeps_the_splits_that_were_told_and_a_stream_is_the_full_loops(folder: Path, tmp_path: Path) -> None:
    seen = _json(str(folder))
    written = tmp_path / "first.yaml"
    _say(str(folder), "--output", str(written))
    data = yaml.safe_load(written.read_text())["data_config"]
    assert data == {"val_share": 0.1, "test_share": seen["test_share"], "reference_share": 0.1}
    assert seen["splits"]["stream"] == [0, 0]
    assert 0 < seen["replayed"] < seen["splits"]["train"][0]
    assert f"a full loop keeps {seen['replayed']} of those for training for its replay" in written.read_text()


@pytest.mark.parametrize(("groups", "share"), [(100, 0.25), (4_000, 0.24), (5_000, 0.19), (7_000, 0.15), (100_000, 0.15)])
def test_the_test_share_is_what_the_gate_needs_within_its_limits(groups: int, share: float) -> None:
    assert proposed_test_share(groups, DataSettings()) == share
    if 0.15 < share < 0.25:
        assert shown_loss(round(share * groups)) <= 0.02 < shown_loss(round((share - 0.01) * groups))


def test_without_a_pattern_the_file_shows_where_it_would_stand(folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "first.yaml"
    _say(str(folder), "--output", str(written))
    commented = next(line for line in written.read_text().splitlines() if "# group_pattern" in line)
    assert yaml.safe_load(commented.replace("# ", "")) == {"group_pattern": r"(patient\d+)"}


def test_what_a_run_would_refuse_is_refused_here_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        _say(str(tmp_path / "nowhere"))
    with pytest.raises(SettingError, match="not a valid regular expression"):
        _say(str(folder), "--group-pattern", "(")
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 120 sampled images can be opened"):
        _say(str(folder))
    assert not Path("driftloop.yaml").exists()


def test_images_that_are_not_read_are_told(folder: Path) -> None:
    assert not any("passed over" in note for note in _json(str(folder))["notes"])
    (folder / "ill" / "scan.gif").write_bytes(b"GIF89a")
    assert any("1 image file was passed over (.gif 1)" in note for note in _json(str(folder))["notes"])


def test_one_level_above_the_classes_the_folder_to_give_is_named(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for index in range(10):
        Image.fromarray(np.full((100, 100), index, np.uint8)).save(other / f"patient{index % 2}_{index}.png")
    named = f"if ill, well in images are the classes, give {folder}$"
    with pytest.raises(InputError, match=f"class 'other' has images of only 2 patients or sites.*; {named}"):
        _say(str(tmp_path))
    for index in range(10, 40):
        Image.fromarray(np.full((100, 100), index, np.uint8)).save(other / f"patient{index}_.png")
    assert any("images, other are taken for the classes; if ill, well in images" in note for note in _json(str(tmp_path))["notes"])


@pytest.mark.parametrize(("groups", "expected"), [(100, 0.72), (930, 0.80), (5000, 0.80)])
def test_the_loss_that_can_be_shown_is_what_the_gates_bound_mostly_shows(groups: int, expected: float) -> None:
    """Against the gate's own interval on simulated equal candidates."""
    rng, trials = np.random.default_rng(groups), 1500
    outcomes = rng.multinomial(groups, [DISAGREEMENT / 2, DISAGREEMENT / 2, 1 - DISAGREEMENT], size=trials)
    shown = np.mean([tango_lower_bound(gained, lost, groups) > -shown_loss(groups) for gained, lost, _ in outcomes])
    assert shown == pytest.approx(expected, abs=0.04)
