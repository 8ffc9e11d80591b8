"""Tags of an image or a request, such as site, device or ward, by name: their limits, and the one form in which they are stored."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

#: Names of tags that a source may bring, and levels (values) of each: every one that has images enough is a test of its own, and all of
#: them share one budget of false alarms.
MOST_TAGS, MOST_LEVELS = 4, 10
MOST_TAG_LENGTH = 64
TAG_NAME = "[a-z][a-z0-9_-]{0,31}"


def tag_problem(name: str, value: str) -> str:
    """What is wrong with a tag, for people; empty where nothing is."""
    if re.fullmatch(TAG_NAME, name) and 0 < len(value) <= MOST_TAG_LENGTH and value.isprintable():
        return ""
    return f"tag {name[:40]!r}: a name of lower-case letters, digits, _ and -, and a value of 1 to {MOST_TAG_LENGTH} printable characters"


def tags_problem(every: Iterable[Mapping[str, str]]) -> str:
    """What is wrong with the tags of all images of a source, for people: too many names, or too many levels of one."""
    levels = Counter(name for name, _ in {tag for tags in every for tag in tags.items()})
    if len(levels) > MOST_TAGS:
        return f"{len(levels)} tags ({', '.join(sorted(levels)[:6])}, ...); images may carry {MOST_TAGS}, those that tell subgroups apart"
    for name, count in sorted(levels.items()):
        if count > MOST_LEVELS:
            return f"tag '{name}' has {count:,} different values, {MOST_LEVELS} are allowed: make coarser ones, or leave it out"
    return ""


def tags_text(tags: Mapping[str, str]) -> str:
    """The tags as they are stored: a JSON object with sorted names; empty without any."""
    return json.dumps(dict(tags), sort_keys=True) if tags else ""


def read_tags_text(text: object) -> dict[str, str]:
    """The tags that are stored as `text`; none where it is empty or missing (None, NaN)."""
    return dict(json.loads(text)) if isinstance(text, str) and text else {}


def level_name(name: str, level: str) -> str:
    """A level of a tag as people read it, such as site=B: what is tested on its own."""
    return f"{name}={level}"


def tag_names(texts: Sequence[object] | np.ndarray) -> Counter[str]:
    """How many of the N rows have each tag, by its name."""
    counts: Counter[str] = Counter()
    for text, count in Counter(text for text in texts if isinstance(text, str) and text).items():
        counts.update(dict.fromkeys(read_tags_text(text), count))
    return counts


def levels_by_tag(texts: Sequence[object] | np.ndarray, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """For each tag its level in each of the N rows, str (N,), empty where a row has none.

    Args:
        texts: N stored texts, or what stands for none.
        names: of the tags; all that occur where they are not given, which callers of a service may have made many.
    """
    # Few texts are different ones.
    known = {text: read_tags_text(text) for text in {text for text in texts if isinstance(text, str) and text}}
    names = sorted({name for tags in known.values() for name in tags}) if names is None else names
    of_rows = [known.get(text, {}) if isinstance(text, str) else {} for text in texts]
    return {name: np.array([tags.get(name, "") for tags in of_rows], np.str_) for name in names}
