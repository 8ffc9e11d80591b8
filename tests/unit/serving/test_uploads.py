"""What comes in: how much at once, for how long, from callers who go away, and with which key."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from components.data_analysis.ingest import ingest
from driftloop import registry
from driftloop.inference.log import image_digest
from driftloop.serving.app import create_app
from driftloop.serving.live_model import LiveModel
from driftloop.serving.service import IDS_DRAWN, Service
from driftloop.serving.settings import ServingSettings
from driftloop.sources import opened
from driftloop.store import Store
from tests.factories.image_folders import write_scans
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.serving.service_process import png

PART = {"type": "http.request", "body": bytes(300_000), "more_body": True}
GONE = {"type": "http.disconnect"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_serving_store(tmp_path_factory.mktemp("store"))[0]


@pytest.fixture(scope="module")
def image() -> bytes:
    return png(textured_squares(1, seed=9)[0][0])


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Iterator[Callable[..., tuple[Service, FastAPI]]]:
    made: list[Service] = []

    def service(**settings: Any) -> tuple[Service, FastAPI]:
        made.append(Service(store, ServingSettings(spool=tmp_path / "spool", **settings)))
        made[-1].follower.live = LiveModel.load(store, "1")
        return made[-1], create_app(made[-1])

    yield service
    for one in made:
        one.close()


async def ask(
    app: FastAPI,
    messages: list[Any],
    path: str = "/predict",
    kind: str = "image/png",
    headers: dict[bytes, bytes] | None = None,
    method: str = "POST",
) -> tuple[int, Any]:
    """Status and content of an answer; 0 and None where there was none. A number among the messages is seconds until the next."""
    waiting, answers = list(messages), []

    async def receive() -> dict[str, Any]:
        while waiting and isinstance(waiting[0], float):
            await asyncio.sleep(waiting.pop(0))
        return waiting.pop(0) if waiting else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": b"", "scheme": "http", "headers": [(b"content-type", kind.encode()), *(headers or {}).items()],
    }  # fmt: skip
    await app(scope, receive, send)
    if not answers:
        return 0, None
    return answers[0]["status"], json.loads(b"".join(answer.get("body", b"") for answer in answers[1:]))


def test_a_slow_line_is_neither_the_service_s_latency_nor_a_reason_to_turn_away(
    make: Callable[..., tuple[Service, FastAPI]], image: bytes
) -> None:
    service, app = make(patience_seconds=0.5)
    body = [{"type": "http.request", "body": image[:50], "more_body": True}, 0.8, {"type": "http.request", "body": image[50:]}]
    status, answer = asyncio.run(ask(app, body, headers={b"x-request-id": b"slow"}))
    assert (status, answer["predictions"][0]["request_id"]) == (200, "slow")
    assert records(service)[0]["latencies"][0] < 500


def records(service: Service) -> list[dict[str, Any]]:
    """What was logged and is not in the store yet."""
    segment = service.log._spool.open
    return [record.fields for record in segment.records()] if segment else []


def test_a_request_that_does_not_come_in_is_ended(make: Callable[..., tuple[Service, FastAPI]]) -> None:
    _, app = make(upload_seconds=0.2)
    for messages in ([PART], [PART, 0.15, PART, 0.15, PART]):
        status, answer = asyncio.run(ask(app, messages))
        assert (status, answer) == (408, {"detail": "the request did not come in within 0.2 s"})


def test_no_more_is_held_at_once_than_there_is_room_for(make: Callable[..., tuple[Service, FastAPI]], image: bytes) -> None:
    service, app = make(most_request_mib=1, most_waiting_mib=1, upload_seconds=1)

    async def three() -> list[tuple[int, Any]]:
        slow = [asyncio.create_task(ask(app, [PART])) for _ in range(3)]
        await asyncio.sleep(0.2)
        whole = {"type": "http.request", "body": image + bytes(200_000)}
        said = {b"content-length": b"200000"}
        return [await ask(app, [whole]), await ask(app, [whole], headers=said), *await asyncio.gather(*slow)]

    found = asyncio.run(three())
    assert [status for status, _ in found] == [503, 503, 408, 408, 408]
    assert found[0][1] == {"detail": "more is being sent than this replica can hold; try again in a moment"}
    # What is over is no longer held.
    assert asyncio.run(ask(app, [{"type": "http.request", "body": image}]))[0] == 200
    assert service.log.counts.logged == 1


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=b"])
def test_a_caller_who_goes_away_in_the_middle_is_no_error_of_the_service(make: Callable[..., tuple[Service, FastAPI]], kind: str) -> None:
    service, app = make()
    part = {
        "type": "http.request",
        "body": b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx',
        "more_body": True,
    }
    assert asyncio.run(ask(app, [part, GONE], kind=kind)) == (0, None)
    text = service.metrics_text().decode()
    assert 'driftloop_requests_total{path="/predict",status="499"} 1.0' in text
    assert 'status="500"' not in text


def test_what_is_answered_without_the_framework_is_refused_and_counted_as_everything_else(
    make: Callable[..., tuple[Service, FastAPI]], image: bytes
) -> None:
    service, app = make()
    whole = {"type": "http.request", "body": image}
    assert asyncio.run(ask(app, [whole]))[0] == 200
    assert asyncio.run(ask(app, [whole | {"body": image[:100]}]))[0] == 422
    assert asyncio.run(ask(app, [whole], kind="text/plain"))[0] == 415
    assert asyncio.run(ask(app, [whole], method="GET")) == (405, {"detail": "Method Not Allowed"})
    assert asyncio.run(ask(app, [whole], path="/predict/"))[0] == 404
    text = service.metrics_text().decode()
    for path, status in [("/predict", 200), ("/predict", 422), ("/predict", 415), ("/predict", 405), ("(unknown)", 404)]:
        assert f'driftloop_requests_total{{path="{path}",status="{status}"}} 1.0' in text


def test_no_two_requests_have_the_same_id(make: Callable[..., tuple[Service, FastAPI]], image: bytes) -> None:
    app, whole = make()[1], {"type": "http.request", "body": image}
    ids = {asyncio.run(ask(app, [whole]))[1]["predictions"][0]["request_id"] for _ in range(2 * IDS_DRAWN + 1)}
    assert len(ids) == 2 * IDS_DRAWN + 1
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids)


def test_headers_are_read_as_utf_8(make: Callable[..., tuple[Service, FastAPI]], image: bytes) -> None:
    service, app = make()
    whole = [{"type": "http.request", "body": image}]
    assert asyncio.run(ask(app, whole, headers={b"x-group": "Müller".encode(), b"x-tag-site": "Zürich".encode()}))[0] == 200
    status, answer = asyncio.run(ask(app, whole, headers={b"x-group": "Müller".encode("latin-1")}))
    assert (status, answer) == (422, {"detail": "x-group: not UTF-8"})
    # What is none of ours may be anything.
    assert asyncio.run(ask(app, whole, headers={b"x-other": b"\xff"}))[0] == 200
    logged = records(service)[0]
    assert logged["groups"] == [service.names.hashed("Müller")]
    assert logged["tags"] == [{"site": "Zürich"}]


def test_what_is_of_the_whole_request_is_given_once(make: Callable[..., tuple[Service, FastAPI]], image: bytes) -> None:
    service, app = make()

    def form(*fields: tuple[str, str]) -> tuple[int, Any]:
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields]
        file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + image + b"\r\n"
        body = b"".join([*parts, file, file, b"--b--\r\n"])
        return asyncio.run(ask(app, [{"type": "http.request", "body": body}], kind="multipart/form-data; boundary=b"))

    said = " is given twice; it is of the whole request: send images that differ in it apart"
    for name in ("group", "tag.site", "request_id"):
        assert form((name, "a"), (name, "b")) == (422, {"detail": name + said})
    # As headers are, values are without blanks around them.
    assert form(("group", "a"), ("group", "a"), ("tag.site", " north "))[0] == 200
    assert form(("tag.site", "  "))[0] == 422
    assert [record["tags"] for record in records(service)] == [[{"site": "north"}] * 2]


def test_levels_are_those_of_training_and_those_beyond_are_cut_counted_and_said_once(
    make: Callable[..., tuple[Service, FastAPI]], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_scans(tmp_path / "scans")
    with opened(str(source), seed=1) as local:
        side = registry.description(store, "1").image_size
        (tmp_path / "spooled").mkdir()
        trained = ingest(local.root, local.files, tmp_path / "spooled", image_size=side, resize="stretch", workers=1)
        by_path = dict(zip(trained.frame["path"], trained.take(trained.frame, side), strict=True))
    service, app = make()
    assert service.live is not None
    model = service.live.model
    model.description = model.description.model_copy(update={"deep_range": trained.deep_range})

    def send(path: Path) -> str:
        status, answer = asyncio.run(ask(app, [{"type": "http.request", "body": path.read_bytes()}]))
        assert status == 200
        return str(answer["predictions"][0]["note"])

    for path, pixels in list(by_path.items())[::10]:
        assert send(source / path) == ""
        assert records(service)[-1]["digests"] == [image_digest(pixels)]
    assert "driftloop_cut_images_total 0.0" in service.metrics_text().decode()
    assert not caplog.records
    Image.fromarray(np.asarray(Image.open(source / path)) * 4).save(tmp_path / "bright.png")
    for number in range(2):
        assert send(tmp_path / "bright.png").startswith("levels above 4,095, the highest that the model was trained on, were read as")
        assert f"driftloop_cut_images_total {number + 1}.0" in service.metrics_text().decode()
    (said,) = (record.message for record in caplog.records)
    assert said.startswith("version 1: images of more than 8 bits came with levels above 4,095, the highest that it was trained on")


def test_a_label_is_not_read_before_its_key_is_and_is_short(make: Callable[..., tuple[Service, FastAPI]]) -> None:
    service, app = make(feedback_keys=("labeller",))
    key = {b"x-api-key": b"labeller"}

    def give(*parts: bytes, headers: dict[bytes, bytes]) -> tuple[int, Any]:
        messages = [{"type": "http.request", "body": part, "more_body": at < len(parts) - 1} for at, part in enumerate(parts)]
        return asyncio.run(ask(app, messages, "/feedback", "application/json", headers))

    # The body never ends, and nobody waits for it.
    assert asyncio.run(ask(app, [PART], "/feedback", "application/json"))[0] == 401
    assert give(b"{bad", headers={})[0] == 401
    assert give(b"{bad", headers=key)[0] == 422
    assert give(b" " * 9000, headers=key) == (413, {"detail": "the body is larger than 8 KiB"})
    assert give(b'{"request_id": "a", "label": " "}', headers=key)[0] == 422
    assert give(b'{"request_id": "a", "label": "none"}', headers=key)[1]["detail"].startswith("label 'none' is none of")
    label = json.dumps({"request_id": "a", "label": service.live.model.description.classes[0]}).encode()  # type: ignore[union-attr]
    assert give(label[:9], label[9:], headers=key) == (202, {"accepted": 1})


def test_a_label_that_the_disk_does_not_take_is_for_later(
    make: Callable[..., tuple[Service, FastAPI]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, app = make()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service.feedback, "take", full)
    label = json.dumps({"request_id": "a", "label": service.live.model.description.classes[0]}).encode()  # type: ignore[union-attr]
    status, answer = asyncio.run(ask(app, [{"type": "http.request", "body": label}], "/feedback", "application/json"))
    assert (status, answer) == (503, {"detail": "the label cannot be kept at the moment; try again later"})
