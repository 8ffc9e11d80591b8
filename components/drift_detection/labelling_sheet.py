"""The labelling sheet: the images that labels are asked for, on one page that works from a disk and in the sandbox of a pipeline's UI.

It shows neither what the model said nor why an image was chosen, which would lead whoever labels, and makes the CSV that
`driftloop labels import` takes. Its few lines of script only assemble that file; without them the answers go into `label_requests.csv`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from driftloop.contracts import LABEL_REQUESTS, SKIP
from driftloop.inference.log import read_kept_images
from driftloop.reporting.layout import TEMPLATES
from driftloop.reporting.page import base64_text, png_bytes
from driftloop.store import Store

#: Images on a sheet, and together, in bytes of PNG: a page beyond that opens slowly. The list goes on without pictures.
MOST_IMAGES, MOST_BYTES = 800, 12 << 20
#: Larger images are shown smaller, in pixels; and so many are fetched at a time.
MOST_SIDE, AT_ONCE = 320, 100
#: Classes that are shown as buttons; more are a list to choose from.
MOST_BUTTONS = 6


def write_sheet(path: str | Path, store: Store, rows: pd.DataFrame, requests: pd.DataFrame, classes: list[str]) -> None:
    """Write the sheet; one that asks for nothing says so.

    Args:
        path: of the file; its directory is made.
        store: holds the images.
        rows: of the log, with request_id, image and image_sha256 of all that is asked for.
        requests: the list: request_id, origin, group, the random ones first.
        classes: of the model.

    Raises:
        IntegrityError: an image does not match its row's checksum.
    """
    cards = list(_cards(store, rows.set_index("request_id"), requests.head(MOST_IMAGES)))
    content = TEMPLATES.get_template("labelling_sheet.html.j2").render(
        cards=cards,
        gone=sum(not card["png"] for card in cards),
        left_out=len(requests) - len(cards),
        classes=classes,
        buttons=len(classes) <= MOST_BUTTONS,
        skip=SKIP,
        store=store.uri,
        list_name=LABEL_REQUESTS,
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content, encoding="utf-8")


def _cards(store: Store, rows: pd.DataFrame, listed: pd.DataFrame) -> Iterator[dict[str, str]]:
    """What the sheet shows of each request, until it is full; without a picture where the log has it no more."""
    size = 0
    for start in range(0, len(listed), AT_ONCE):
        part = listed.iloc[start : start + AT_ONCE]
        images = read_kept_images(store, rows.loc[part["request_id"]].reset_index())
        for place, row in enumerate(part.itertuples(index=False)):
            picture = png_bytes(shrunk(images[place])) if place in images else b""
            size += len(picture)
            if size > MOST_BYTES:
                return
            group = row.group if isinstance(row.group, str) else ""
            yield {"id": str(row.request_id), "origin": str(row.origin), "group": group, "png": base64_text(picture)}


def shrunk(image: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, C) with C 1 or 3, at most `MOST_SIDE` pixels high and wide."""
    if max(image.shape[:2]) <= MOST_SIDE:
        return image
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    return np.asarray(picture)
