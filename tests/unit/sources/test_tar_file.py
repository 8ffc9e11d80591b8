"""Tars of images, which may come from anywhere."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from driftloop.errors import InputError
from driftloop.sources import check_source, opened, resolve, s3, tar_file
from driftloop.store import open_store
from tests.factories.image_folders import write_classes

GOOD = [f"{label}/{number}.png" for label in "ab" for number in range(10)]


def write_tar(path: Path, *more: tarfile.TarInfo, names: list[str] = GOOD, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for member in (*map(tarfile.TarInfo, names), *more):
            member.size = member.size or len(content) * member.isreg()
            archive.addfile(member, io.BytesIO(content.ljust(member.size, b"\0")))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_names_with_a_leading_point_are_those_below_the_folder_and_the_table_of_tags_is_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets")
    (tmp_path / "pets" / "tags.csv").write_text("file,site\ncat/image000.png,north\n")
    with tarfile.open(tmp_path / "pets.tgz", "w:gz") as archive:
        archive.add(tmp_path / "pets", ".")
    with opened(str(tmp_path / "pets.tgz"), seed=1) as local:
        assert {file.path for file in local.files} == {f"{c}/image{n:03d}.png" for c in ("cat", "dog") for n in range(12)}
        assert (local.root / "cat" / "image003.png").read_bytes() == (tmp_path / "pets" / "cat" / "image003.png").read_bytes()
        assert "north" in local.files[0].tags
        root = local.root
    assert not root.exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../evil.png"), "leads outside"),
        (member("/etc/evil.png"), "leads outside"),
        (member("a/link.png", tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (member("a/link.png", tarfile.LNKTYPE, linkname="../../etc/passwd"), "is a link"),
        (member("a/pipe.png", tarfile.FIFOTYPE), "is no plain file"),
        (member("a/device.png", tarfile.CHRTYPE, devmajor=1, devminor=8), "is no plain file"),
        (member("a/bomb.png", size=50 << 20), "unpacks to more than 200 times its size"),
    ],
)
def test_an_unsafe_tar_is_refused_and_nothing_is_unpacked(tmp_path: Path, bad: tarfile.TarInfo, message: str) -> None:
    archive = write_tar(tmp_path / "evil.tar.gz", bad)
    for look in (check_source, resolve):
        with pytest.raises(InputError, match=f"unsafe tar: .*{message}") as caught:
            look(str(archive))
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar.gz"]


def test_too_many_files_or_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_tar(tmp_path / "many.tar")
    monkeypatch.setattr(tar_file, "MOST_SOURCE_FILES", 19)
    with pytest.raises(InputError, match="more than 19 files"):
        check_source(str(archive))
    monkeypatch.undo()
    monkeypatch.setattr(tar_file, "MOST_SOURCE_BYTES", 19)
    with pytest.raises(InputError, match="unpacks to more than"):
        check_source(str(archive))


def test_a_header_that_claims_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    header = member("pax", tarfile.XHDTYPE, size=1 << 30)
    (tmp_path / "header.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    with pytest.raises(InputError, match=r"not a readable tar file \(.*bytes"):
        check_source(str(tmp_path / "header.tgz"))


def test_what_is_no_tar_or_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"text")
    noise = write_classes(tmp_path / "pets")
    with tarfile.open(tmp_path / "whole.tgz", "w:gz") as archive:
        archive.add(noise, "pets")
    data = (tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "short.tgz").write_bytes(data[: len(data) // 2])
    for name in ("no.tar", "short.tgz"):
        with pytest.raises(InputError, match=rf"{name}: not a readable tar file \(.*\); pack it anew"):
            check_source(str(tmp_path / name))


def test_of_two_members_of_a_name_the_last_counts(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "twice.tar", member(GOOD[0], size=3))
    with opened(str(archive), seed=1) as local:
        assert [file.path for file in local.files] == sorted(GOOD)
        assert (local.root / GOOD[0]).stat().st_size == 3


def test_a_tar_in_s3(tmp_path: Path, s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.upload("sources/many.tgz", write_tar(tmp_path / "many.tgz"))
    uri = f"{s3_uri}/sources/many.tgz"
    assert len(resolve(uri)) == 64
    assert s3.hash_remote(uri) == resolve(uri)
    with opened(uri, seed=1) as local:
        assert len(local.files) == len(GOOD)
