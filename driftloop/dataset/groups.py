"""Who is on an image, read from its file name."""

import re

from driftloop.errors import SettingError

#: Patterns of well-known layouts, tried in order; the first group of the match names the patient or site.
KNOWN = (
    # Kaggle's chest X-rays. Bacterial and viral images of one number are taken as one patient: too large a group leaks nothing.
    re.compile(r"^(person\d+)_(?:bacteria|virus)_\d+"),
    re.compile(r"^((?:[A-Z]+\d*-)?IM-\d+)-\d+"),
    # Their original by Kermany et al. (Mendeley Data).
    re.compile(r"^((?:BACTERIA|VIRUS|NORMAL)-\d+)-\d+"),
    # NIH ChestX-ray14.
    re.compile(r"^(\d{8})_\d{3}\b"),
    re.compile(r"^((?:patient|person|subject|case|site)[-_]?\d+)(?![0-9])", re.IGNORECASE),
)


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], ...]:
    """The patterns to use: the user's own, or the known ones when it is empty.

    Raises:
        SettingError: no regular expression, or one without a group.
    """
    if not pattern:
        return KNOWN
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"data_config.group_pattern: {pattern!r} is no regular expression ({error})") from None
    if compiled.groups < 1:
        raise SettingError(f"data_config.group_pattern: {pattern!r} needs a group in parentheses around the patient, as in '(person\\d+)_'")
    return (compiled,)


def group_of(name: str, sha256: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    """The group of a file called `name`: what a pattern finds in it, else the file's content, which no renaming changes."""
    for pattern in patterns:
        match = pattern.search(name)
        if match and match.group(1):
            return match.group(1)
    return f"sha256:{sha256[:16]}"
