"""Every kind of source: checked, hashed by content, and opened as files."""

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from driftloop.cli.init import look_at
from driftloop.errors import InputError
from driftloop.sources import check_source, opened, resolve, s3, write_source, zip_file
from driftloop.sources.built_in import with_stream
from driftloop.store import open_store
from tests.factories.image_folders import write_classes, write_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pets")


def zip_of(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder.parent).as_posix())
    return target


def test_a_folders_path_becomes_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert check_source("pets") == str(folder)
    assert resolve("pets") == resolve(str(folder))


def test_messages_name_the_path_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "chest").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^data/chest: no class folders found \(expected <split>/<class>/\*\.jpeg or <class>/\*\.jpeg\)$"):
        check_source("data/chest")


def test_the_hash_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    before = resolve(str(folder))
    assert len(before) == 64
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    assert resolve(str(copy)) == before, "the place and the times do not matter"
    path = copy / "cat" / "image003.png"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert resolve(str(copy)) != before, "the same size and time, but another byte"


def test_renaming_moving_adding_and_removing_change_the_hash(folder: Path) -> None:
    hashes = [resolve(str(folder))]
    (folder / "cat" / "image000.png").rename(folder / "cat" / "other.png")
    hashes.append(resolve(str(folder)))
    (folder / "cat" / "other.png").rename(folder / "dog" / "other.png")
    hashes.append(resolve(str(folder)))
    (folder / "dog" / "other.png").unlink()
    hashes.append(resolve(str(folder)))
    assert len(set(hashes)) == 4


def test_a_zip_is_read_like_the_folder_in_it(folder: Path, tmp_path: Path) -> None:
    archive = zip_of(folder, tmp_path / "pets.zip")
    assert check_source(str(archive)) == str(archive)
    assert len(resolve(str(archive))) == 64
    with opened(str(archive), seed=1) as local:
        assert {file.label for file in local.files} == {"cat", "dog"}
        assert len(local.files) == 24
        with Image.open(local.root / local.files[0].path) as image:
            assert image.size == (24, 24)
        root = local.root
    assert not root.exists()


def test_a_folder_is_read_in_place(folder: Path) -> None:
    with opened(str(folder), seed=1) as local:
        assert local.root == folder
    assert folder.exists()


def test_links_to_files_and_class_folders_are_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "cat").symlink_to(folder / "cat")
    (linked / "dog").symlink_to(folder / "dog")
    (folder / "cat" / "loop").symlink_to(folder)
    with opened(str(linked), seed=1) as local:
        assert {file.label for file in local.files} >= {"cat", "dog"}
    assert len(resolve(str(folder))) == 64


@pytest.mark.parametrize("classes", [("cat",), ("cat", "dog"), ("cat", "dog", "emu")], ids=len)
def test_links_in_a_circle_are_followed_once_around(classes: tuple[str, ...], tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", 10, ("cat", "dog", "emu"))
    for label, following in zip(classes, [*classes[1:], classes[0]], strict=True):
        (tmp_path / "pets" / label / "more").symlink_to(tmp_path / "pets" / following)
    with opened(str(tmp_path / "pets"), seed=1) as local:
        counts = Counter(file.label for file in local.files)
    assert counts == {label: 10 * len(classes) if label in classes else 10 for label in ("cat", "dog", "emu")}


def write_zip(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return path


GOOD = {f"{label}/{number}.png": b"x" for label in "ab" for number in range(10)}


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("../evil.png", b"x", "leads outside"),
        ("/etc/evil.png", b"x", "leads outside"),
        ("a/../../evil.png", b"x", "leads outside"),
        ("C:/evil.png", b"x", "leads outside"),
        ("a/bomb.png", bytes(50 << 20), "unpacks to more than 200 times its size"),
    ],
)
def test_an_unsafe_zip_is_refused_and_nothing_is_unpacked(tmp_path: Path, member: str, data: bytes, message: str) -> None:
    archive = write_zip(tmp_path / "evil.zip", GOOD | {member: data})
    for look in (check_source, resolve):
        with pytest.raises(InputError, match=f"unsafe zip: .*{message}"):
            look(str(archive))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "evil.zip", GOOD | {"a/link.png": b"/etc/passwd"}, link="a/link.png")
    with pytest.raises(InputError, match="is a symbolic link"):
        check_source(str(archive))


def test_too_many_files_or_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "many.zip", GOOD)
    monkeypatch.setattr(zip_file, "MOST_SOURCE_FILES", 19)
    with pytest.raises(InputError, match="20 files, at most 19"):
        check_source(str(archive))
    monkeypatch.undo()
    monkeypatch.setattr(zip_file, "MOST_SOURCE_BYTES", 19)
    with pytest.raises(InputError, match="unpacks to more than"):
        check_source(str(archive))


def test_a_file_called_zip_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(InputError, match="not a readable zip"):
        check_source(str(tmp_path / "no.zip"))


