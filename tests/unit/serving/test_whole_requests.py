"""A request of several images is one: one model answers all of them, and where one cannot be answered none is, and none is logged."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftloop.dataset.decoding import UnreadableImage
from driftloop.serving.batching import NotReady, Overloaded
from driftloop.serving.live_model import LiveModel
from driftloop.serving.metrics import Seen
from driftloop.serving.service import Service
from driftloop.serving.settings import ServingSettings
from driftloop.store import Store
from tests.factories.serving_store import build_serving_store, register_and_promote, textured_squares
from tests.serving.service_process import png


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With two versions, the first of which is the champion."""
    folder = tmp_path_factory.mktemp("store")
    made, dataset = build_serving_store(folder)
    register_and_promote(made, folder, dataset, expected="1", seed=1)
    return made


@pytest.fixture
def service(store: Store, tmp_path: Path) -> Iterator[Service]:
    settings = ServingSettings(spool=tmp_path / "spool", workers=2, most_batched=4)
    service = Service(store, settings)
    service.follower.live = LiveModel.load(store, "1")
    yield service
    service.close()


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [png(image) for image in textured_squares(40, seed=9)[0]]


def test_a_swap_in_the_middle_of_a_request_changes_none_of_its_answers(
    service: Service, store: Store, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    second, noted = LiveModel.load(store, "2"), service.metrics.answered

    def swapped(seen: list[Seen]) -> None:
        service.follower.live = second
        noted(seen)

    monkeypatch.setattr(service.metrics, "answered", swapped)
    answers = asyncio.run(service.predict(files))
    assert len(answers) == 40
    assert {answered.version for _, answered, _ in answers} == {"1"}
    ((_, answered, _),) = asyncio.run(service.predict(files[:1]))
    assert answered.version == "2"
    pixels = list(textured_squares(9, seed=9)[0])
    assert {answered.version for _, answered, _ in asyncio.run(service.predict(pixels, live=second))} == {"2"}


def test_a_request_with_an_image_that_cannot_be_read_leaves_nothing_in_the_log(service: Service, files: list[bytes]) -> None:
    with pytest.raises(UnreadableImage, match=r"^image 23 of 41: not an image"):
        asyncio.run(service.predict([*files[:22], b"broken", *files[22:]]))
    assert service.log.counts.logged == 0
    assert service.activity()["requests"] == 0
    assert len(asyncio.run(service.predict(files))) == 40
    assert service.log.counts.logged == 40


def test_images_that_take_long_to_decode_do_not_hold_a_worker_beyond_the_patience(store: Store, tmp_path: Path) -> None:
    service = Service(store, ServingSettings(spool=tmp_path / "spool", workers=2, most_batched=4, patience_seconds=0.1))
    service.follower.live = LiveModel.load(store, "1")
    stream = io.BytesIO()
    Image.fromarray(np.full((2000, 3000), 700, np.uint16)).save(stream, "PNG")  # a few kilobytes
    with pytest.raises(Overloaded):
        asyncio.run(service.predict([stream.getvalue()] * 40))
    assert service.log.counts.logged == 0
    service.close()


def test_an_image_beyond_the_limit_of_pixels_is_refused(store: Store, tmp_path: Path) -> None:
    service = Service(store, ServingSettings(spool=tmp_path / "spool", most_megapixels=1))
    service.follower.live = LiveModel.load(store, "1")
    stream = io.BytesIO()
    Image.new("L", (1001, 1000)).save(stream, "PNG")
    with pytest.raises(UnreadableImage, match="at most 1,000,000"):
        asyncio.run(service.predict([stream.getvalue()]))
    service.close()


def test_without_a_model_nothing_waits(store: Store, files: list[bytes]) -> None:
    service = Service(store, ServingSettings())
    with pytest.raises(NotReady):
        asyncio.run(service.predict(files[:1]))
    service.close()
