"""The service as its callers know it: a real process, a real store, real kills."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from driftloop import registry
from driftloop.dataset import Description
from driftloop.dataset.group_names import GroupNames
from driftloop.inference.labels import read_labels, write_requested
from driftloop.inference.log import read_images, read_log
from driftloop.store import Store, open_store
from tests.factories.serving_store import build_serving_store, register_and_promote
from tests.serving.service_process import ANSWERED_IN_SECONDS, ServiceProcess, get, png, post, wait_for

SOON = timedelta(days=1)


def logged(store: Store) -> pd.DataFrame:
    return read_log(store, after=None, until=datetime.now(UTC) + SOON)


def test_an_image_is_answered_and_logged_with_what_is_known_of_it(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    with ServiceProcess(store.uri, tmp_path) as service:
        answer = service.predict(images[0], "r-1", **{"X-Group": "Mrs Smith", "X-Tag-Site": "north"})
        files = [("image", ("a.png", png(image))) for image in images[1:4]]
        several = post(f"{service.url}/predict", files=files, data={"group": "p2", "tag.device": "d7"}).json()
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, *images[0].shape], "data": images[0].ravel().tolist()}
        protocol = {"id": "v2-1", "inputs": [tensor], "parameters": {"tag.site": "south", "priority": 3}}
        assert post(f"{service.url}/v2/models/champion/infer", json=protocol).status_code == 200
    assert answer["version"] == several["version"] == "1"
    (first,) = answer["predictions"]
    assert first["request_id"] == "r-1"
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert first["class"] == max(first["probabilities"], key=first["probabilities"].get)
    assert 0 < first["unusual"]["p_value"] <= 1
    assert len({prediction["request_id"] for prediction in several["predictions"]}) == 3
    rows = logged(store).set_index("request_id")
    assert len(rows) == 5
    assert rows.loc["v2-1"]["tags"] == '{"site": "south"}'
    row = rows.loc["r-1"]
    assert row["predicted"] == first["class"]
    assert row["confidence"] == pytest.approx(first["confidence"])
    assert row["tags"] == '{"site": "north"}'
    names = GroupNames.known(store)
    assert row["group"] == names.hashed("Mrs Smith") != "Mrs Smith"
    others = rows.drop(["r-1", "v2-1"])
    assert set(others["group"]) == {names.hashed("p2")}
    np.testing.assert_array_equal(read_images(store, rows.loc[["r-1"]].reset_index()), images[:1])
    assert {image.tobytes() for image in read_images(store, others.reset_index())} == {image.tobytes() for image in images[1:4]}


def test_a_promotion_and_a_rollback_reach_callers_and_a_broken_version_does_not(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, dataset = production
    with ServiceProcess(store.uri, tmp_path) as service:
        assert service.predict(images[0])["version"] == "1"
        register_and_promote(store, tmp_path / "model", dataset, expected="1", seed=1)
        wait_for(lambda: service.predict(images[0])["version"] == "2")
        version = register_and_promote(store, tmp_path / "model", dataset, expected="2", seed=2)
        wait_for(lambda: service.predict(images[0])["version"] == version)
        registry.rollback(store, reason="test")
        wait_for(lambda: service.predict(images[0])["version"] == "2")
        Path(store.uri, "versions", "3", "model.onnx").write_bytes(b"damaged")
        registry.promote(store, "3", expected="2", reason="test", by_person=True)
        wait_for(lambda: "driftloop_swap_failures_total 0.0" not in get(f"{service.url}/metrics").text)
        assert service.predict(images[0])["version"] == "2"
        assert service.activity()["swaps"] == 3
    assert "version 2 goes on answering" in service.errors.read_text()
    assert "does not match its checksum" in service.errors.read_text()


def test_a_swap_under_load_fails_no_request_and_every_answer_is_logged_under_the_version_that_gave_it(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, dataset = production
    said: dict[str, str] = {}
    stop = threading.Event()

    def ask(worker: int, service: ServiceProcess) -> None:
        with httpx.Client(timeout=ANSWERED_IN_SECONDS) as client:
            number = 0
            while not stop.is_set():
                name = f"{worker}-{number}"
                headers = {"Content-Type": "image/png", "X-Request-Id": name}
                answer = client.post(f"{service.url}/predict", content=png(images[number % 40]), headers=headers)
                assert answer.status_code == 200, answer.text
                said[name] = answer.json()["version"]
                number += 1

    with ServiceProcess(store.uri, tmp_path) as service:
        threads = [threading.Thread(target=ask, args=(worker, service)) for worker in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(said) > 20)
        for seed in (1, 2):
            register_and_promote(store, tmp_path / "model", dataset, expected=str(seed), seed=seed)
            wait_for(lambda seed=seed: str(seed + 1) in said.values())
        stop.set()
        for thread in threads:
            thread.join()
    rows = logged(store)
    assert dict(zip(rows["request_id"], rows["model_version"], strict=True)) == said


def test_a_killed_service_loses_no_answer_and_the_next_one_logs_it_once(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    answered: set[str] = set()
    port = 0
    for round_ in range(3):
        # What the last one has answered is still in its spool, however late the kill comes.
        service = ServiceProcess(store.uri, tmp_path, "--flush", "0.3" if round_ == 1 else "600", port=port).ready()
        port = service.port
        for index, image in enumerate(images):
            answered.add(service.predict(image, f"{round_}-{index}")["predictions"][0]["request_id"])
        service.kill()
    assert len(logged(store)) < len(answered)
    with ServiceProcess(store.uri, tmp_path):
        pass
    files = [entry.key for entry in store.list("logs/") if entry.key.endswith(".parquet")]
    rows = pd.concat([pd.read_parquet(Path(store.uri, key)) for key in files])
    assert sorted(rows["request_id"]) == sorted(answered)
    assert not list((tmp_path / "spool").rglob("*.rows"))


def test_a_service_that_is_told_to_end_answers_and_logs_what_it_accepted(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    """Three callers are in the middle of their requests then: what they have begun they may end."""
    store, _ = production
    service = ServiceProcess(store.uri, tmp_path, "--flush", "600").ready()
    asked = httpx.Request("POST", f"{service.url}/predict", files=[("image", ("a.png", png(image))) for image in images])
    body = asked.read()
    begun, ending = threading.Semaphore(0), threading.Event()

    def halves() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        begun.release()
        ending.wait()
        yield body[len(body) // 2 :]

    def ask() -> int:
        headers = {name: asked.headers[name] for name in ("content-type", "content-length")}
        with httpx.Client(base_url=service.url, timeout=ANSWERED_IN_SECONDS) as caller:
            assert caller.get("/v2/health/live").status_code == 200  # connected
            return caller.post("/predict", content=halves(), headers=headers).status_code

    with ThreadPoolExecutor() as callers:
        answers = [callers.submit(ask) for _ in range(3)]
        for _ in answers:
            begun.acquire()
        service.process.terminate()
        wait_for(lambda: nobody_listens(service.port))
        ending.set()
        assert [answer.result() for answer in answers] == [200, 200, 200]
    assert service.end() == 128 + signal.SIGTERM
    assert len(logged(store)) == 120


@pytest.mark.parametrize("processes", [1, 2])
def test_who_keeps_a_connection_is_told_to_open_another_one_elsewhere(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path, processes: int
) -> None:
    """Closed without a word, it would cost him the request that he sends just then."""
    store, _ = production
    service = ServiceProcess(store.uri, tmp_path, processes=processes).ready()
    headers = {"Content-Type": "image/png", "X-Request-Id": "last"}
    with httpx.Client(base_url=service.url, timeout=ANSWERED_IN_SECONDS) as keeps:
        assert keeps.get("/v2/health/live").status_code == 200
        service.process.terminate()
        wait_for(lambda: nobody_listens(service.port))
        answer = keeps.post("/predict", content=png(images[0]), headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    service.end()
    assert list(logged(store)["request_id"]) == ["last"]


def nobody_listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) != 0


def test_before_the_first_champion_it_says_so_and_answers_as_soon_as_there_is_one(images: np.ndarray, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "model" / "store"))
    with ServiceProcess(store.uri, tmp_path) as service:
        answer = post(f"{service.url}/predict", content=png(images[0]), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == {"detail": "no model answers yet: none is promoted, or the store is away; try again later"}
        assert get(f"{service.url}/v2/health/ready").status_code == 503
        build_serving_store(tmp_path / "model")
        wait_for(lambda: get(f"{service.url}/v2/health/ready").status_code == 200)
        assert service.predict(images[0])["version"] == "1"


def test_beyond_the_queue_callers_are_turned_away_and_nobody_else_notices(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    files = [("image", ("a.png", png(image))) for image in images]
    with ServiceProcess(store.uri, tmp_path, "--queue", "50", "--workers", "1") as service:
        statuses: list[int] = []

        def ask() -> None:
            answer = post(f"{service.url}/predict", files=files)
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                assert "try again" in answer.json()["detail"]

        threads = [threading.Thread(target=ask) for _ in range(24)]
        # It finds them all there: one after the other, as they come from a busy machine, each would have room.
        service.process.send_signal(signal.SIGSTOP)
        for thread in threads:
            thread.start()
        wait_for(lambda: unread_requests(service.port) == len(threads))
        service.process.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
        assert service.predict(images[0])["version"] == "1"
    assert set(statuses) == {200, 503}
    assert len(logged(store)) == 40 * statuses.count(200) + 1


def unread_requests(port: int) -> int:
    """Connections to the port on which something waits to be read."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(f[1].split(":")[1], 16) == port and f[3] == "01" and int(f[4].split(":")[1], 16) > 0 for f in table)


