"""What a caller must not be able to do: come in without a key, learn what is inside, or bring the service down."""

import asyncio
import io
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from driftloop.serving.app import _explain_errors
from driftloop.serving.middleware import HEADERS
from tests.factories.onnx_graphs import SIDE
from tests.factories.serving_store import build_serving_store, textured_squares
from tests.serving.service_process import ANSWERED_IN_SECONDS, ServiceProcess, get, png, post

KEYS = {"DRIFTLOOP_API_KEY": "caller-1, caller-2, schlüssel", "DRIFTLOOP_FEEDBACK_KEY": "labeller"}
IMAGE = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def image() -> bytes:
    return png(textured_squares(2, seed=5)[0][0])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("open")
    store, _ = build_serving_store(folder / "model")
    with ServiceProcess(store.uri, folder) as process:
        yield process


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("locked")
    store, _ = build_serving_store(folder / "model")
    with ServiceProcess(store.uri, folder, environment=KEYS) as process:
        yield process


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic caller-1"}, 401),
        ({"Authorization": "Bearer labeller"}, 401),
        ({"Authorization": "Bearer caller-1"}, 200),
        ({"X-API-Key": "caller-2"}, 200),
        ({"X-API-Key": "schlüssel".encode()}, 200),
        ({"X-API-Key": "schl\xff".encode("latin-1")}, 401),
    ],
)
def test_a_key_lets_callers_in(locked: ServiceProcess, image: bytes, headers: dict[str, str | bytes], status: int) -> None:
    answer = post(f"{locked.url}/predict", content=image, headers={**IMAGE, **headers})
    assert answer.status_code == status
    if status == 401:
        assert answer.json() == {"detail": "this service wants a key: Authorization: Bearer <key>"}
    assert get(f"{locked.url}/activity", headers=headers).status_code == status


def test_labels_have_a_key_of_their_own_and_health_needs_none(locked: ServiceProcess) -> None:
    label = {"request_id": "a", "label": "dark"}
    assert post(f"{locked.url}/feedback", json=label, headers={"X-API-Key": "caller-1"}).status_code == 401
    assert post(f"{locked.url}/feedback", json=label, headers={"X-API-Key": "labeller"}).status_code == 202
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/champion", "/"):
        assert get(f"{locked.url}{path}").status_code == 200
    assert post(f"{locked.url}/v2/models/champion/infer", json={}).status_code == 401


def bomb() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(stream, "PNG")
    return stream.getvalue()


def colour() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"", IMAGE, 422, "no image in this request"),
        (b"text", IMAGE, 422, "not an image, or of a format that is not read"),
        (b"text", {"Content-Type": "text/plain"}, 415, "send the image as multipart/form-data"),
        (b"--x\r\nbroken", {"Content-Type": "multipart/form-data; boundary=y"}, 400, "Invalid multipart data"),
        (b"", {"Content-Type": "multipart/form-data"}, 400, "Missing boundary"),
        (bomb(), IMAGE, 422, "too large: 12000 x 12000 pixels"),
        (colour(), IMAGE, 422, "in colour; this model was trained on grey images"),
    ],
)
def test_what_is_no_image_for_this_model_is_told_so_in_a_sentence(
    service: ServiceProcess, content: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = post(f"{service.url}/predict", content=content, headers=headers)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-Request-Id": "a b"}, "a request id has"),
        ({"X-Request-Id": "x" * 65}, "a request id has"),
        ({"X-Group": "g" * 201}, "group is longer"),
        ({"X-Tag-Site": "x" * 65}, "tag 'site'"),
        ({f"X-Tag-t{at}": "x" for at in range(11)}, "11 tags"),
    ],
)
def test_what_comes_with_an_image_has_limits(service: ServiceProcess, image: bytes, headers: dict[str, str], said: str) -> None:
    answer = post(f"{service.url}/predict", content=image, headers={**IMAGE, **headers})
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text


def test_forms_have_limits(service: ServiceProcess, image: bytes) -> None:
    def ask(files: list, data: dict | None = None) -> tuple[int, str]:
        answer = post(f"{service.url}/predict", files=files, data=data or {})
        return answer.status_code, answer.json()["detail"]

    assert ask([("picture", ("a.png", image))])[1].startswith("file field 'picture' is not known")
    assert ask([("image", (None, "text"))]) == (422, "the field image holds text; send a file (JPEG, PNG, BMP, TIFF, WEBP)")
    assert ask([("image", ("a.png", b""))])[1].startswith("no image in this request")
    assert ask([("image", ("a.png", image))], {"colour": "red"})[1].startswith("field 'colour' is not known")
    assert ask([("image", ("a.png", image))], {"group": "g" * 5000})[0] == 400
    assert ask([("image", ("a.png", image))] * 65)[0] == 400
    status, said = ask([("image", ("a.png", image)), ("image", ("b.png", b"broken"))])
    assert (status, said) == (422, "image 2 of 2: not an image, or of a format that is not read")


