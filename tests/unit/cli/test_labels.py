"""A CSV of labels is taken only when every line of it can be."""

from pathlib import Path

import pytest

from driftloop.cli.labels import read_labels_csv
from driftloop.errors import InputError

CLASSES = ["NORMAL", "PNEUMONIA"]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_labels_without_an_origin_are_imports(tmp_path: Path) -> None:
    frame = read_labels_csv(write(tmp_path, "request_id,label\na,NORMAL\nb,PNEUMONIA\n"), CLASSES)
    assert frame.to_dict("list") == {"request_id": ["a", "b"], "label": CLASSES, "origin": ["import", "import"]}


def test_requests_that_nobody_labelled_yet_are_left_out(tmp_path: Path) -> None:
    frame = read_labels_csv(write(tmp_path, "request_id,origin,label\na,random,NORMAL\nb,ranked,\n"), CLASSES)
    assert frame["request_id"].tolist() == ["a"]


def test_what_a_spreadsheet_saves_with_semicolons_is_read(tmp_path: Path) -> None:
    frame = read_labels_csv(write(tmp_path, "\ufeffrequest_id;origin;label\na;random;NORMAL\nb;ranked;\n"), CLASSES)
    assert frame.to_dict("list") == {"request_id": ["a"], "label": ["NORMAL"], "origin": ["random"]}


def test_umlauts_of_two_characters_name_the_same_class(tmp_path: Path) -> None:
    lines = "request_id,label\na,M\u00e4ntel\nb,Ma\u0308ntel\nc,M\u00e4ntel\nc,Ma\u0308ntel\n"
    for name in ("M\u00e4ntel", "Ma\u0308ntel"):
        frame = read_labels_csv(write(tmp_path, lines), [name, "Schuh"])
        assert frame["label"].tolist() == [name] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request_id,class\na,NORMAL\n", "no column label"),
        ("request_id,label\na,NORMAL\nb,FLU\n", r"labels.csv:3: label 'FLU' is none of NORMAL, PNEUMONIA"),
        ("request_id;label;origin\r\na;NORMAL;import\r\n\r\nb;FLU;import\r\n", r"labels.csv:4: label 'FLU' is none of"),
        ("request_id,label,origin\na,NORMAL,guess\n", r"origin 'guess' is none of random, by_class, ranked, import"),
        ("request_id,label\na,NORMAL\na,PNEUMONIA\n", "request a is labelled in two ways"),
        ("request_id,label\na,\n", "no labels in it"),
        ("", "not a CSV file"),
    ],
)
def test_bad_files_are_refused_with_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels_csv(write(tmp_path, text), CLASSES)


def test_another_encoding_than_utf_8_is_named_with_its_cure(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("request_id;label\r\na;M\u00e4ntel\r\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"not in UTF-8; save it as 'CSV UTF-8' in the spreadsheet$"):
        read_labels_csv(path, ["M\u00e4ntel", "Schuh"])


def test_blank_lines_are_no_labels(tmp_path: Path) -> None:
    frame = read_labels_csv(write(tmp_path, "request_id,label\n\na,NORMAL\n\n,\nb,PNEUMONIA\n\n"), CLASSES)
    assert frame.to_dict("list") == {"request_id": ["a", "b"], "label": CLASSES, "origin": ["import", "import"]}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_labels_csv(tmp_path / "none.csv", CLASSES)


def test_what_cannot_be_labelled_is_kept_as_such(tmp_path: Path) -> None:
    frame = read_labels_csv(write(tmp_path, "request_id,label,origin\na,?,random\nb,skip,random\nc,NORMAL,random\n"), CLASSES)
    assert frame["label"].tolist() == ["?", "?", "NORMAL"]


def test_a_class_of_that_name_is_a_class(tmp_path: Path) -> None:
    assert read_labels_csv(write(tmp_path, "request_id,label\na,skip\nb,?\n"), ["go", "skip"])["label"].tolist() == ["skip", "?"]