def test_labels_by_feedback_are_random_only_where_a_list_asked_for_them(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    asked = pd.DataFrame({"request_id": ["r-0", "r-1"], "origin": ["random", "ranked"]})
    write_requested(store, 7, asked)
    with ServiceProcess(store.uri, tmp_path) as service:
        for index in range(3):
            service.predict(images[index], f"r-{index}")
            label = {"request_id": f"r-{index}", "label": "bright", "outcome": 1.5}
            assert post(f"{service.url}/feedback", json=label).json() == {"accepted": 1}
        wrong = post(f"{service.url}/feedback", json={"request_id": "r-0", "label": "cat"})
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "label 'cat' is none of bright, dark")
    labels = read_labels(store)[0].set_index("request_id")
    assert labels["origin"].to_dict() == {"r-0": "random", "r-1": "import", "r-2": "import"}
    assert set(labels["outcome"]) == {1.5}


def test_a_label_and_a_tag_in_another_spelling_are_the_same(images: np.ndarray, tmp_path: Path) -> None:
    store, _ = build_serving_store(tmp_path, classes=("M\u00e4ntel", "Schuh"))
    with ServiceProcess(store.uri, tmp_path) as service:
        for name, site in (("a", "K\u00f6ln"), ("b", "Ko\u0308ln")):
            service.predict(images[0], name, **{"X-Group": site.encode(), "X-Tag-Site": site.encode()})  # a header is bytes
        for name, label in (("a", "M\u00e4ntel"), ("b", "Ma\u0308ntel")):
            assert post(f"{service.url}/feedback", json={"request_id": name, "label": label}).json() == {"accepted": 1}
    assert set(read_labels(store)[0]["label"]) == {"M\u00e4ntel"}
    rows = logged(store)
    assert (len(rows), rows["tags"].nunique(), rows["group"].nunique()) == (2, 1, 1)


