"""What tests of every part share: stores, the local folder and a real S3 server."""

import gc
import multiprocessing
import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from driftloop.store import Store, open_store
from tests.minio_server import MinioServer

#: What processes of tests import that a forkserver forks, most of them to be killed; none loads torch, whose threads are not to be forked.
FORKED = (
    "tests.unit.housekeeping.killed",
    "tests.unit.inference.test_label_imports",
    "tests.unit.test_killed_watches",
    "tests.unit.training.test_study_journal",
)


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the processes of the tests, and let a forkserver load once what each of its processes would load anew.

    Trainings side by side, a thread a core each, wait for each other's threads. Whichever test comes first starts the forkserver, and one
    that runs already preloads nothing more.
    """
    multiprocessing.set_forkserver_preload(list(FORKED))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))


#: The files that take longest. They begin first, so that no process waits in the end while another has one of them before it.
LONGEST = (
    "tests/unit/rehearsal/test_digits.py",
    "tests/pipelines/test_full_loop.py",
    "tests/unit/model_optimization/test_side_by_side.py",
    "tests/documentation/test_course.py",
    "tests/pipelines/test_branches.py",
    "tests/unit/model_optimization/test_killed.py",
    "tests/unit/model_optimization/test_trial_search.py",
    "tests/unit/model_optimization/test_nodes.py",
    "tests/unit/drift_detection/test_step.py",
    "tests/serving/test_demo.py",
    "tests/unit/training/test_followers.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without the garbage collector, which would look through the modules of all tests time and again: a quarter of a collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A MinIO server of this test session; skipped where none can be had, except in CI."""
    server = MinioServer(tmp_path_factory.mktemp("minio") / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_uri(minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a new, empty store on the MinIO server, with the AWS_* variables set for it."""
    for name, value in minio_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://driftloop-tests/{secrets.token_hex(6)}"


@pytest.fixture(params=["local", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of a new, empty store, once of each kind."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3_uri")


@pytest.fixture
def store(store_uri: str) -> Store:
    """A new, empty store, once of each kind."""
    return open_store(store_uri)
