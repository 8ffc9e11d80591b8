"""Which files are images of which class and split, told by their names."""

import unicodedata
from collections import Counter
from typing import Literal

import pytest

from driftloop.contracts import IMAGE_SUFFIXES
from driftloop.errors import InputError
from driftloop.sources.folder import SourceFile, arrange, list_names, unread_note


def names(*folders: str, count: int = 10, suffix: str = ".png") -> list[str]:
    return [f"{folder}/{number}{suffix}" for folder in folders for number in range(count)]


def summary(files: list[SourceFile]) -> set[tuple[str, str]]:
    return {(file.split, file.label) for file in files}


def test_plain_class_folders() -> None:
    assert summary(arrange(names("cat", "dog"), "data")) == {("", "cat"), ("", "dog")}


def test_split_folders_as_kaggle_has_them() -> None:
    paths = names(*(f"{split}/{label}" for split in ("train", "val", "test") for label in ("NORMAL", "PNEUMONIA")), suffix=".jpeg")
    assert summary(arrange(paths, "data")) == {(split, label) for split in ("train", "val", "test") for label in ("NORMAL", "PNEUMONIA")}


def test_other_names_of_splits_in_any_case() -> None:
    paths = names("Training/a", "Training/b", "VALID/a", "testing/b", "reference/a", "stream/b")
    assert {split for split, _ in summary(arrange(paths, "data"))} == {"train", "val", "test", "reference", "stream"}


def test_kaggles_zip_with_its_wrapper_its_copy_and_its_litter() -> None:
    inner = names("chest_xray/train/a", "chest_xray/train/b", "chest_xray/test/a")
    litter = [f"chest_xray/{path}" for path in inner] + [f"chest_xray/__MACOSX/{path}" for path in inner] + ["chest_xray/.DS_Store"]
    files = arrange(inner + litter, "data")
    assert [file.path for file in files] == sorted(inner)


def test_all_suffixes_in_any_case_and_nothing_else() -> None:
    suffixes = (*IMAGE_SUFFIXES, ".PNG", ".TIFF")
    paths = [f"{label}/{number}{suffix}" for label in "ab" for suffix in suffixes for number in range(2)]
    assert len(arrange([*paths, "a/notes.txt", "a/.hidden.png", "b/model.onnx"], "data")) == len(paths)


def test_images_that_are_not_read_are_counted_by_their_endings() -> None:
    unread = ["a/1.gif", "a/2.GIF", "b/x/3.heic", "preview.svg", "a/.4.gif", "__MACOSX/a/5.gif", "a/notes.txt"]
    listing = list_names([*names("a", "b"), *unread], "data")
    assert (len(listing.files), listing.unread) == (20, {".gif": 2, ".heic": 1, ".svg": 1})
    (note,) = unread_note(listing.unread)
    assert note.startswith("4 image files were passed over (.gif 2, .heic 1, .svg 1): only JPEG, PNG, BMP, TIFF, WEBP are read;")
    assert unread_note({".gif": 1})[0].startswith("1 image file was passed over (.gif 1)")
    assert unread_note({}) == []


@pytest.mark.parametrize(
    "paths",
    [names("a", "b", suffix=".gif"), [*names("a"), *names("b", suffix=".gif")], [*names("a", "b", count=4), *names("b", suffix=".gif")]],
)
def test_where_too_few_images_are_left_those_that_are_not_read_are_named(paths: list[str]) -> None:
    with pytest.raises(InputError, match=r"image files were passed over \(\.gif \d+\): only .*; convert those that should count$"):
        list_names(paths, "data")


def test_images_in_deeper_folders_belong_to_their_class() -> None:
    assert summary(arrange(names("cat/2024/may", "dog/2023"), "data")) == {("", "cat"), ("", "dog")}


def test_the_order_is_that_of_paths() -> None:
    paths = names("dog", "cat")
    assert [file.path for file in arrange(paths[::-1], "data")] == sorted(paths)


def test_a_name_without_a_listed_class_counts_by_its_folder() -> None:
    files = arrange(names("normal/abnormal", "VIRUS/x"), "data", "NORMAL,VIRUS")
    assert summary(files) == {("", "NORMAL"), ("", "VIRUS")}
    comma = names("tench, Tinca tinca", "eel")
    assert arrange(comma, "fishes", "eel, tench, Tinca tinca") == arrange(comma, "fishes", " , ") == arrange(comma, "fishes")


@pytest.mark.parametrize("below", ["", "photos/", "pets/photos/"])
def test_images_in_one_flat_folder_are_told_by_their_names(below: str) -> None:
    paths = [f"{below}{label}{number}.jpg" for label in ("cat.", "Dog_", "site3-bird-") for number in range(10)]
    files = arrange([*paths, f"{below}tags.csv", f"{below}.cat.jpg"], "data", "cat,dog,bird")
    assert [file.path for file in files] == sorted(paths)
    assert Counter(file.label for file in files) == {"cat": 10, "dog": 10, "bird": 10}
    assert {file.split for file in files} == {""}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_umlauts_of_one_character_and_of_two_are_the_same_class(form: Literal["NFC", "NFD"]) -> None:
    listed = unicodedata.normalize(form, "Mäntel,Hüte")
    flat = [unicodedata.normalize(way, f"{label}_{n}.png") for label in ("Mäntel", "HÜTE") for n in range(9) for way in ("NFC", "NFD")]
    assert Counter(file.label for file in arrange(flat, "data", listed)) == {"Mäntel": 18, "Hüte": 18}
    folders = names("train/Mäntel", unicodedata.normalize("NFD", "test/Mäntel"), "train/Schuhe")
    assert summary(arrange(folders, "data")) == {("train", "Mäntel"), ("test", "Mäntel"), ("train", "Schuhe")}
    assert [file.path for file in arrange(folders, "data")] == sorted(folders)


