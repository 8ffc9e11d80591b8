"""Traffic from another source than the champion's own stream."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from driftloop.cli.replay_source import opened_source
from driftloop.dataset import Description, ShardWriter
from driftloop.errors import InputError
from driftloop.store import open_store

SIDE = 32


def save(folder: Path, count: int, *, seed: int, channels: int = 1) -> list[Path]:
    """Random pictures as PNG files, and where they are."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, channels), np.uint8)
    paths = [folder / f"image-{number}.png" for number in range(count)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image[..., 0] if channels == 1 else image).save(path)
    return paths


def dataset(
    root: Path, files: list[Path], *, channels: int = 1, deep_range: int = 0, classes: tuple[str, str, str] = ("cat", "dog", "eel")
) -> Description:
    """A champion's dataset that holds these files, of three classes."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    names = [f"{number}" for number in range(len(files))]
    images = np.random.default_rng(0).integers(0, 256, (len(files), SIDE, SIDE, channels), np.uint8)
    table = pd.DataFrame({"path": names, "group": names, "sha256": digests, "width": SIDE, "height": SIDE})
    part = (images, np.arange(len(files)) % 3, table)
    with ShardWriter(image_size=SIDE, channels=channels, deep_range=deep_range) as writer:
        writer.add("train", *part)
        return writer.publish(open_store(str(root)), classes=list(classes), source="files")


@pytest.fixture
def champions(tmp_path: Path) -> Description:
    return dataset(tmp_path / "store", save(tmp_path / "known", 10, seed=1))


def refused(site: Path, champions: Description) -> str:
    """What is said of a source that cannot be played."""
    with pytest.raises(InputError) as raised, opened_source(str(site), champions, seed=0):
        pass
    return str(raised.value)


def test_new_images_become_a_stream_with_the_champions_labels(tmp_path: Path, champions: Description) -> None:
    # No cats: a class's number must be the champion's, not its place among what is there.
    files = [file for number, name in enumerate(("dog", "eel")) for file in save(tmp_path / "site" / name, 10, seed=2 + number)]
    by_digest = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in files}
    with opened_source(str(tmp_path / "site"), champions, seed=0) as (stream, description):
        assert set(stream.samples["sha256"]) == by_digest.keys()
        assert stream.images.shape == (20, SIDE, SIDE, 1)
        for image, label, digest in zip(stream.images, stream.labels, stream.samples["sha256"], strict=True):
            np.testing.assert_array_equal(image[..., 0], np.asarray(Image.open(by_digest[digest])))
            assert champions.classes[label] == by_digest[digest].parent.name
        assert stream.samples["label"].tolist() == stream.labels.tolist()
        assert description.classes == champions.classes
        assert description.manifest_hash != champions.manifest_hash


def test_what_the_champion_has_seen_is_left_out(tmp_path: Path, champions: Description) -> None:
    site = tmp_path / "site"
    save(site / "cat", 10, seed=1)
    new = save(site / "dog", 10, seed=4)
    with opened_source(str(site), champions, seed=0) as (stream, _):
        assert set(stream.samples["sha256"]) == {hashlib.sha256(file.read_bytes()).hexdigest() for file in new}
    whole = dataset(tmp_path / "all", [*(site / "cat").iterdir(), *new])
    assert f"{site}: the champion's dataset holds all of its 20 images" in refused(site, whole)


def test_grey_images_serve_a_champion_that_sees_colours_but_not_the_other_way_round(tmp_path: Path, champions: Description) -> None:
    coloured = dataset(tmp_path / "coloured", save(tmp_path / "more", 4, seed=5), channels=3)
    for number, name in enumerate(("cat", "dog")):
        save(tmp_path / "grey" / name, 10, seed=6 + number)
        save(tmp_path / "colour" / name, 10, seed=8 + number, channels=3)
    with opened_source(str(tmp_path / "grey"), coloured, seed=0) as (stream, _):
        assert stream.images.shape == (20, SIDE, SIDE, 3)
        assert (stream.images == stream.images[..., :1]).all()
    assert "has images in colour, and the champion was trained on grey ones" in refused(tmp_path / "colour", champions)


@pytest.mark.parametrize(("deep_range", "brightest"), [(65535, 16), (4095, 255), (0, 249)])
def test_images_of_more_than_eight_bits_are_read_as_the_champion_s_service_reads_them(
    tmp_path: Path, deep_range: int, brightest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("cat", "dog")):
        for file in save(tmp_path / "site" / name, 10, seed=2 + number):
            levels = np.asarray(Image.open(file)).astype(np.uint16) * 16
            levels[0, 0] = 4000 if deep_range != 4095 else 6000
            Image.fromarray(levels.clip(0, levels[0, 0])).save(file)
    champions = dataset(tmp_path / "deep", save(tmp_path / "others", 10, seed=9), deep_range=deep_range)
    with opened_source(str(tmp_path / "site"), champions, seed=0) as (stream, _):
        assert set(stream.images[:, 0, 0, 0]) == {brightest}
    said = capsys.readouterr().err
    assert bool(said) == (deep_range == 4095)
    assert "20 of 20 images (such as cat/image-0.png) have levels above 4,095, the highest" in said or not said


@pytest.mark.parametrize("names", [("Mäntel", "Ma\u0308ntel"), ("Ma\u0308ntel", "Mäntel")])
def test_umlauts_of_two_characters_name_the_champion_s_class(tmp_path: Path, names: tuple[str, str]) -> None:
    champion, folder = names
    champions = dataset(tmp_path / "store", save(tmp_path / "known", 10, seed=1), classes=("Hut", champion, "Schuh"))
    for number, name in enumerate((folder, "Schuh")):
        save(tmp_path / "site" / name, 10, seed=2 + number)
    with opened_source(str(tmp_path / "site"), champions, seed=0) as (stream, description):
        assert sorted(stream.labels) == [1] * 10 + [2] * 10
        assert description.classes[1] == champion


def test_a_class_that_the_champion_does_not_know_is_named(tmp_path: Path, champions: Description) -> None:
    for number, name in enumerate(("cat", "horse")):
        save(tmp_path / "site" / name, 10, seed=10 + number)
    assert "the champion knows cat, dog, eel, but not horse" in refused(tmp_path / "site", champions)


def test_names_of_files_are_read_as_the_champions_were(tmp_path: Path, champions: Description) -> None:
    site = tmp_path / "site"
    for number, (folder, name) in enumerate((("animal", "cat"), ("more", "dog"))):
        for file in save(site / folder, 10, seed=12 + number):
            file.rename(file.with_name(f"ward{number}_{name}_{file.name}"))
    assert "but not animal, more" in refused(site, champions)
    named = champions.model_copy(update={"naming": {"classes": "cat,dog,eel", "group_pattern": r"(ward\d)_"}})
    with opened_source(str(site), named, seed=0) as (stream, _):
        assert sorted(zip(stream.samples["group"], (named.classes[label] for label in stream.labels), strict=True)) == sorted(
            [("ward0", "cat"), ("ward1", "dog")] * 10
        )
