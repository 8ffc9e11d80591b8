"""Classes that file names tell more finely than folders: person1_bacteria_1.jpeg in PNEUMONIA is of the class BACTERIA."""

import re
from dataclasses import replace

from driftloop.errors import InputError
from driftloop.settings import listed_classes
from driftloop.sources.folder import SourceFile, check_files


def with_named_classes(files: list[SourceFile], classes: str, source: str) -> list[SourceFile]:
    """The files under the class that is a word of their name, else of their folder, in any case; as they are where no class is given.

    Args:
        classes: names, separated by commas; empty for the folders' own.
        source: for messages.

    Raises:
        InputError: a file whose name has two of the classes, or none while its folder is none either; or what `arrange` refuses.
    """
    names = listed_classes(classes, {file.label for file in files})
    if not names:
        return files
    known = {name.lower(): name for name in names}
    # Digits and signs part words: NORMAL2-IM-0927.jpeg is of NORMAL, and abnormal.jpeg is not.
    words = re.compile(
        "|".join(rf"(?<![^\W\d_]){re.escape(name)}(?![^\W\d_])" for name in sorted(known, key=len, reverse=True)), re.IGNORECASE
    )
    relabelled = []
    for file in files:
        found = {known[word.lower()] for word in words.findall(file.path.rpartition("/")[2])}
        if not found and file.label.lower() in known:
            found = {known[file.label.lower()]}
        if len(found) != 1:
            says = f"names {' and '.join(sorted(found))}" if found else "names none of them, nor does its folder"
            raise InputError(f"{source}: data_config.classes={classes}: {file.path} {says}; rename it, or list the classes that names tell")
        relabelled.append(replace(file, label=found.pop()))
    check_files(relabelled, source)
    return relabelled
