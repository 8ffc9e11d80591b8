"""A source that several processes have read by parts becomes the same dataset as one that one process reads."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data_analysis import parallel
from components.data_analysis.blocks import Blocks, stamped
from components.data_analysis.ingest import FILES_PER_CHUNK, Chunk, chunks_of
from components.data_analysis.parallel import plan, read_shard
from components.data_analysis.step import run
from driftloop.contracts import BLOCK_PLANS, BLOCKS
from driftloop.dataset import open_split, read_description
from driftloop.errors import InputError
from driftloop.sources import SourceFile, opened
from driftloop.sources.s3 import stamp_of
from driftloop.store import Store, open_store
from tests.factories.image_folders import write_classes
from tests.killing import killed_before

SIDE = 32
#: Four chunks, the last of them not full; two shards of two.
IMAGES = 3 * FILES_PER_CHUNK + 20
OTHERWISE: dict[str, Any] = {"remote": "s3://bucket/a", "image_size": 64, "resize": "pad", "deep_range": 4095}
CONFIG = {"workers": 1.0, "shard_files": 2.0 * FILES_PER_CHUNK, "labels_checked": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images, some in colour, some of 12 bits (in the middle), some that are no squares, and three that are broken."""
    root = write_classes(tmp_path_factory.mktemp("parallel") / "pets", IMAGES // 2)
    paths = sorted(root.rglob("*.png"))
    for path in paths[5:390:50]:
        Image.fromarray(np.asarray(Image.open(path).convert("RGB")) // np.array([1, 2, 3], np.uint8)).save(path)
    for path in paths[130:140]:
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * (1 if path in paths[130:133] else 8)).save(path)
    for path in paths[300:310]:
        Image.open(path).crop((0, 0, 24, 16)).save(path)
    for path in paths[::200]:
        path.write_bytes(b"no image")
    (root / "tags.csv").write_text(f"file,site\n{paths[1].relative_to(root).as_posix()},north\n")
    return root


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the dataset that one process makes of it."""
    home = tmp_path_factory.mktemp("alone")
    return analysed(str(folder), open_store(str(home / "store")), home)


@pytest.fixture
def source(store: Store, store_uri: str, folder: Path) -> str:
    """The folder, or the same on S3."""
    return str(folder) if "://" not in store_uri else uploaded(folder, f"{store_uri}-images")


def uploaded(folder: Path, uri: str) -> str:
    bucket = open_store(uri)
    for path in folder.rglob("*.*"):
        bucket.upload(path.relative_to(folder).as_posix(), path)
    return uri


def analysed(source: str, store: Store, home: Path) -> str:
    run(
        source,
        "",
        str(home / "dataset"),
        str(home / "report.html"),
        image_size=SIDE,
        seed=1,
        store=store.uri,
        replayed=False,
        config=CONFIG,
    )
    return read_description(home / "dataset").manifest_hash


def planned(source: str, store: Store) -> list[str]:
    return plan(source, store.uri, image_size=SIDE, config=CONFIG)


def ingest(source: str, store: Store) -> int:
    return sum(read_shard(shard, store.uri, config=CONFIG) for shard in planned(source, store))


def keys(store: Store) -> list[str]:
    return [entry.key for entry in store.list(BLOCKS) if not entry.key.startswith(BLOCK_PLANS)]


def test_two_shards_by_two_processes_make_the_dataset_that_one_makes(source: str, store: Store, alone: str, tmp_path: Path) -> None:
    script = "import sys; from components.data_analysis.parallel import read_shard; read_shard(sys.argv[1], sys.argv[2])"
    shards = planned(source, store)
    assert len(shards) == 2
    processes = [subprocess.Popen([sys.executable, "-c", script, shard, store.uri]) for shard in shards]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(keys(store)) == 4
    assert analysed(source, store, tmp_path) == alone


def test_what_was_read_is_not_read_again_and_what_is_missing_is(source: str, store: Store, alone: str, tmp_path: Path) -> None:
    assert ingest(source, store) == IMAGES
    assert ingest(source, store) == 0
    store.delete(keys(store)[2])
    assert analysed(source, store, tmp_path) == alone
    assert ingest(source, store) in (FILES_PER_CHUNK, 20)


def test_a_shard_that_is_killed_goes_on_after_its_last_block(source: str, store: Store, alone: str, tmp_path: Path) -> None:
    first, second = planned(source, store)
    assert killed_before(1, killed_shard, store.uri, first)
    assert len(keys(store)) == 1
    assert read_shard(first, store.uri, config=CONFIG) == FILES_PER_CHUNK
    assert read_shard(second, store.uri, config=CONFIG) == FILES_PER_CHUNK + 20
    assert analysed(source, store, tmp_path) == alone


def killed_shard(store: Store, shard: str) -> None:
    read_shard(shard, store.uri, config=CONFIG)


def flipped(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


def cut(data: bytes) -> bytes:
    return data[:1000]


def emptied(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [flipped, cut, emptied])
def test_a_damaged_block_is_read_anew_and_replaced(
    source: str, store: Store, alone: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    ingest(source, store)
    whole = {key: store.read(key) for key in keys(store)}
    key = min(whole)
    for mend in (lambda: analysed(source, store, tmp_path), lambda: ingest(source, store)):
        store.put(key, damage(whole[key]))
        capfd.readouterr()
        assert mend() in (alone, FILES_PER_CHUNK, 20)
        said = [line for line in capfd.readouterr().out.splitlines() if "read anew" in line]
        assert len(said) == 1
        assert said[0].startswith(f"{store.uri}/{key}: damaged (its SHA-256 has changed); its ")
        assert store.read(key) == whole[key]


def test_a_block_under_the_name_of_another_is_damaged(folder: Path, tmp_path: Path, alone: str, capfd: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(tmp_path / "store"))
    ingest(str(folder), store)
    first, second, *_ = keys(store)
    store.put(second, store.read(first))
    assert analysed(str(folder), store, tmp_path) == alone
    assert f"{second}: damaged (it is the block {first})" in capfd.readouterr().out


def test_it_is_the_blocks_that_the_dataset_is_made_of(source: str, store: Store, alone: str, tmp_path: Path) -> None:
    """Pixels that no file has come out, where a block says so under its digest."""
    ingest(source, store)
    for key in keys(store):
        body = store.read(key)[64:]
        body = body[: -SIDE * SIDE] + bytes(SIDE * SIDE)
        store.put(key, hashlib.sha256(body).hexdigest().encode() + body)
    assert analysed(source, store, tmp_path) != alone
    splits = [open_split(tmp_path / "dataset", split).images for split in read_description(tmp_path / "dataset").counts]
    black = sum(int((np.asarray(images).reshape(len(images), -1).max(1) == 0).sum()) for images in splits)
    assert black > 0


def test_files_on_s3_are_here_only_while_they_are_read(folder: Path, s3_uri: str, tmp_path: Path) -> None:
    source, store = uploaded(folder, f"{s3_uri}-images"), open_store(s3_uri)
    with opened(source, seed=1, fetched=False) as listed:
        (chunk, *_) = chunks_of(listed.files, {path: stamp_of(info) for path, info in listed.objects.items()})
    read = Blocks(store.uri, source, SIDE, "stretch", None).read(tmp_path / "images", tmp_path, chunk)
    assert len(read.rows) + len(read.broken) == FILES_PER_CHUNK
    assert len(read.broken) == 1
    assert not [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert not keys(store), "who only reads leaves nothing"


@pytest.mark.parametrize("setting", [{"image_size": 40}, {"config": CONFIG | {"resize": "pad"}}])
def test_blocks_of_other_pixels_are_left_alone(folder: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    store, bare = (open_store(str(tmp_path / name)) for name in ("store", "bare"))
    ingest(str(folder), store)
    hashes = []
    for home in (store, bare):
        given: dict[str, Any] = {"image_size": SIDE, "seed": 1, "store": home.uri, "replayed": False, "config": CONFIG} | setting
        run(str(folder), "", str(tmp_path / "dataset"), str(tmp_path / "report.html"), **given)
        hashes.append(read_description(tmp_path / "dataset").manifest_hash)
    assert hashes[0] == hashes[1]


def test_whatever_makes_other_pixels_makes_another_key() -> None:
    blocks, chunk = Blocks("store", "", SIDE, "stretch", None), Chunk(0, [SourceFile("a/1.png", "a", "")], ("0" * 64,))
    others = [replace(blocks, **{name: value}) for name, value in OTHERWISE.items()]
    chunks = [replace(chunk, stamps=("1" * 64,)), replace(chunk, files=[SourceFile("a/2.png", "a", "")])]
    assert len({blocks.key(chunk), *(other.key(chunk) for other in others), *(blocks.key(other) for other in chunks)}) == 7
    same = [replace(blocks, store="elsewhere").key(chunk), blocks.key(replace(chunk, number=5, files=[SourceFile("a/1.png", "b", "test")]))]
    assert set(same) == {blocks.key(chunk)}, "wherever it is kept, and whatever label and split the file has"


def test_a_file_that_is_written_while_the_source_is_read_is_refused(folder: Path, s3_uri: str) -> None:
    source, store = uploaded(folder, f"{s3_uri}-images"), open_store(s3_uri)
    first, second = planned(source, store)
    changed = sorted(folder.rglob("*.png"))[1].relative_to(folder).as_posix()
    open_store(source).put(changed, open_store(source).read(changed))
    with pytest.raises(InputError, match=f"{changed}: changed while the source was read; run again when it is still"):
        read_shard(first, store.uri, config=CONFIG)
    assert read_shard(second, store.uri, config=CONFIG) == FILES_PER_CHUNK + 20
    assert len(keys(store)) == 2


def test_a_file_here_that_is_not_what_was_hashed_is_refused(folder: Path, tmp_path: Path) -> None:
    blocks = Blocks(str(tmp_path / "store"), "", SIDE, "stretch", None)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    (chunk, *_) = chunks_of([SourceFile(name, "", "") for name in names])
    chunk = stamped(folder, chunk)
    wrong = replace(chunk, stamps=(*chunk.stamps[:7], "0" * 64, *chunk.stamps[8:]))
    with pytest.raises(InputError, match=f"{names[7]}: changed while"):
        blocks.make(folder, tmp_path, wrong)
    blocks.make(folder, tmp_path, chunk)
    assert len(keys(open_store(blocks.store))) == 1


@pytest.mark.parametrize("source", ["digits", "synthetic:xray", "pets.zip"])
def test_only_a_folder_is_read_by_parts(tmp_path: Path, folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.make_archive("pets", "zip", folder)
    with pytest.raises(InputError, match=r"only a folder, here or on S3, is read by parts; training reads all other sources itself"):
        planned(source, open_store("store"))


def test_there_are_never_too_many_shards(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MOST_SHARDS", 2)
    few = plan(str(folder), str(tmp_path / "store"), image_size=SIDE, config=CONFIG | {"shard_files": 1})
    assert len(few) == 2


def test_reading_a_shard_needs_neither_torch_nor_scikit_learn() -> None:
    script = "import sys; import components.data_analysis.parallel; assert not {'torch', 'sklearn', 'kfp'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("library", ["numpy", "pillow"])
def test_the_image_that_makes_blocks_has_the_libraries_of_the_image_that_takes_them(library: str) -> None:
    pinned = [
        [line for line in Path("requirements", f"{image}.txt").read_text().splitlines() if line.startswith(f"{library}==")]
        for image in ("watch", "train")
    ]
    assert pinned[0]
    assert pinned[0] == pinned[1]
