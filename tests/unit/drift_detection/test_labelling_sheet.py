"""The labelling sheet: safe with what clients send, bounded, readable with many classes."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.drift_detection import labelling_sheet
from components.drift_detection.labelling_sheet import MOST_SIDE, shrunk, write_sheet
from driftloop.inference.log import image_digest
from driftloop.store import open_store


def sheet(folder: Path, count: int = 3, classes: int = 2, group: str | None = None) -> str:
    store = open_store(str(folder / "store"))
    images = np.random.default_rng(0).integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    np.save(stream, images)
    store.put("logs/a.images.npy", stream.getvalue())
    requests = pd.DataFrame({"request_id": [f"r{index}" for index in range(count)], "origin": "random", "group": group})
    places = [f"logs/a.images.npy#{index}" for index in range(count)]
    rows = requests.assign(image=places, image_sha256=[image_digest(image) for image in images])
    write_sheet(folder / "sheet.html", store, rows, requests, [f"class {index}" for index in range(classes)])
    return (folder / "sheet.html").read_text()


def test_what_a_client_sends_is_text_and_no_markup(tmp_path: Path) -> None:
    assert '"><script>alert(1)</script>' not in sheet(tmp_path, group='"><script>alert(1)</script>')


def test_few_classes_are_buttons_and_many_a_list(tmp_path: Path) -> None:
    few, many = sheet(tmp_path, classes=6), sheet(tmp_path, classes=7)
    assert (few.count('type="radio"'), few.count("<select")) == (3 * 7, 0)
    assert (many.count('type="radio"'), many.count("<select")) == (0, 3)


def test_a_sheet_is_bounded_and_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(re.findall('base64,([^"]+)', sheet(tmp_path))[0]) * 3 // 4
    monkeypatch.setattr(labelling_sheet, "MOST_IMAGES", 5)
    assert "shows the first 5 images; 2 more are on the list" in sheet(tmp_path, count=7)
    monkeypatch.setattr(labelling_sheet, "MOST_BYTES", 2 * size + size // 2)
    assert "shows the first 2 images; 5 more are on the list" in sheet(tmp_path, count=7)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_image_is_shown_smaller_with_its_proportions(channels: int) -> None:
    assert shrunk(np.zeros((1280, 640, channels), np.uint8)).shape[:2] == (MOST_SIDE, MOST_SIDE // 2)
    small = np.zeros((64, 64, channels), np.uint8)
    assert shrunk(small) is small
