"""What is read lies on the disk once, and comes out of it as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.data_analysis.ingest import FILES_PER_CHUNK, Ingested, Rescaled, ingest, pack, rescale, spool_file
from driftloop.contracts import TEST, TRAIN
from driftloop.dataset import Decoded, decode_image, open_split
from driftloop.dataset.splitting import hash_position
from driftloop.errors import InputError
from driftloop.sources import SourceFile
from driftloop.store.local import LocalStore

SIDE = 16
FILES = 2 * FILES_PER_CHUNK + 20


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Weighed(LocalStore):
    """Says how much lies below a folder whenever a shard has come."""

    def __init__(self, root: Path, everything: Path) -> None:
        super().__init__(root)
        self.everything, self.weights = everything, [0]

    def adopt(self, key: str, path: str | Path) -> None:
        self.weights.append(_bytes_below(self.everything))
        super().adopt(key, path)
        self.weights.append(_bytes_below(self.everything))


@pytest.fixture
def drawn(tmp_path: Path) -> dict[str, np.ndarray]:
    """Images by path; every hundredth is in colour."""
    rng = np.random.default_rng(1)
    (tmp_path / "source").mkdir()
    images = {f"{number:03d}.png": rng.integers(0, 256, (SIDE, SIDE, 1 if number % 100 else 3), np.uint8) for number in range(FILES)}
    for path, pixels in images.items():
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(tmp_path / "source" / path)
    return images


@pytest.fixture
def read(tmp_path: Path, drawn: dict[str, np.ndarray]) -> Ingested:
    (tmp_path / "spool").mkdir()
    files = [SourceFile(path, "AB"[number % 2], "") for number, path in enumerate(drawn)]
    return ingest(tmp_path / "source", files, tmp_path / "spool", image_size=SIDE, resize="stretch", workers=2)


def test_images_come_out_in_the_order_of_their_hashes_and_as_they_were(
    tmp_path: Path, drawn: dict[str, np.ndarray], read: Ingested
) -> None:
    frame = read.frame.assign(group=read.frame["path"], split=[TEST if row % 3 else TRAIN for row in range(FILES)])
    kept = frame[frame.index % 7 != 0]  # an audit leaves some out
    description = pack(kept, read, LocalStore(tmp_path / "store"), image_size=SIDE, resize="stretch", source="")
    assert [shard.split for shard in description.shards] == [TRAIN, TEST], "whichever image comes first"
    for name in (TRAIN, TEST):
        split = open_split(description, name)
        assert split.samples["path"].tolist() == sorted(kept[kept["split"] == name]["path"], key=_position(kept))
        for image, path in zip(split.images, split.samples["path"], strict=True):
            assert np.array_equal(image, np.broadcast_to(drawn[path], (SIDE, SIDE, 3)))


def test_pixels_lie_on_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Ingested) -> None:
    for path in (tmp_path / "source").iterdir():
        path.unlink()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    spooled, pixels = _bytes_below(tmp_path), FILES * SIDE * SIDE * 3
    assert spooled < 0.4 * pixels, "grey images take a third"
    frame = read.frame.assign(group=read.frame["path"], split=[TEST if row % 3 else TRAIN for row in range(FILES)])
    store = Weighed(tmp_path / "store", tmp_path)
    pack(frame, read, store, image_size=SIDE, resize="stretch", source="")
    headers = 2 * 128
    assert max(store.weights) == pixels + headers
    assert [spool_file(read.spool, chunk).stat().st_size for chunk in range(3)] == [0, 0, 0]
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_images_of_more_than_eight_bits_are_scaled_by_the_largest_range_and_only_those_before_it_are_decoded_twice(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "spool").mkdir()
    rng = np.random.default_rng(1)
    highest = [4000] * 20 + [9000] * (FILES_PER_CHUNK - 20) + [30000] * 12
    files = []
    for number, level in enumerate(highest):
        path = f"{number:03d}.png"
        Image.fromarray(rng.integers(0, level, (SIDE, SIDE), np.uint16)).save(tmp_path / "source" / path)
        files.append(SourceFile(path, "A", ""))
    decoded: list[int] = []

    def counted(data: bytes, side: int, resize: str, deep_range: int) -> Decoded:
        decoded.append(deep_range)
        return decode_image(data, side, resize, deep_range)

    if workers == 1:
        monkeypatch.setattr("components.data_analysis.ingest.decode_image", counted)
    read = ingest(tmp_path / "source", files, tmp_path / "spool", image_size=SIDE, resize="stretch", workers=workers)
    assert read.deep_range == 65535
    assert len(decoded) == (len(files) + 1 + 20 if workers == 1 else 0)
    expected = [decode_image((tmp_path / "source" / file.path).read_bytes(), SIDE, deep_range=65535).pixels for file in files]
    assert np.array_equal(read.thumbnails, expected), "which find near-duplicates"
    frame = read.frame.assign(split=TRAIN, group=read.frame["path"])
    split = open_split(pack(frame, read, LocalStore(tmp_path / "store"), image_size=SIDE, resize="stretch", source=""), TRAIN)
    for image, path in zip(split.images, split.samples["path"], strict=True):
        assert np.array_equal(image[..., 0], expected[int(path[:3])])


@pytest.mark.parametrize("replaced", [None, np.zeros((SIDE, SIDE, 3), np.uint8)], ids=["gone", "in colour"])
def test_a_file_that_changes_before_it_is_read_again_is_one_clear_line(tmp_path: Path, replaced: np.ndarray | None) -> None:
    path = tmp_path / "scan.png"
    if replaced is not None:
        Image.fromarray(replaced).save(path)
    (tmp_path / "chunk-000000.npy").write_bytes(bytes(SIDE * SIDE))
    part = Rescaled(0, [0], [("scan.png", "a" * 64, 0)])
    with pytest.raises(InputError, match=r"^scan.png: changed while the source was read"):
        rescale(tmp_path, tmp_path, SIDE, "stretch", 4095, part)


def _position(frame: pd.DataFrame) -> Callable[[str], float]:
    positions = dict(zip(frame["path"], map(hash_position, frame["sha256"]), strict=True))
    return positions.__getitem__


def test_no_more_files_are_said_to_be_read_than_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "same.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [SourceFile("broken.png" if number == 5 else "same.png", "A", "") for number in range(7 * FILES_PER_CHUNK + 10)]
    (tmp_path / "spool").mkdir()
    ingest(tmp_path, files, tmp_path / "spool", image_size=8, resize="stretch", workers=1)
    assert f"read {len(files):,} of {len(files):,} files" in capsys.readouterr().out