def test_capitals_without_dots_tell_a_class_with_a_dotless_i() -> None:
    paths = [f"{label}_{n}.png" for label in ("KIRMIZI", "yeşil") for n in range(10)]
    assert Counter(file.label for file in arrange(paths, "data", "kırmızı,yeşil")) == {"kırmızı": 10, "yeşil": 10}


def test_images_of_flat_splits_are_told_by_their_names() -> None:
    paths = [f"pets/{split}/{label}.{number}.jpg" for split in ("train", "valid") for label in ("cat", "dog") for number in range(10)]
    assert summary(arrange(paths, "data", "cat,dog")) == {(split, label) for split in ("train", "val") for label in ("cat", "dog")}


def test_images_beside_class_folders_count_only_where_their_names_tell_a_class() -> None:
    classed = names("train/cat", "train/dog")
    assert len(arrange([*classed, "train/overview.png", "overview.png"], "data", "cat,dog")) == 20
    files = arrange([*classed, "train/dog.7.png", "overview.png"], "data", "cat,dog")
    assert Counter(file.label for file in files) == {"cat": 10, "dog": 11}
    assert len(arrange([*classed, "train/dog.7.png"], "data")) == 20


@pytest.mark.parametrize(
    ("paths", "classes", "message"),
    [
        (
            ["NORMAL/normal_virus.jpeg"],
            "NORMAL,VIRUS",
            r"^data: data_config.classes=NORMAL,VIRUS: .*virus\.jpeg names NORMAL and VIRUS",
        ),
        ([*names("cat", "dog"), "cat/eel.png"], "dog", r"cat/0\.png names none of them, nor does its folder; rename it, or list the cla"),
        ([*(f"cat{n}.png" for n in range(10)), "puma.png"], "cat,dog", r"puma\.png names none of them, nor does its folder"),
        ([f"{label}{n}.png" for label in ("cat", "dog") for n in range(9)], "cat,dog", "class 'cat' has 9 images; at least 10 are needed"),
        ([f"cat{n}.png" for n in range(10)], "cat,dog", "only one class .*'cat'"),
        ([f"cat{n}.png" for n in range(10)], "eel,dog", "no class folders found"),
        (
            [f"{label}.{n}.png" for label in ("cat", "dog") for n in range(9)],
            "",
            r"no class folders found \(expected .*\); if file names tell the classes, list them: data_config\.classes=cat,dog$",
        ),
        (
            [f"{split}/{label}_{n}.png" for split in ("train", "test") for label in ("Cat", "dog") for n in range(9)],
            "",
            r"are splits, not classes: .*; if file names tell the classes, list them: data_config\.classes=cat,dog$",
        ),
        (
            [f"{unicodedata.normalize('NFD', label)}.{n}.png" for label in ("hüte", "schuhe") for n in range(9)],
            "",
            r"list them: data_config\.classes=hüte,schuhe$",
        ),
        ([f"IMG_{n}.png" for n in range(9)], "", r"<class>/\*\.jpeg\)$"),
    ],
)
def test_what_names_do_not_tell_is_one_clear_line(paths: list[str], classes: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        arrange(paths, "data", classes)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], r"data: no class folders found \(expected <split>/<class>/\*\.jpeg or <class>/\*\.jpeg\)"),
        (["1.png", "2.png"], "no class folders found"),
        (names("data/Test", "data/train"), r"data: Test, train are splits, not classes: no class folders found in them \(expected"),
        (["train/1.png"], "only one class folder with images"),
        (names("cat"), r"only one class folder with images \('cat'\); a classifier needs at least two"),
        (names("cat", "caf\udce9"), r"^data: the name of class folder 'caf\\udce9' is not UTF-8; rename it$"),
        (names("test/a", "test/b"), "has test but no train folder"),
        (names("train/a", "train/b", "test/c"), r"class 'c' is in test/ but not in train/"),
        ([*names("cat"), *names("dog", count=3)], r"class 'dog' has 3 images; at least 10 are needed, two for each of train, val"),
        ([*names("cat"), *names("dog", count=1)], "class 'dog' has 1 image;"),
        (
            [*names("pets/cat", "pets/dog"), *names("notes", count=2)],
            "class 'notes' has 2 images; .*; if cat, dog in pets are the classes, give data/pets$",
        ),
        (
            names("chest/train/a", "chest/train/b", "cells/a"),
            "chest has splits of its own, so it is no class but a source; give data/chest$",
        ),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(paths: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        arrange(paths, "data")
    assert "\n" not in str(caught.value)
