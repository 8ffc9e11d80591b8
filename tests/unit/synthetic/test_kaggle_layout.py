"""The files of a synthetic source: Kaggle's layout, whole patients in one split, the same bytes for the same seed."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from driftloop.dataset.splitting import KNOWN_PATTERNS, group_of
from driftloop.synthetic import SPLIT_SIZES, write_kaggle_layout
from driftloop.synthetic.kaggle_layout import schedule


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle_layout("xray", tmp_path_factory.mktemp("kaggle"), seed=1, scale=0.05)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_every_split_has_both_classes_as_jpeg_files(root: Path) -> None:
    assert root.name == "chest_xray"
    counts = Counter(path.parent.parent.name for path in files(root))
    assert counts == {split: max(8, round(0.05 * count)) for split, count in SPLIT_SIZES.items()}
    for split in SPLIT_SIZES:
        assert {folder.name for folder in (root / split).iterdir()} == {"NORMAL", "PNEUMONIA"}
    with Image.open(files(root)[0]) as image:
        assert image.format == "JPEG"
        assert image.mode == "L"


def test_the_full_sizes_are_those_that_decide_honestly() -> None:
    assert SPLIT_SIZES == {"train": 1200, "val": 300, "test": 1500, "reference": 800, "stream": 2700}


def test_patients_are_in_the_file_names_and_in_one_split_only(root: Path) -> None:
    groups = {}
    for path in files(root):
        group = group_of(path.name, "none", KNOWN_PATTERNS)
        number = int("".join(character for character in group if character.isdigit()))
        assert not group.startswith("sha256")
        groups.setdefault(number, set()).add(path.parent.parent.name)
    assert all(len(splits) == 1 for splits in groups.values())


def test_some_training_patients_have_several_images() -> None:
    images = Counter(visit.patient for visit in schedule(500, 1, seed=1, several=True))
    assert max(images.values()) == 3
    assert sum(count == 1 for count in images.values()) > 0.7 * len(images)


def test_about_one_training_label_in_a_hundred_is_wrong(tmp_path: Path) -> None:
    sizes = {"train": 1000, "val": 8, "test": 300, "reference": 8, "stream": 8}
    from driftloop.synthetic import kaggle_layout

    planned = list(kaggle_layout._image_files("xray", tmp_path, sizes, 1))
    wrong = Counter(file.path.parts[-3] for file in planned if file.path.parent.name != ("NORMAL", "PNEUMONIA")[file.label])
    assert set(wrong) == {"train"}
    assert 2 <= wrong["train"] <= 25


def test_the_same_seed_writes_the_same_bytes_also_by_several_processes(root: Path, tmp_path: Path) -> None:
    again = write_kaggle_layout("xray", tmp_path, seed=1, scale=0.05, workers=2)
    assert [path.relative_to(again) for path in files(again)] == [path.relative_to(root) for path in files(root)]
    assert all(first.read_bytes() == second.read_bytes() for first, second in zip(files(again), files(root), strict=True))


def test_another_seed_writes_other_images(root: Path, tmp_path: Path) -> None:
    other = write_kaggle_layout("xray", tmp_path, seed=2, scale=0.02)
    contents = {path.read_bytes() for path in files(root)}
    assert not any(path.read_bytes() in contents for path in files(other))


def test_a_longer_stream_leaves_every_other_image_as_it_was(root: Path, tmp_path: Path) -> None:
    longer = write_kaggle_layout("xray", tmp_path, seed=1, scale=0.05, stream=200)
    before = {path.relative_to(root): path.read_bytes() for path in files(root)}
    after = {path.relative_to(longer): path.read_bytes() for path in files(longer)}
    assert {name: after[name] for name in before} == before
    assert sum(name.parts[0] == "stream" for name in after) == 200
