"""One spelling for names that look the same: an "ü" is one character, or a "u" and a mark, as macOS and its archives write file names."""

import unicodedata
from collections.abc import Iterable


def composed(name: str) -> str:
    """The name with each letter and its marks as one character, where there is one (Unicode's form NFC)."""
    return unicodedata.normalize("NFC", name)


def named_class(given: str, classes: Iterable[str]) -> str | None:
    """Which of a model's classes somebody means, as the model spells it; None where it is none of them."""
    known = {composed(name): name for name in classes}
    return known.get(composed(given))
