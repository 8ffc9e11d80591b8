"""Splits follow the group's name and nothing else; groups are the patients in file names, of well-known datasets and of a user's own."""

import numpy as np
import pytest

from driftloop.dataset import split_by_group
from driftloop.dataset.splitting import compile_pattern, group_of, hash_position
from driftloop.errors import SettingError

SHARES = {"train": 0.5, "val": 0.1, "test": 0.15, "reference": 0.1, "stream": 0.15}
GROUPS = [f"patient{number}" for number in range(5000)]


def test_shares_are_met() -> None:
    splits = split_by_group(GROUPS, SHARES)
    for split, share in SHARES.items():
        assert np.mean(splits == split) == pytest.approx(share, abs=0.02)


def test_adding_images_does_not_reshuffle() -> None:
    few = split_by_group(GROUPS[:100], SHARES)
    many = split_by_group(GROUPS[::-1], SHARES)[::-1]
    assert few.tolist() == many[:100].tolist()


def test_a_group_is_on_one_side() -> None:
    groups = [f"patient{number % 40}" for number in range(1000)]
    splits = split_by_group(groups, SHARES)
    assert len(set(zip(groups, splits, strict=True))) == 40


def test_shares_are_relative_and_zero_gets_nothing() -> None:
    splits = split_by_group(GROUPS, {"train": 3, "val": 1, "stream": 0})
    assert set(splits) == {"train", "val"}
    assert np.mean(splits == "val") == pytest.approx(0.25, abs=0.02)


def test_positions_are_the_same_on_every_machine_and_even() -> None:
    assert hash_position("patient1") == pytest.approx(0.827510, abs=1e-6)
    assert np.histogram([hash_position(group) for group in GROUPS], 10, (0, 1))[0].min() > 420


@pytest.mark.parametrize("shares", [{"train": 0.0}, {"train": 1.0, "val": -0.1}])
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares must not be negative"):
        split_by_group(["a"], shares)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("person12_bacteria_47.jpeg", "person12"),
        ("person12_virus_48.jpeg", "person12"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0147-0001-0001.jpeg", "IM-0147"),
        ("NORMAL2-IM-1440-0001.jpeg", "NORMAL2-IM-1440"),
        ("BACTERIA-1008087-0001.jpeg", "BACTERIA-1008087"),
        ("00000013_005.png", "00000013"),
        ("patient_7-left.png", "patient_7"),
        ("site31_2.jpeg", "site31"),
    ],
)
def test_known_layouts_name_the_patient(name: str, group: str) -> None:
    assert group_of(name, "f" * 64, compile_pattern("")) == group


def test_any_other_file_is_its_own_group_by_content() -> None:
    assert group_of("holiday.png", "ab" * 32, compile_pattern("")) == "sha256:" + "ab" * 8


def test_a_users_own_pattern_replaces_the_known_ones() -> None:
    patterns = compile_pattern(r"^scan-(\w+)-")
    assert group_of("scan-anna-3.png", "0" * 64, patterns) == "anna"
    assert group_of("person12_bacteria_47.jpeg", "0" * 64, patterns).startswith("sha256:")


@pytest.mark.parametrize(("pattern", "message"), [("(", "not a valid regular expression"), ("person", "needs a group")])
def test_a_useless_pattern_is_one_clear_line(pattern: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        compile_pattern(pattern)
