"""Several processes behind one port: together they are one service to its callers, its log and its metrics, whichever of them dies."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from prometheus_client import ProcessCollector

from driftloop import registry
from driftloop.dataset import Description
from driftloop.inference.log import read_log
from driftloop.serving.processes import _Process
from driftloop.serving.siblings import ENDED_SECONDS, Siblings
from driftloop.store import Store
from driftloop.watch_store import record_key
from tests.factories.records import watch_record
from tests.factories.serving_store import register_and_promote
from tests.processes import runs
from tests.serving.service_process import ANSWERED_IN_SECONDS, ServiceProcess, get, png, wait_for


def children(parent: int) -> list[int]:
    """The processes that answer, which are those that listen; multiprocessing has a helper besides."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            child = entry.name.isdigit() and f"\nPPid:\t{parent}\n" in (entry / "status").read_text()
            if child and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return sorted(found)


def answering(service: ServiceProcess) -> bool:
    """Whether both processes answer."""
    return service.activity()["processes"] == 2


@contextmanager
def callers(service: ServiceProcess, images: np.ndarray) -> Iterator[dict[str, str]]:
    """Four callers who ask again where a connection breaks; the version that answered, by the id of the request."""
    said: dict[str, str] = {}
    stop = threading.Event()

    def ask(worker: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"{worker}-{number}"
            try:  # a connection for each: they spread over the processes
                headers = {"Content-Type": "image/png", "X-Request-Id": name, "Connection": "close"}
                answer = httpx.post(f"{service.url}/predict", content=png(images[number % 40]), headers=headers, timeout=30)
            except httpx.TransportError:
                continue
            assert answer.status_code == 200, answer.text
            said[name] = answer.json()["version"]
            number += 1

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield said
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def logged(store: Store) -> dict[str, str]:
    """The versions in the log by request id. `read_log` gives one row of those that were asked again."""
    rows = read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))
    return dict(zip(rows["request_id"], rows["model_version"], strict=True))


def metric(service: ServiceProcess, name: str) -> float:
    """The sum of a metric over its labels."""
    text = get(f"{service.url}/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


def test_both_answer_are_swapped_and_counted_and_their_logs_are_one(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, dataset = production
    store.create(record_key(1), watch_record(1).model_dump_json().encode())
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: answering(service))
        with callers(service, images) as said:
            wait_for(lambda: len(said) > 60)
            register_and_promote(store, tmp_path / "model", dataset, expected="1", seed=1)
            wait_for(lambda: list(said.values())[-12:] == ["2"] * 12)
        wait_for(lambda: service.activity()["requests"] == len(said))
        assert metric(service, "driftloop_images_total") == len(said)
        assert metric(service, "driftloop_model_info") == 1
        assert metric(service, "driftloop_watch_sequence") == 1, "what each process reads for itself is not added up"
        assert metric(service, "driftloop_swaps_total") == 2
        activity = service.activity()
        assert (activity["version"], activity["swaps"], activity["errors"]) == ("2", 1, 0)
        assert {image["request_id"] for image in activity["recent"]} <= said.keys()
        assert service.end() == 128 + signal.SIGTERM
    assert logged(store) == said
    assert service.errors.read_text().count("version 1") == 1


def test_one_that_is_killed_is_replaced_and_what_it_answered_is_logged(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: answering(service))
        before = children(service.process.pid)
        with callers(service, images) as said:
            wait_for(lambda: len(said) > 60)
            os.kill(before[0], signal.SIGKILL)
            at_the_kill = len(said)
            wait_for(lambda: len(children(service.process.pid)) == 2 and children(service.process.pid) != before)
            wait_for(lambda: len(said) > at_the_kill + 60)
        assert f"process {before[0]} ended; another takes its place" in service.errors.read_text()
        # What it had counted still counts; what it answered without its caller's learning of it may come on top.
        assert metric(service, "driftloop_images_total") >= len(said)
        assert service.end() == 128 + signal.SIGTERM
    assert said.items() <= logged(store).items()


def test_memory_and_processor_time_are_those_of_all_and_none_is_lost_with_one_that_dies(
    production: tuple[Store, Description], tmp_path: Path
) -> None:
    store, _ = production

    def alone(name: str, process: int) -> float:
        """The metric as prometheus_client has it of one process."""
        [value] = [found.samples[0].value for found in ProcessCollector(pid=lambda: process, registry=None).collect() if found.name == name]
        return value

    with ServiceProcess(store.uri, tmp_path, processes=2) as service:

        def together(name: str) -> float:
            return sum(alone(name, process) for process in (service.process.pid, *children(service.process.pid)))

        wait_for(lambda: answering(service))
        # A process tells of itself before it has loaded all, and grows between the two looks.
        memory, files = "process_resident_memory_bytes", "process_open_fds"
        wait_for(lambda: metric(service, memory) == pytest.approx(together(memory), rel=0.1))
        wait_for(lambda: metric(service, files) == pytest.approx(together(files), abs=4))
        assert metric(service, "process_start_time_seconds") == alone("process_start_time_seconds", service.process.pid)
        first = children(service.process.pid)[0]
        lost = alone("process_cpu_seconds", first)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in children(service.process.pid) and len(children(service.process.pid)) == 2)
        # The one in its place is added up once it has told of itself.
        wait_for(lambda: together("process_cpu_seconds") + lost <= metric(service, "process_cpu_seconds_total"))