@pytest.mark.parametrize("path", ["/predict", "/v2/models/champion/infer"])
def test_a_request_that_is_too_large_is_turned_away_whether_it_says_so_or_not(service: ServiceProcess, path: str) -> None:
    """Nothing is left unsent when the answer comes, so that no closed connection can hide it."""
    sentence = "the request is larger than 64 MiB"
    said = {"detail": sentence, **({"error": sentence} if path.startswith("/v2") else {})}
    kind = "image/png" if path == "/predict" else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n".encode()
    for body in (b"Content-Length: %d\r\n\r\n" % (65 << 20), b"Transfer-Encoding: chunked\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
            connection.sendall(head + body)
            if b"chunked" in body:
                for _ in range(64):
                    connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                connection.sendall(b"1\r\n0\r\n")  # one byte beyond 64 MiB
            answer = HTTPResponse(connection)
            answer.begin()
            assert (answer.status, json.loads(answer.read())) == (413, said)
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_carries_careful_headers_and_tells_nothing_of_the_inside(service: ServiceProcess, image: bytes) -> None:
    answers = [
        get(f"{service.url}/"),
        get(f"{service.url}/nowhere"),
        get(f"{service.url}/activity"),
        post(f"{service.url}/predict", content=image, headers=IMAGE),
        post(f"{service.url}/feedback", content=b"{", headers={"Content-Type": "application/json"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 422]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        assert "Traceback" not in answer.text
        assert "/driftloop/" not in answer.text
    assert isinstance(answers[-1].json()["detail"], str)


def test_an_error_of_the_service_is_as_careful_and_tells_nothing_either() -> None:
    app = FastAPI()
    _explain_errors(app)

    @app.get("/")
    async def broken() -> None:
        raise RuntimeError("/srv/secret/model.onnx")

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://x") as client:
            return await client.get("/")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (500, {"detail": "an error of the service; it is in its log"})
    assert {name: answer.headers[name.decode()] for name, _ in HEADERS} == {name: value.decode() for name, value in HEADERS}


def damaged(rng: random.Random, originals: list[bytes]) -> bytes:
    data = bytearray(rng.choice(originals))
    for _ in range(rng.randint(0, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randint(1, len(data))]) if rng.random() < 0.5 else bytes(data)


def test_damaged_files_give_no_error_of_the_service(service: ServiceProcess) -> None:
    originals = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(textured_squares(1, seed=7)[0][0, ..., 0]).save(stream, kind)
        originals.append(stream.getvalue())
    rng = random.Random(11)
    with httpx.Client(timeout=ANSWERED_IN_SECONDS) as client:
        statuses = [
            client.post(f"{service.url}/predict", content=damaged(rng, originals), headers=IMAGE).status_code for _ in range(10_000)
        ]
        assert set(statuses) == {200, 422}
        assert client.post(f"{service.url}/predict", content=originals[0], headers=IMAGE).status_code == 200


def test_nothing_in_the_documented_interface_breaks_it(locked: ServiceProcess, tmp_path: Path) -> None:
    """Schemathesis sends what the interface's description allows, and what it does not, with a key and without one.

    What the description allows has to be accepted. Where that hangs on what no schema says, which bytes are an image, or which classes
    and which size of image the champion of the hour has, a sentence with status 422 will do.
    """
    knows = '\n[[operations]]\ninclude-name = "{}"\nchecks.positive_data_acceptance.expected-statuses = ["2xx", 401, 404, 422]\n'
    asked = ("/predict", "/feedback", "/v2/models/champion/infer", "/v2/models/champion/versions/{version}/infer")
    (tmp_path / "schemathesis.toml").write_text("".join(knows.format(f"POST {path}") for path in asked))
    assert "/predict" in get(f"{locked.url}/openapi.json").json()["paths"]
    for key in ("caller-1", ""):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{locked.url}/openapi.json", "--max-examples", "20", "--seed", "3"]
        command += ["--header", f"X-API-Key: {key}"] if key else []
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-Long: ",
        b"GET /",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: ",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_a_head_without_end_ends_its_connection(service: ServiceProcess, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as line:
        line.sendall(begin)
        with pytest.raises(ConnectionError):
            line.sendall(b"a" * (16 << 20))
    assert get(f"{service.url}/v2/health/live", headers={"X-Long": "a" * 60_000}).status_code == 200


def test_json_beyond_what_the_model_takes_is_not_read(service: ServiceProcess) -> None:
    numbers = ",\n".join(["          255"] * 64 * SIDE * SIDE)
    begin = f'{{"inputs": [{{"name": "images", "datatype": "UINT8", "shape": [64, {SIDE}, {SIDE}, 1], "data": ['
    where = f"{service.url}/v2/models/champion/infer"
    assert post(where, content=f"{begin}{numbers}]}}]}}").status_code == 200
    answer = post(where, content=f"{begin}{'0,' * (1 << 20)}0]}}]}}")
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "the JSON is larger than 1088 KiB, which this model's largest input needs at most",
    )


def test_no_caller_is_sent_elsewhere_with_his_key(service: ServiceProcess, image: bytes) -> None:
    assert post(f"{service.url}/predict/", content=image, headers=IMAGE).status_code == 404
