"""The drift reference: what a model accepts, computed as its log is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftloop.errors import InputError, IntegrityError
from driftloop.inference.image_statistics import image_statistics, statistic_names
from driftloop.inference.reference import Regime, measure_regime, read_reference, thumbnails, write_reference
from driftloop.inference.served_model import ServedModel
from tests.factories.onnx_graphs import SIDE, write_brightness_bundle


def measured(tmp_path: Path, name: str = "reference", channels: int = 1, count: int = 12) -> tuple[Regime, np.ndarray]:
    images = np.random.default_rng(len(name)).integers(0, 256, (count, SIDE, SIDE, channels), dtype=np.uint8)
    model = ServedModel.open(write_brightness_bundle(tmp_path / "bundle", channels=channels))
    return measure_regime(name, model, images, [f"patient {index}" for index in range(count)]), images


@pytest.mark.parametrize("channels", [1, 3])
def test_regimes_are_read_back_in_the_types_of_the_log(tmp_path: Path, channels: int) -> None:
    clean, images = measured(tmp_path, channels=channels)
    accepted, _ = measured(tmp_path, "regime-1", channels, count=7)
    path = tmp_path / "reference.npz"
    write_reference(path, [clean, accepted], statistic_names(channels))
    first, second = read_reference(path)
    assert (first.name, second.name) == ("reference", "regime-1")
    assert (len(first), len(second)) == (12, 7)
    assert (first.embedding.dtype, first.statistics.dtype, first.probabilities.dtype) == (np.float16, np.float32, np.float32)
    np.testing.assert_array_equal(first.statistics, image_statistics(images))
    np.testing.assert_array_equal(first.embedding, clean.embedding)
    np.testing.assert_array_equal(first.thumbnails, images)
    assert list(second.groups) == list(accepted.groups)


def test_tags_are_read_back_and_a_reference_without_them_reads_as_untagged(tmp_path: Path) -> None:
    clean, _ = measured(tmp_path)
    path = tmp_path / "reference.npz"
    write_reference(path, [clean], statistic_names(1))
    assert "reference.tags" not in np.load(path), "as it was before there were tags"
    assert read_reference(path)[0].tags.tolist() == [""] * 12
    write_reference(path, [replace(clean, tags=np.array(['{"site": "A"}'] * 4 + [""] * 8))], statistic_names(1))
    assert read_reference(path)[0].tags.tolist() == ['{"site": "A"}'] * 4 + [""] * 8
    with pytest.raises(ValueError, match="lengths"):
        write_reference(path, [replace(clean, tags=np.array(['{"site": "A"}']))], statistic_names(1))


def test_the_clean_regime_must_come_first_and_names_be_distinct(tmp_path: Path) -> None:
    clean, _ = measured(tmp_path)
    for regimes in ([], [replace(clean, name="regime-1")], [clean, clean]):
        with pytest.raises(ValueError, match="the first called 'reference'"):
            write_reference(tmp_path / "reference.npz", regimes, statistic_names(1))


def test_arrays_of_different_lengths_are_not_written(tmp_path: Path) -> None:
    clean, _ = measured(tmp_path)
    with pytest.raises(ValueError, match="lengths"):
        write_reference(tmp_path / "reference.npz", [replace(clean, groups=clean.groups[:3])], statistic_names(1))
    assert not (tmp_path / "reference.npz").exists()


def test_pickles_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    with pytest.raises(InputError, match="no drift reference"):
        read_reference(path)
    path.write_bytes(b"nothing of ours")
    with pytest.raises(IntegrityError, match="not a drift reference"):
        read_reference(path)
    np.savez(path, regimes=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(IntegrityError, match="not a drift reference"):
        read_reference(path)


def test_a_reference_made_for_other_statistics_is_refused(tmp_path: Path) -> None:
    clean, _ = measured(tmp_path)
    names = ("luminosity", *statistic_names(1)[1:])
    write_reference(tmp_path / "reference.npz", [clean], names)
    with pytest.raises(IntegrityError, match="made for other statistics"):
        read_reference(tmp_path / "reference.npz")


def test_thumbnails_have_sides_of_at_most_64() -> None:
    for channels in (1, 3):
        large = np.random.default_rng(0).integers(0, 256, (2, 100, 200, channels), dtype=np.uint8)
        small = thumbnails(large)
        assert small.shape == (2, 32, 64, channels)
        assert abs(small.mean() - large.mean()) < 1
    tiny = np.zeros((3, 20, 10, 1), np.uint8)
    assert thumbnails(tiny).shape == tiny.shape