def test_one_that_dies_while_it_is_asked_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = _Process(uvicorn.Config("fastapi:FastAPI", factory=True, log_level="error"), [listening])
        process.start()
    wait_for(process.is_ready)
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    threads = Path(f"/proc/{process.pid}/task")
    wait_for(lambda: all("\nState:\tT" in (thread / "status").read_text() for thread in threads.iterdir()))
    said: list[bool] = []
    asking = threading.Thread(target=lambda: said.append(process.is_alive(timeout=600)), daemon=True)
    asking.start()
    # The question is on its way, and nobody has read it.
    wait_for(lambda: int.from_bytes(fcntl.ioctl(process.parent_conn.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder) > 0)
    os.kill(process.pid, signal.SIGKILL)
    asking.join(60)
    assert said == [False]
    process.kill()
    process.join()


def test_without_their_parent_they_end_and_the_next_service_logs_what_they_left(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path
) -> None:
    store, _ = production
    service = ServiceProcess(store.uri, tmp_path, "--flush", "3600", processes=2).ready()
    wait_for(lambda: answering(service))
    orphans = children(service.process.pid)
    with callers(service, images) as said:
        wait_for(lambda: len(said) > 30)
    service.kill()
    wait_for(lambda: not any(runs(process) for process in orphans))
    with socket.create_server(("127.0.0.1", service.port)):
        pass  # nobody holds the port
    assert logged(store) == said


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_they_answer_what_they_accepted(
    production: tuple[Store, Description], images: np.ndarray, tmp_path: Path, signal_number: int
) -> None:
    store, _ = production
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: answering(service))
        with httpx.Client(timeout=ANSWERED_IN_SECONDS) as client:
            names = [f"r-{number}" for number in range(50)]
            for name in names:
                headers = {"Content-Type": "image/png", "X-Request-Id": name}
                client.post(f"{service.url}/predict", content=png(images[0]), headers=headers).raise_for_status()
            service.process.send_signal(signal_number)
        assert service.process.wait(60) == 128 + signal_number
    assert set(logged(store)) == set(names)
    assert "Traceback" not in service.errors.read_text()


def test_a_champion_that_cannot_be_loaded_is_one_line_and_exit_2(production: tuple[Store, Description], tmp_path: Path) -> None:
    store, _ = production
    Path(store.uri, "versions", "1", "model.onnx").write_bytes(b"damaged")
    service = ServiceProcess(store.uri, tmp_path, processes=2)
    assert service.process.wait(60) == 2
    said = service.errors.read_text().strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("driftloop: ")
    assert "does not match its checksum" in said[0]


