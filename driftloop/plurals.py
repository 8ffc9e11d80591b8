"""Counts as people read them: 1 image, 2 images."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, or with a longer phrase whose plural is no mere s: `many`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def rounded(number: int) -> int:
    """An estimated count by its first two digits: more of them would claim to be known."""
    return round(number, min(0, 2 - len(str(abs(number)))))
