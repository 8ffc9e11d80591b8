"""The whole step on small real folders."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.data_analysis import statistics
from components.data_analysis.loader_benchmark import benchmark_loaders
from components.data_analysis.report import mean_images
from components.data_analysis.statistics import ClassStatistics
from components.data_analysis.step import run
from driftloop import registry
from driftloop.dataset import open_split, read_description
from driftloop.dataset.decoding import MOST_PIXELS
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError, SettingError
from driftloop.serving.batching import _pixels
from driftloop.store import Store
from driftloop.store.local import LocalStore
from tests.factories.image_folders import write_classes, write_scans
from tests.factories.records import model_description
from tests.factories.serving_store import build_serving_store

ONE_PROCESS = {"workers": 1.0}


class Result:
    """What the step left."""

    def __init__(self, folder: Path) -> None:
        self.dataset, self.report, self.store = folder / "dataset", folder / "report.html", LocalStore(folder / "store")

    def run(self, source: Path | str, *, image_size: int = 32, seed: int = 1, replayed: bool = True, **config: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {"image_size": image_size, "seed": seed, "store": self.store.uri, "config": ONE_PROCESS | config}
        run(str(source), "a" * 64, str(self.dataset), str(self.report), replayed=replayed, **arguments)
        return self.facts

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.dataset / "facts.json").read_text())["data_analysis"]


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return Result(tmp_path / "out")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("source") / "pets", 60)


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Result:
    made = Result(tmp_path_factory.mktemp("xray"))
    made.run("synthetic:xray?scale=0.05", image_size=32)
    return made


def test_a_synthetic_source_becomes_a_dataset_with_its_report_and_facts(xray: Result) -> None:
    facts = xray.facts
    assert facts["classes"] == ["NORMAL", "PNEUMONIA"]
    assert facts["counts"].keys() == {"train", "val", "test", "reference", "stream"}
    assert sum(facts["counts"].values()) == 325
    assert facts["counts"]["test"] == 75
    assert facts["channels"] == 1
    assert facts["merged_val"] == 15
    assert facts["broken_count"] == 0
    assert facts["loader"]["images_per_second"] > 0
    description = read_description(xray.dataset)
    assert description.manifest_hash == facts["manifest_hash"]
    files = ["baseline_metrics.pt", "chapters.json", "dataset.json", "facts.json", "used.json"]
    assert sorted(path.name for path in xray.dataset.iterdir()) == files
    assert "<script" not in xray.report.read_text()


def test_what_to_look_at_is_on_the_page_and_in_the_facts(xray: Result) -> None:
    doubts, page = xray.facts["doubts"], xray.report.read_text()
    assert "What to look at" in page
    assert all(doubt["finding"].split(" (")[0] in page and doubt["advice"] for doubt in doubts)
    assert [doubt["gravity"] for doubt in doubts] == sorted((doubt["gravity"] for doubt in doubts), reverse=True)


def test_baseline_metrics_are_plain_tensors(xray: Result) -> None:
    metrics = torch.load(xray.dataset / "baseline_metrics.pt", weights_only=True)
    train = open_split(xray.dataset, "train")
    assert metrics["mean"].tolist() == pytest.approx([train.images.mean() / 255], rel=1e-5)
    assert metrics["std"].tolist() == pytest.approx([train.images.std() / 255], rel=1e-5)
    assert metrics["class_counts"].tolist() == np.bincount(train.labels).tolist()
    assert metrics["histogram"].sum().item() == train.images.size
    assert metrics["mean_images"].shape == (2, 32, 32, 1)
    assert len(metrics["statistics_mean"]) == len(xray.facts["statistics"])


def test_no_patient_is_in_two_splits(xray: Result) -> None:
    splits = [open_split(xray.dataset, split).samples for split in xray.facts["counts"]]
    groups = [set(samples["group"]) for samples in splits]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_every_part_of_a_split_has_all_classes(xray: Result) -> None:
    labels = open_split(xray.dataset, "stream").labels
    assert 0.2 < labels[:40].mean() < 0.8


def test_pixels_are_those_of_the_files(result: Result, pets: Path) -> None:
    result.run(pets)
    train = open_split(result.dataset, "train")
    for row in (0, len(train) // 2, len(train) - 1):
        with Image.open(pets / train.samples["path"][row]) as image:
            expected = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BILINEAR))
        assert np.array_equal(train.images[row, ..., 0], expected)
        assert train.samples["path"][row].startswith(["cat", "dog"][train.labels[row]])


def test_pictures_that_are_no_square_are_cut_where_that_is_set_and_a_model_of_theirs_is_asked_alike(
    result: Result, pets: Path, tmp_path: Path
) -> None:
    wide = tmp_path / "wide"
    for path in sorted(pets.rglob("*.png")):
        (wide / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize((48, 32)).save(wide / path.parent.name / path.name)
    stretched = result.run(wide)["manifest_hash"]
    assert result.run(wide, resize="crop")["manifest_hash"] != stretched
    assert read_description(result.dataset).resize == "crop"
    train = open_split(result.dataset, "train")
    live = SimpleNamespace(model=SimpleNamespace(description=model_description(image_size=32, channels=1, resize="crop")))
    for row in range(3):
        path = wide / train.samples["path"][row]
        with Image.open(path) as image:
            assert np.array_equal(train.images[row, ..., 0], np.asarray(image)[:, 8:40])
        assert np.array_equal(train.images[row], _pixels(path.read_bytes(), live, MOST_PIXELS)[0])  # type: ignore[arg-type]


def written(store: Store) -> dict[str, datetime]:
    """When each object was written; dataset.json is written again by who uses the dataset again, so that no prune takes it."""
    return {info.key: info.modified for info in store.list() if not info.key.endswith("/dataset.json")}


def test_the_same_source_gives_the_same_dataset_once_whatever_the_seed_or_workers(result: Result, pets: Path, tmp_path: Path) -> None:
    first = result.run(pets)["manifest_hash"]
    before = written(result.store)
    assert result.run(pets, seed=2, workers=2)["manifest_hash"] == first
    assert written(result.store) == before


def test_adding_images_does_not_move_the_others(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    result.run(source)
    before = placed(result)
    write_classes(source, 30, name="new", classes=("dog", "cat"))
    result.run(source)
    after = placed(result)
    assert len(after) == 140
    assert {path: after[path] for path in before} == before


def placed(result: Result) -> dict[str, str]:
    frames = [open_split(result.dataset, split).samples for split in result.facts["counts"]]
    return {path: split for frame in frames for path, split in zip(frame["path"], frame["split"], strict=True)}


def test_broken_files_are_left_out_counted_and_listed(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    (source / "cat" / "image003.png").write_bytes(b"no image")
    (source / "dog" / "image004.png").write_bytes(b"")
    data = (source / "dog" / "image005.png").read_bytes()
    (source / "dog" / "image005.png").write_bytes(data[: len(data) // 2])
    facts = result.run(source)
    assert facts["broken_count"] == 3
    assert [entry["path"] for entry in facts["broken"]] == ["cat/image003.png", "dog/image004.png", "dog/image005.png"]
    assert facts["broken"][1]["reason"] == "empty file"
    assert sum(facts["counts"].values()) == 77
    report = result.report.read_text()
    assert "dog/image004.png" in report
    assert "3 files could not be read" in report


def test_names_that_are_no_utf_8_are_read_and_written_with_their_bytes_spelt_out(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 60)
    for path in source.rglob("*.png"):
        os.rename(path, os.fsencode(path.parent) + b"/caf\xe9_" + os.fsencode(path.name))
    facts = result.run(source)
    assert facts["broken_count"] == 0
    assert sum(facts["counts"].values()) == 120
    assert facts["loader"]["images"] == facts["counts"]["train"]
    names = read_samples(read_description(result.dataset))["path"]
    assert sorted(names)[0] == "cat/caf\\udce9_image000.png"


def test_files_that_are_gone_when_loaders_are_timed_stop_nothing(result: Result, pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        statistics, "benchmark_loaders", lambda train, files, *args, **options: benchmark_loaders(train, {}, *args, **options)
    )
    assert result.run(pets)["loader"] is None
    assert "how fast they are read was not measured" in result.report.read_text()


def test_too_many_broken_files_stop_the_run_and_leave_the_store_alone(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    for number in range(5):
        (source / "cat" / f"image{number:03d}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"5 of 80 image files are broken \(6\.2%, at most 5\.0%\), such as cat/image000\.png") as caught:
        result.run(source)
    assert "\n" not in str(caught.value)
    assert not list(result.store.list())
    assert not result.dataset.exists()
    assert result.run(source, max_broken_share=0.1)["broken_count"] == 5


def test_a_class_that_only_had_broken_or_contradicting_files_is_refused(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    for number in range(35):
        (source / "dog" / f"same{number:03d}.png").write_bytes((source / "dog" / f"image{number:03d}.png").read_bytes())
        (source / "cat" / f"image{number:03d}.png").write_bytes((source / "dog" / f"image{number:03d}.png").read_bytes())
    with pytest.raises(InputError, match=r"class '(cat|dog)' has 5 images; at least 10"):
        result.run(source)
    assert not list(result.store.list())


def test_grey_and_colour_mixed_make_a_dataset_in_colour_and_a_note(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    red = np.zeros((24, 24, 3), np.uint8)
    red[4:, :, 0] = 250
    Image.fromarray(red).save(source / "cat" / "red.png")
    facts = result.run(source)
    assert facts["channels"] == 3
    assert len(facts["mean"]) == 3
    assert any("cat/red.png" in note for note in facts["notes"])
    for split in facts["counts"]:
        samples = open_split(result.dataset, split)
        spread = np.ptp(samples.images.astype(int), axis=-1).max((1, 2))
        assert ((spread > 100) == (samples.samples["path"] == "cat/red.png")).all()


def test_images_that_are_not_read_are_told(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 40)
    for number in range(3):
        (source / "cat" / f"{number}.gif").write_bytes(b"GIF89a")
    assert [note for note in result.run(source)["notes"] if "3 image files were passed over (.gif 3)" in note]
    assert "3 image files were passed over (.gif 3)" in result.report.read_text()


def test_deep_images_that_differ_in_their_range_and_levels_below_zero_are_told(result: Result, tmp_path: Path) -> None:
    source = write_scans(tmp_path / "scans")
    assert not [note for note in result.run(source)["notes"] if "8 bits" in note]
    hot = np.asarray(Image.open(source / "cat" / "image003.png")).copy()
    hot[0, 0] = 5000
    Image.fromarray(hot).save(source / "cat" / "image003.png")
    Image.fromarray(hot.astype(np.int32) - 5000).save(source / "dog" / "scan.tif")
    notes = [note for note in result.run(source)["notes"] if "8 bits" in note]
    assert "in 1 of 81 images of more than 8 bits (such as dog/scan.tif)" in notes[0]
    assert "All 81 images of more than 8 bits are read by the range of 0 to 65,535, since 1 of them (such as cat/image003.png)" in notes[1]
    dark = "all images of more than 8 bits are read 16 times darker because of 1 of 81: the others are within 0 to 4,095"
    assert dark in [doubt["finding"] for doubt in result.facts["doubts"]]


def test_deep_images_of_a_dataset_have_one_range_and_its_model_reads_by_it(result: Result, tmp_path: Path) -> None:
    source = write_scans(tmp_path / "scans")
    result.run(source)
    assert read_description(result.dataset).deep_range == 4095
    bright = np.asarray(Image.open(source / "dog" / "image020.png")).copy()
    bright[0, 0] = 5000
    Image.fromarray(bright).save(source / "dog" / "image020.png")
    result.run(source)
    assert read_description(result.dataset).deep_range == 65535
    live = SimpleNamespace(model=SimpleNamespace(description=model_description(image_size=32, channels=1, deep_range=65535)))
    for split in read_description(result.dataset).counts:
        packed = open_split(result.dataset, split)
        for image, path in zip(packed.images, packed.samples["path"], strict=True):
            levels = np.asarray(Image.open(source / path))
            assert abs(int(image.max()) - levels.max() / 257) <= 1
            assert np.array_equal(_pixels((source / path).read_bytes(), live, MOST_PIXELS)[0], image)


def test_a_source_follows_the_range_of_the_champion_that_reads_its_images_and_one_beyond_it_is_refused(tmp_path: Path) -> None:
    result, source = Result(tmp_path), write_scans(tmp_path / "scans")
    for old, new in (("cat", "bright"), ("dog", "dark")):
        (source / old).rename(source / new)
    store, _ = build_serving_store(tmp_path)
    model = registry.description(store, "1")
    store.put("versions/1/model.json", model.model_copy(update={"deep_range": 65535}).model_dump_json().encode())
    notes = result.run(source)["notes"]
    assert read_description(result.dataset).deep_range == 65535
    assert "All 80 images of more than 8 bits are read by the range of 0 to 65,535, as by the model that serves, though" in " ".join(notes)
    store.put("versions/1/model.json", model.model_copy(update={"deep_range": 255}).model_dump_json().encode())
    with pytest.raises(InputError, match=r"scans: 80 images of more than 8 bits \(such as bright/image.*\) go beyond 0 to 255, by which"):
        result.run(source)
    store.put("versions/1/model.json", model.model_dump_json().encode())
    result.run(source)
    assert read_description(result.dataset).deep_range == 4095, "a model without a range leaves the source its own"


def test_a_test_split_of_the_source_stays_the_test_split(result: Result, tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "train", 60)
    write_classes(tmp_path / "pets" / "test", 15, name="test", classes=("dog", "cat"))
    facts = result.run(tmp_path / "pets")
    assert facts["counts"]["test"] == 30
    assert open_split(result.dataset, "test").samples["path"].str.startswith("test/").all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image_size": 4}, SettingError, "data_image_size: 4 is outside 32..512"),
        ({"wrkers": 2}, SettingError, r"data_config.wrkers: no such setting \(did you mean data_config.workers\?\)"),
        ({"group_pattern": "("}, SettingError, "data_config.group_pattern"),
        ({"max_broken_share": 2}, SettingError, "data_config.max_broken_share"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    result: Result, pets: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        result.run(pets, **change)
    assert "\n" not in str(caught.value)
    assert not list(result.store.list())


def test_more_chunks_and_processes_than_one(result: Result, tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", 150)
    facts = result.run(source, workers=2)
    assert sum(facts["counts"].values()) == 300


def test_one_flat_folder_of_classes_that_file_names_tell(result: Result, pets: Path, tmp_path: Path) -> None:
    result.run(pets)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pets.rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}_{path.name}")
    named = Result(tmp_path / "named")
    assert named.run(flat, classes="dog,cat")["classes"] == ["cat", "dog"]
    assert named.facts["counts"] == result.facts["counts"]
    for split in ("train", "test"):
        rows = [open_split(dataset, split) for dataset in (named.dataset, result.dataset)]
        by_class, folders = ({tuple(row) for row in split.samples[["sha256", "label"]].to_numpy()} for split in rows)
        assert by_class == folders


def test_three_classes(result: Result, tmp_path: Path) -> None:
    facts = result.run(write_classes(tmp_path / "pets", 20, ("cat", "dog", "eel")))
    assert facts["classes"] == ["cat", "dog", "eel"]
    assert set(open_split(result.dataset, "train").labels) == {0, 1, 2}


def test_a_store_whose_champion_is_for_other_images_is_refused_before_they_are_read(tmp_path: Path, pets: Path) -> None:
    result = Result(tmp_path)
    build_serving_store(tmp_path)
    before = list(result.store.list())
    with pytest.raises(InputError, match="version 1, which serves there, knows bright, dark, and this source has cat, dog; give another"):
        result.run(pets)
    squares = write_classes(tmp_path / "squares", 20, ("bright", "dark"))
    with pytest.raises(InputError, match=r"takes images of 32 px, .* 64 px; give another --store, or data_image_size=32"):
        result.run(squares, image_size=64)
    with pytest.raises(InputError, match=r"made square by 'stretch', .* by 'pad'; give another --store, or data_config.resize=stretch$"):
        result.run(squares, resize="pad")
    assert list(result.store.list()) == before
    assert result.run(squares, image_size=32)["classes"] == ["bright", "dark"]


def test_few_groups_are_balanced_and_what_they_cannot_decide_is_said(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "panels"
    rng = np.random.default_rng(0)
    for lot in range(18):
        for label in ("broken", "whole"):
            (source / label).mkdir(parents=True, exist_ok=True)
            for image in range(4):
                pixels = np.kron(rng.integers(0, 256, (6, 6), np.uint8), np.ones((4, 4), np.uint8))
                Image.fromarray(pixels).save(source / label / f"lot{lot:02d}-{image}.png")
    facts = result.run(source, group_pattern=r"^(lot\d+)-")
    assert read_description(result.dataset).naming == {"group_pattern": r"^(lot\d+)-"}, "a new site's files are read by the same"
    assert facts["groups_by_split"] == {"reference": 8, "stream": 2, "test": 2, "train": 5, "val": 1}
    assert facts["counts"] == {split: 8 * groups for split, groups in facts["groups_by_split"].items()}
    assert [note[:14] for note in facts["notes"]] == ["The drift refe", "The test split", "Of 18 groups t"]
    assert facts["notes"][0] in capsys.readouterr().out
    assert facts["notes"][2].split(" since")[0] in result.report.read_text()
    assert facts["kept_in_place"] == 0
    assert result.run(source, group_pattern=r"^(lot\d+)-")["kept_in_place"] == 144


def test_a_training_by_itself_keeps_no_images_for_a_replay_and_a_full_loop_without_any_is_refused(result: Result, pets: Path) -> None:
    assert result.run(pets, replayed=False)["counts"].keys() == {"train", "val", "test", "reference"}
    before = list(result.store.list())
    with pytest.raises(InputError, match=r"no image is left to replay as traffic \(its share is 0\); raise data_config.stream_share"):
        result.run(pets, stream_share=0)
    assert list(result.store.list()) == before


def test_tags_of_names_and_of_the_table_reach_the_dataset_and_leave_the_splits_alone(result: Result, pets: Path, tmp_path: Path) -> None:
    plain = result.run(pets)
    split_of = read_samples(read_description(result.dataset)).set_index("path")["split"]
    tagged, paths = Result(tmp_path / "tagged"), sorted(path.relative_to(pets).as_posix() for path in pets.rglob("*.png"))
    (tmp_path / "pets").symlink_to(pets)
    (tmp_path / "tags.csv").write_text("file,site\n" + "".join(f"pets/{path},{'AB'[row % 2]}\n" for row, path in enumerate(paths)))
    facts = tagged.run(tmp_path, group_pattern=r"(?P<ward>\d)(?P<group>\d\d)")
    samples = read_samples(read_description(tagged.dataset)).assign(path=lambda table: table["path"].str.removeprefix("pets/"))
    assert facts["manifest_hash"] != plain["manifest_hash"]
    assert dict(zip(samples["path"], samples["tags"], strict=True)) == {
        path: json.dumps({"site": "AB"[row % 2], "ward": path[-7]}) for row, path in enumerate(paths)
    }
    assert set(samples["group"]) == {path[-6:-4] for path in paths}, "the group called group, wherever it stands"
    assert set(split_of) == set(samples["split"])


def test_tags_of_names_have_limits_too(result: Result, pets: Path) -> None:
    with pytest.raises(SettingError, match=r"data_config.group_pattern: tag 'number' has 60 different values, 10 are allowed"):
        result.run(pets, group_pattern=r"(image)(?P<number>\d+)")
    with pytest.raises(SettingError, match=r"data_config.group_pattern: tag 'Ward': a name of lower-case letters"):
        result.run(pets, group_pattern=r"(image)(?P<Ward>\d)")


def test_too_few_groups_are_refused_before_anything_is_stored(result: Result, pets: Path) -> None:
    with pytest.raises(InputError, match=r"the drift reference gets images of \d of 10 distinct groups"):
        result.run(pets, group_pattern=r"(\d)\.png$")
    assert not list(result.store.list())


def test_a_critical_class_that_the_source_does_not_have_is_refused_before_anything_is_read(pets: Path, tmp_path: Path) -> None:
    store, places = LocalStore(tmp_path / "store"), (str(tmp_path / "dataset"), str(tmp_path / "report.html"))
    with pytest.raises(SettingError, match=r"^critical_classes: 'dgo' is no class of this model \("):
        run(
            str(pets), "a" * 64, *places, image_size=32, seed=1, store=store.uri, replayed=False, critical_classes="dgo", config=ONE_PROCESS
        )
    assert not list(store.list("datasets/"))


def test_of_many_classes_the_first_mean_images_are_shown_which_fill_no_more_than_a_page() -> None:
    classes = [f"leaf{number}" for number in range(100)]
    some = np.zeros((100, 1), np.float32)
    statistics = ClassStatistics(("brightness",), some, np.arange(100), np.zeros((100, 8, 8, 1)), np.zeros((1, 256), np.int64))
    images, captions = mean_images(statistics, classes)
    assert (len(images), captions) == (20, classes[:20])