def test_a_damaged_member_becomes_an_empty_file_for_the_audit(folder: Path, tmp_path: Path) -> None:
    archive = zip_of(folder, tmp_path / "pets.zip")
    data = bytearray(archive.read_bytes())
    data[data.find(b"IHDR") + 4] ^= 255
    archive.write_bytes(bytes(data))
    with opened(str(archive), seed=1) as local:
        sizes = [(local.root / file.path).stat().st_size for file in local.files]
    assert sizes.count(0) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the source is empty; give a folder"),
        ("no/such/place", "no/such/place: no such file or folder"),
        ("synthetic:xary", r"no such synthetic source \(did you mean synthetic:xray\?\)"),
        ("synthetic:cat", r"no such synthetic source"),
        ("digit", r"did you mean digits\?"),
        ("synthetic:xray?scal=1", r"no option 'scal' \(did you mean scale\?\)"),
        ("synthetic:xray?scale=much", "scale=much must be a number"),
        ("synthetic:xray?stream=0.5", "stream=0.5 must be an integer"),
        ("synthetic:xray?seed=1.5", "seed=1.5 must be an integer"),
        ("synthetic:xray?site=mars", r"no site 'mars' \(known: home, other\)"),
        ("pyproject.toml", "neither a folder nor a .zip"),
    ],
)
def test_a_wrong_source_is_one_clear_line(source: str, message: str) -> None:
    for look in (check_source, resolve):
        with pytest.raises(InputError, match=message) as caught:
            look(source)
        assert "\n" not in str(caught.value)


def test_built_in_sources_are_hashed_by_name_and_options() -> None:
    sources = ["digits", "synthetic:xray", "synthetic:roof", "synthetic:xray?scale=0.5", "synthetic:xray?site=other"]
    assert len({resolve(source) for source in sources}) == len(sources)
    assert resolve("synthetic:xray?scale=1") == resolve("synthetic:xray")


def test_a_longer_stream_is_another_source_and_a_stream_that_is_named_stays(tmp_path: Path) -> None:
    longer = with_stream("synthetic:xray?scale=0.01", 40)
    assert longer == "synthetic:xray?scale=0.01&stream=40"
    assert resolve(longer) != resolve("synthetic:xray?scale=0.01")
    assert with_stream(longer, 99) == longer
    assert with_stream("digits", 40) == "digits"
    assert with_stream(str(tmp_path), 40) == str(tmp_path)


def test_a_synthetic_source_takes_the_runs_seed_unless_it_names_one() -> None:
    def first(source: str, seed: int) -> bytes:
        with opened(source, seed=seed, workers=1) as local:
            return (local.root / local.files[0].path).read_bytes()

    assert first("synthetic:xray?scale=0.01", 1) != first("synthetic:xray?scale=0.01", 2)
    assert first("synthetic:xray?scale=0.01&seed=5", 1) == first("synthetic:xray?scale=0.01&seed=5", 2)


def test_digits_are_the_1797_real_ones_as_png_by_class(tmp_path: Path) -> None:
    said = write_source("digits", tmp_path / "new", 1)
    root = tmp_path / "new" / "digits"
    assert said == f"1,797 images in {root}; use them with --source {root}"
    assert sorted(path.name for path in root.iterdir()) == [str(number) for number in range(10)]
    assert len(resolve(str(root))) == 64


def test_written_images_never_mix_with_what_is_there(folder: Path) -> None:
    with pytest.raises(InputError, match="not an empty folder"):
        write_source("digits", folder, 1)
    with pytest.raises(InputError, match=r"not a built-in source \(did you mean digits\?\)"):
        write_source("digit", folder / "new", 1)


def test_a_folder_and_a_zip_in_s3(folder: Path, tmp_path: Path, s3_uri: str) -> None:
    store = open_store(f"{s3_uri}/images")
    for path in folder.rglob("*.png"):
        store.upload(path.relative_to(folder).as_posix(), path)
    before = resolve(f"{s3_uri}/images")
    assert check_source(f"{s3_uri}/images") == f"{s3_uri}/images"
    with opened(f"{s3_uri}/images", seed=1) as local:
        assert len(local.files) == 24
        assert (local.root / "cat/image000.png").read_bytes() == (folder / "cat/image000.png").read_bytes()
    store.upload("cat/image000.png", folder / "cat/image001.png")
    assert resolve(f"{s3_uri}/images") != before
    open_store(s3_uri).upload("pets.zip", zip_of(folder, tmp_path / "pets.zip"))
    assert len(resolve(f"{s3_uri}/pets.zip")) == 64
    with opened(f"{s3_uri}/pets.zip", seed=1) as local:
        assert len(local.files) == 24
    with pytest.raises(InputError, match="no such file or folder in this bucket"):
        resolve(f"{s3_uri}/nothing")


