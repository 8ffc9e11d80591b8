"""How many pages a PDF has."""

import re
import zlib
from pathlib import Path

PAGE = re.compile(rb"/Type\s*/Page\b")


def pages_of(path: Path) -> int:
    """Counts page objects, in the open and in compressed object streams."""
    content = path.read_bytes()
    pages = len(PAGE.findall(content))
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        try:
            pages += len(PAGE.findall(zlib.decompress(stream)))
        except zlib.error:
            continue  # an image or a font in another form
    return pages
