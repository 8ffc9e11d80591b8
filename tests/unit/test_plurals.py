"""One of a thing is not several."""

import pytest

from driftloop.plurals import counted, rounded
from driftloop.reporting.wording import confusion_sentence


@pytest.mark.parametrize(("number", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1234, "1,234 images")])
def test_a_number_agrees_with_its_noun(number: int, said: str) -> None:
    assert counted(number, "image") == said


def test_a_plural_that_is_no_mere_s_is_told() -> None:
    assert [counted(number, "watch", "watches") for number in (1, 2)] == ["1 watch", "2 watches"]


def test_a_single_error_is_one_image() -> None:
    said = confusion_sentence([[74, 1], [0, 75]], ["a", "b"])
    assert said.startswith("1 of 150 images is wrong. The commonest error is a taken for b: 1 image, 100.0 % of all errors")
    assert confusion_sentence([[73, 2], [0, 75]], ["a", "b"]).startswith("2 of 150 images are wrong.")


@pytest.mark.parametrize(("number", "said"), [(0, 0), (7, 7), (22, 22), (163, 160), (4394, 4400), (988_999, 990_000)])
def test_an_estimate_is_told_by_two_digits(number: int, said: int) -> None:
    assert rounded(number) == said