def test_a_first_champion_is_waited_for_by_all(production: tuple[Store, Description], images: np.ndarray, tmp_path: Path) -> None:
    store, _ = production
    pointer = store.read("champion.json")
    store.delete("champion.json")
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        assert get(f"{service.url}/v2/health/ready").status_code == 503
        store.create("champion.json", pointer)
        wait_for(lambda: all(get(f"{service.url}/v2/health/ready").status_code == 200 for _ in range(20)))
        assert service.predict(images[0])["version"] == registry.current(store).version  # type: ignore[union-attr]


def test_what_siblings_tell_is_read_and_one_that_ended_is_known(tmp_path: Path) -> None:
    siblings = Siblings(tmp_path, lambda: {"requests": 1})
    siblings.start()
    (tmp_path / "process-1.json").write_text(json.dumps({"requests": 2}))
    (tmp_path / "process-2.json").write_text(json.dumps({"requests": 4}))
    (tmp_path / "process-3.json").write_text("{")
    old = time.time() - ENDED_SECONDS - 1
    os.utime(tmp_path / "process-2.json", (old, old))
    told = siblings.all()
    siblings.close()
    assert [(process["requests"], process["ended"]) for process in told] == [(1, False), (2, False), (4, True)]
    assert json.loads((tmp_path / f"process-{os.getpid()}.json").read_text()) == {"requests": 1}


def test_a_sibling_that_is_killed_has_ended_at_once_and_one_that_lives_has_not(tmp_path: Path) -> None:
    """The page would count it for ten seconds, and the one in its place besides."""
    siblings = Siblings(tmp_path, lambda: {"requests": 1})
    tell = "import sys; from pathlib import Path; from driftloop.serving.siblings import Siblings; "
    tell += "s = Siblings(Path(sys.argv[1]), lambda: {'requests': 2}); s.start(); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", tell, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        wait_for(lambda: [process["requests"] for process in siblings.all()] == [1, 2])
        assert [process["ended"] for process in siblings.all()] == [False, False]
        other.kill()
    assert [process["ended"] for process in siblings.all()] == [False, True]
    siblings.close()


def test_a_process_on_its_own_needs_no_folder() -> None:
    siblings = Siblings(None, lambda: {"requests": 1})
    siblings.start()
    with siblings.one_at_a_time():
        pass
    assert siblings.all() == [{"requests": 1, "ended": False}]
    siblings.close()


def test_connections_are_spread_over_the_processes(production: tuple[Store, Description], images: np.ndarray, tmp_path: Path) -> None:
    """Sixteen connections that stay open, all made at once: on a socket that both accept from, one process may get all of them."""
    store, _ = production
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        wait_for(lambda: answering(service))

        def connections(state: str) -> list[list[str]]:
            """The lines of the port's sockets in that state: 0A listens, 01 is a connection."""
            table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return [f for f in table if int(f[1].split(":")[1], 16) == service.port and f[3] == state]

        # A process tells the other of itself before it listens.
        wait_for(lambda: len(connections("0A")) == 2)
        clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(16)]

        def held(process: int) -> int:
            """Connections that the process has taken; one that waits for that has no inode yet."""
            open_here = {f[9] for f in connections("01")}
            links = [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
            return sum(link.removeprefix("socket:[").rstrip("]") in open_here - {"0"} for link in links)

        wait_for(lambda: sum(map(held, children(service.process.pid))) == 16)
        shares = [held(process) for process in children(service.process.pid)]
        for client in clients:
            client.close()
    assert min(shares) >= 1, shares


def test_a_second_service_on_the_port_is_refused(production: tuple[Store, Description], tmp_path: Path) -> None:
    store, _ = production
    with ServiceProcess(store.uri, tmp_path, processes=2) as service:
        (tmp_path / "second").mkdir()
        second = ServiceProcess(store.uri, tmp_path / "second", port=service.port, processes=2)
        assert second.process.wait(60) == 2
    assert f"cannot listen on 127.0.0.1:{service.port}: Address already in use" in " ".join(second.errors.read_text().split())


def test_processes_load_a_version_one_after_the_other(tmp_path: Path) -> None:
    first, second = Siblings(tmp_path, dict), Siblings(tmp_path, dict)
    order: list[str] = []

    def wait() -> None:
        with second.one_at_a_time():
            order.append("second")

    with first.one_at_a_time():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