def test_one_flat_folder_is_told_by_its_file_names_however_it_comes(tmp_path: Path, s3_uri: str) -> None:
    flat = tmp_path / "pets"
    flat.mkdir()
    for path in sorted(write_classes(tmp_path / "classes").rglob("*.png")):
        shutil.copy(path, flat / f"{path.parent.name}.{path.name}")
    (flat / "tags.csv").write_text("file,site\ncat.image000.png,north\n")
    sources = [str(flat), *(shutil.make_archive(str(tmp_path / "pets"), form, flat) for form in ("zip", "tar", "gztar"))]
    for path in (*flat.iterdir(), Path(sources[1]), Path(sources[3])):
        open_store(f"{s3_uri}/images" if path.parent == flat else s3_uri).upload(path.name, path)
    for source in (*sources, *(f"{s3_uri}/{name}" for name in ("images", "pets.zip", "pets.tar.gz"))):
        assert len(resolve(source, "cat,dog")) == 64
        with opened(source, seed=1, classes="cat,dog") as local:
            assert Counter(file.label for file in local.files) == {"cat": 12, "dog": 12}
            assert [file.path for file in local.files if "north" in file.tags] == ["cat.image000.png"]
            assert all((local.root / file.path).is_file() for file in local.files)
    for source in (*sources, f"{s3_uri}/images"):
        with pytest.raises(InputError, match=r"no class folders found .*; if file names tell the classes, .*data_config\.classes=cat,dog$"):
            check_source(source)


def test_an_s3_folder_has_a_limit_as_a_zip_has(folder: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, size = open_store(s3_uri), 0
    for path in sorted(folder.rglob("*.png")):
        store.upload(path.relative_to(folder).as_posix(), path)
        size += path.stat().st_size
    store.put("notes.txt", bytes(1000))
    monkeypatch.setattr(s3, "MOST_SOURCE_BYTES", size)
    monkeypatch.setattr(s3, "MOST_SOURCE_FILES", 24)
    with opened(s3_uri, seed=1) as local:
        assert len(local.files) == 24
    monkeypatch.setattr(s3, "MOST_SOURCE_BYTES", size - 1)
    with pytest.raises(InputError, match=r"more than 0 GiB to fetch; run `driftloop run ingest` first, or"), opened(s3_uri, seed=1):
        pass
    monkeypatch.setattr(s3, "MOST_SOURCE_BYTES", size)
    monkeypatch.setattr(s3, "MOST_SOURCE_FILES", 23)
    with pytest.raises(InputError, match=r"more than 23 images to fetch; run `driftloop run ingest` first, or"), opened(s3_uri, seed=1):
        pass
    with opened(s3_uri, seed=1, fetched=False) as listed:
        assert len(listed.files) == 24
        assert not [path for path in listed.root.rglob("*") if path.is_file()]
    monkeypatch.setattr(s3, "MOST_LISTED_FILES", 25)
    assert check_source(s3_uri) == s3_uri
    monkeypatch.setattr(s3, "MOST_LISTED_FILES", 24)
    for look in (check_source, resolve):
        with pytest.raises(InputError, match="more than 24 files; name the folder in it that holds the class folders"):
            look(s3_uri)


@pytest.mark.parametrize("as_zip", [False, True])
def test_what_the_disk_has_no_room_for_is_not_fetched(
    folder: Path, tmp_path: Path, s3_uri: str, monkeypatch: pytest.MonkeyPatch, as_zip: bool
) -> None:
    source = f"{s3_uri}/pets.zip" if as_zip else s3_uri
    if as_zip:
        open_store(s3_uri).upload("pets.zip", zip_of(folder, tmp_path / "pets.zip"))
    else:
        for path in folder.rglob("*.png"):
            open_store(s3_uri).upload(path.relative_to(folder).as_posix(), path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(InputError, match=r"takes 0 MiB, and .* has room for 0; set TMPDIR"), opened(source, seed=1):
        pass


def test_resolving_needs_neither_torch_nor_scikit_learn(folder: Path) -> None:
    script = (
        "import sys; from components.source_resolution.step import run; run(sys.argv[1]); run('digits'); run('synthetic:xray');"
        "assert not {'torch', 'sklearn', 'kfp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True)


def test_unreadable_files_are_named(folder: Path) -> None:
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    for refuse in (resolve, check_source, look_at):
        with pytest.raises(InputError, match=r"gone\.png: No such file or directory; make it readable or remove it$"):
            refuse(folder if refuse is look_at else str(folder))


def test_files_of_images_that_are_not_read_are_counted_in_a_folder_and_in_a_zip(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "moving.gif").write_bytes(b"GIF89a")
    archive = zip_of(folder, tmp_path / "pets.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.write(folder / "cat" / "moving.gif", "pets/cat/moving.gif")
    for source in (folder, archive):
        with opened(str(source), seed=1) as local:
            assert (len(local.files), local.unread) == (24, {".gif": 1})


def test_images_of_every_suffix_are_listed(tmp_path: Path) -> None:
    for suffix in (".jpeg", ".bmp", ".tiff", ".webp"):
        for label in ("cat", "dog"):
            write_images(tmp_path / label, 3, suffix=suffix, name=suffix[1:])
    with opened(str(tmp_path), seed=1) as local:
        assert len(local.files) == 24
