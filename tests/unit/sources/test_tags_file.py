"""tags.csv: found where the images begin, in every kind of source, and refused in one line."""

import json
import zipfile
from pathlib import Path

import pytest

from driftloop.errors import InputError
from driftloop.sources import check_source, opened, resolve
from driftloop.store import open_store
from tests.factories.image_folders import write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data" / "pets")


def tags(source: str) -> dict[str, str]:
    with opened(source, seed=1) as local:
        return {file.path.rpartition("pets/")[2]: file.tags for file in local.files if file.tags}


def write_tags(folder: Path, *lines: str, header: str = "file,site,device") -> Path:
    path = folder / "tags.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


GOOD = ("cat/image000.png,A,x1", "dog/image003.png, B ,")
READ = {"cat/image000.png": '{"device": "x1", "site": "A"}', "dog/image003.png": '{"site": "B"}'}


def test_a_source_without_the_table_has_no_tags(folder: Path) -> None:
    assert tags(str(folder)) == {}


def test_tags_count_for_the_hash_of_a_folder(folder: Path) -> None:
    before = resolve(str(folder))
    write_tags(folder, *GOOD)
    tagged = resolve(str(folder))
    write_tags(folder, GOOD[0])
    assert len({before, tagged, resolve(str(folder))}) == 3


@pytest.mark.parametrize("place", ["pets", "."])
def test_the_table_lies_beside_the_images_or_in_a_folder_around_them(folder: Path, tmp_path: Path, place: str) -> None:
    wrapped = [line if place == "pets" else f"pets/{line}" for line in GOOD]
    write_tags(folder.parent / place, *wrapped)
    assert tags(str(folder.parent)) == READ
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(path for path in folder.parent.rglob("*") if path.is_file()):
            target.write(path, path.relative_to(folder.parent).as_posix())
    assert tags(str(archive)) == READ


def test_a_table_in_another_spelling_than_its_files_is_theirs(folder: Path) -> None:
    (folder / "cat" / "image000.png").rename(folder / "cat" / "Ko\u0308ln.png")
    write_tags(folder, "cat/K\u00f6ln.png,Ko\u0308ln,x1")
    assert tags(str(folder)) == {"cat/Ko\u0308ln.png": json.dumps({"device": "x1", "site": "K\u00f6ln"})}


def test_the_table_of_a_folder_in_s3(folder: Path, s3_uri: str) -> None:
    write_tags(folder, *GOOD)
    store = open_store(f"{s3_uri}/images")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        store.upload(path.relative_to(folder).as_posix(), path)
    assert tags(f"{s3_uri}/images") == READ
    before = resolve(f"{s3_uri}/images")
    store.upload("tags.csv", write_tags(folder, GOOD[0]))
    assert resolve(f"{s3_uri}/images") != before


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("site,device", ["A,x1"], "the first line must name the columns: file, and one for each tag"),
        ("file", ["cat/image000.png"], "the first line must name the columns"),
        ("file,site,site", ["cat/image000.png,A,B"], "the first line must name the columns"),
        ("file,Site", ["cat/image000.png,A"], "line 2: tag 'Site': a name of lower-case letters"),
        ("file,site", ["cat/image000.png,A,x"], "line 2 has not the 2 columns of the first line"),
        ("file,site", ["cat/image000.png"], "line 2 has not the 2 columns"),
        ("file,site", ["cat/image999.png,A"], "cat/image999.png is not one of the images beside it"),
        ("file,site", ["cat/image000.png,A"] * 2, "line 3 names cat/image000.png a second time"),
        (
            "file,site",
            [f"cat/image{number:03d}.png,{number}" for number in range(11)],
            "tag 'site' has 11 different values, 10 are allowed",
        ),
        ("file,a,b,c,d,e", ["cat/image000.png,1,2,3,4,5"], r"5 tags \(a, b, c, d, e, ...\); images may carry 4"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(folder: Path, header: str, lines: list[str], message: str) -> None:
    path = write_tags(folder, *lines, header=header)
    with pytest.raises(InputError, match=message) as refused:
        check_source(str(folder))
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_table_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "tags.csv").write_bytes(b"file,site\ncat/image000.png,\xff\xfe\n")
    with pytest.raises(InputError, match="not a table in CSV and UTF-8"):
        check_source(str(folder))
