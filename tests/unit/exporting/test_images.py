"""A dataset leaves as files: the pixels that were trained on, and a folder that DVC itself knows by the same name."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from driftloop.cli.main import app
from driftloop.cli.replay import champion_dataset
from driftloop.dataset import open_split
from driftloop.errors import InputError
from driftloop.store import Store

ExportImages = Callable[..., dict[str, Any]]


@pytest.fixture
def export_images(champions: Store, tmp_path: Path) -> ExportImages:
    """Runs `driftloop data export`; what it said."""

    def run(*arguments: str, output: Path | None = None) -> dict[str, Any]:
        command = ["data", "export", "--store", champions.uri, "--output", str(output or tmp_path / "images"), *arguments, "--json"]
        result = CliRunner().invoke(app, command)
        if result.exception:
            raise result.exception
        return json.loads(result.stdout)

    return run


def test_the_files_are_the_pixels_that_were_trained_on(champions: Store, export_images: ExportImages, tmp_path: Path) -> None:
    said = export_images()
    description = champion_dataset(champions)
    assert (said["dataset"], said["images"], said["dvc"]) == (description.manifest_hash, sum(description.counts.values()), None)
    table = pd.read_csv(tmp_path / "images" / "samples.csv", keep_default_na=False)
    assert len(table) == said["images"] == len(list((tmp_path / "images").rglob("*.png")))
    split = open_split(description, "reference")
    rows = table[table["split"] == "reference"]
    assert rows["group"].astype(str).tolist() == split.samples["group"].tolist()
    for file, label, image, number in zip(rows["file"], rows["label"], split.images, split.labels, strict=True):
        assert file.startswith(f"reference/{label}/")
        assert label == description.classes[number]
        assert np.array_equal(np.asarray(Image.open(tmp_path / "images" / file)), image[..., 0])


def test_a_dataset_is_named_by_the_beginning_of_its_hash(champions: Store, export_images: ExportImages, tmp_path: Path) -> None:
    name = champion_dataset(champions).manifest_hash
    assert export_images("--dataset", name[:6])["dataset"] == name
    with pytest.raises(InputError, match=rf"--dataset zz: no such dataset in .* \(there: {name[:12]}\)"):
        export_images("--dataset", "zz", output=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_is_there_is_not_written_over(export_images: ExportImages, tmp_path: Path) -> None:
    (tmp_path / "images.dvc").write_text("outs: []\n")
    with pytest.raises(InputError, match=r"images\.dvc: is there already"):
        export_images("--dvc")
    assert not (tmp_path / "images").exists()
    export_images()
    with pytest.raises(InputError, match="is there already and not empty"):
        export_images()


def test_dvc_takes_it_pushes_it_and_pulls_it_again(export_images: ExportImages, tmp_path: Path) -> None:
    program = os.environ.get("DRIFTLOOP_DVC")
    if not program:
        pytest.skip("no DVC: DRIFTLOOP_DVC does not name the dvc command of an environment with the package dvc")
    here = tmp_path / "project"
    here.mkdir()

    def dvc(*arguments: str) -> str:
        environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "HOME": str(tmp_path)}
        done = subprocess.run([program, *arguments], cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--quiet")
    dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    export_images("--dvc", output=here / "images")
    ours = yaml.safe_load((here / "images.dvc").read_text())
    dvc("commit", "--force", "--quiet", "images.dvc")
    assert yaml.safe_load((here / "images.dvc").read_text()) == ours, "DVC finds the very content that we said"
    assert "up to date" in dvc("status")
    dvc("push", "--quiet")
    before = {path.relative_to(here): path.read_bytes() for path in (here / "images").rglob("*") if path.is_file()}
    shutil.rmtree(here / "images")
    shutil.rmtree(here / ".dvc" / "cache")
    dvc("pull", "--quiet")
    assert {path.relative_to(here): path.read_bytes() for path in (here / "images").rglob("*") if path.is_file()} == before
    (here / "images.dvc").unlink()
    dvc("add", "--quiet", "images")
    assert yaml.safe_load((here / "images.dvc").read_text()) == ours, "and would have said the same itself"
