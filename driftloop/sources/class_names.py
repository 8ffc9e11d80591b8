"""Classes that file names tell: person1_bacteria_1.jpeg in PNEUMONIA is of the class BACTERIA, and cat.17.jpg in no folder of a cat."""

import re
from collections.abc import Callable, Collection

from driftloop.settings import listed_classes
from driftloop.spelling import composed

#: Which of the listed classes a file's name tells.
Tells = Callable[[str], set[str]]


def class_words(classes: str, folders: Collection[str]) -> Tells | None:
    """What finds the listed classes that are words of a file's name, in any case; None where none is listed.

    Args:
        classes: names, separated by commas; empty for the folders' own.
        folders: names of folders, of which one may have commas itself.
    """
    names = [composed(name) for name in listed_classes(classes, folders)]
    if not names:
        return None
    known = {name.lower(): name for name in names}
    ordered = sorted(known, key=len, reverse=True)
    # Digits and signs part words: NORMAL2-IM-0927.jpeg is of NORMAL, and abnormal.jpeg is not.
    words = re.compile("|".join(rf"(?<![^\W\d_])({re.escape(name)})(?![^\W\d_])" for name in ordered), re.IGNORECASE)
    # By which of them matched, not by the word: KIRMIZI matches kırmızı, and in small letters it is kirmizi.
    return lambda name: {known[ordered[int(found.lastindex or 0) - 1]] for found in words.finditer(composed(name))}


def leading_words(names: Collection[str]) -> list[str]:
    """The words that file names begin with, such as cat and dog of cat.17.jpg and dog.3.jpg, if all begin with one of a few."""
    firsts = {word.group().lower() if (word := re.match(r"[^\W\d_]+(?=[\d_. -])", composed(name))) else "" for name in names}
    return sorted(firsts) if 1 < len(firsts) <= 20 and "" not in firsts else []
