"""Patients in the file names of well-known datasets, and in a user's own."""

import pytest

from driftloop.dataset.splitting import compile_pattern, group_of
from driftloop.errors import SettingError


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