def test_labels_that_a_killed_service_accepted_are_written_by_the_next(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    service = ServiceProcess(store.uri, tmp_path, "--flush", "600").ready()
    post(f"{service.url}/feedback", json={"request_id": "a", "label": "dark"}).raise_for_status()
    service.kill()
    assert len(read_labels(store)[0]) == 0
    with ServiceProcess(store.uri, tmp_path):
        pass
    assert read_labels(store)[0]["request_id"].tolist() == ["a"]


def test_while_the_store_is_away_callers_do_not_notice_and_the_log_catches_up(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    # A file where the folder of the log belongs: every write of it fails, reads of the champion do not.
    logs = Path(store.uri, "logs")
    logs.write_bytes(b"")
    with ServiceProcess(store.uri, tmp_path) as service:
        for index, image in enumerate(images):
            service.predict(image, f"r-{index}")
        wait_for(lambda: "driftloop_log_failures 0.0" not in get(f"{service.url}/metrics").text)
        assert service.activity()["log_backlog_rows"] == 40
        logs.unlink()
        wait_for(lambda: service.activity()["log_backlog_rows"] == 0)
    assert sorted(logged(store)["request_id"]) == sorted(f"r-{index}" for index in range(40))


def refused(*options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "driftloop.cli.main", "serve", *options]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "400"})
    return ended.returncode, ended.stderr.strip()


def test_what_a_service_cannot_start_with_is_one_line(production: tuple[Store, Description], tmp_path: Path) -> None:
    store, _ = production
    status, said = refused("--store", store.uri, "--host", "0.0.0.0", "--port", "0")
    assert (status, said.partition(":")[0]) == (2, "driftloop")
    assert "DRIFTLOOP_API_KEY" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, said = refused("--store", store.uri, "--port", str(taken.getsockname()[1]))
    assert (status, "Address already in use" in said, len(said.splitlines())) == (2, True, 1)
    status, said = refused("--store", store.uri, "--port", "0", "--provider", "NoSuchProvider", "--spool", str(tmp_path / "spool"))
    assert (status, "NoSuchProvider" in said, "Traceback" in said) == (2, True, False)
    Path(store.uri, "versions", "1", "model.onnx").write_bytes(b"damaged")
    status, said = refused("--store", store.uri, "--port", "0", "--spool", str(tmp_path / "spool"))
    assert (status, "does not match its checksum" in said, len(said.splitlines())) == (2, True, 1)
