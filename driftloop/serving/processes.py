"""One process or several behind one port. Each holds the whole service: a model, workers, a log, a spool of its own.

Python computes in one thread of a process at a time, and an image costs it about as much besides the prediction as the prediction: a
second core is of use to a second process. They share the listening socket, the folder of the spool and that of `siblings`; one that
dies is replaced, and what it had answered is in the spool.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from driftloop.errors import DriftloopError, InputError
from driftloop.serving.settings import ServingSettings
from driftloop.store import open_store

LOG = logging.getLogger("driftloop.serving")
#: Where prometheus_client looks for a folder in which processes add up their counters; read when it is imported.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: A process that answers no question for so long hangs and is replaced; a loaded machine is no reason.
HANGS_SECONDS = 60
#: Before a process whose start failed makes room for another try.
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class ServiceFactory:
    """Makes the application in the process that answers; it is pickled on its way there."""

    store: str
    settings: ServingSettings
    address: str
    """Where it listens, for the line that says so."""
    announce: bool = True

    def __call__(self) -> FastAPI:
        from driftloop.serving.app import create_app
        from driftloop.serving.service import Service

        service = Service(open_store(self.store), self.settings)
        try:
            service.start()
        except BaseException:
            service.close()
            raise
        if self.announce:
            answering = f"version {service.live.version}" if service.live else "no champion yet: it answers as soon as one is promoted"
            print(f"{self.address}  {answering}", file=sys.stderr, flush=True)
        return create_app(service)


@dataclass(frozen=True)
class _InChild:
    """The same in a process whose parent watches over it."""

    make: ServiceFactory

    def __call__(self) -> FastAPI:
        threading.Thread(target=_end_with_parent, name="driftloop-parent", daemon=True).start()
        try:
            return self.make()
        except DriftloopError as error:
            print(f"driftloop: {error}", file=sys.stderr, flush=True)
            if self.make.announce:
                sys.exit(STARTUP_FAILURE)
            time.sleep(RETRY_SECONDS)
            sys.exit(1)


def _end_with_parent() -> None:
    """Without its parent, killed perhaps, a process would go on holding the port, and nobody would replace it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def serve(make: ServiceFactory, listener: socket.socket, *, processes: int, grace: int) -> None:
    """Answer on a bound socket until told to end.

    Args:
        make: the application.
        listener: bound.
        processes: that answer, at least 1.
        grace: seconds that open requests get at the end.

    Raises:
        DriftloopError: the store or its champion cannot be used.
    """
    if processes == 1:
        uvicorn.Server(_config(make(), grace)).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-processes-") as folder:
        os.environ[METRICS_FOLDER] = folder
        settings = make.settings.model_copy(update={"siblings": Path(folder)})
        config = _config(_InChild(replace(make, settings=settings)), grace)
        config.workers = processes
        _Processes(config, [listener]).run()


def _config(application: FastAPI | _InChild, grace: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        factory=isinstance(application, _InChild),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=grace,
        timeout_keep_alive=75,
        timeout_worker_healthcheck=HANGS_SECONDS,
        h11_max_incomplete_event_size=64 << 10,
    )


class _Processes(Multiprocess):
    """uvicorn's, but the first process shows that the service can start, and one that died is said and counted out."""

    def init_processes(self) -> None:
        first = Process(self.config, self.sockets)
        first.start()
        self.processes.append(first)
        while not first.is_ready(timeout=1):
            self.handle_signals()
            if self.should_exit.is_set():
                return
            if not first.process.is_alive():
                # What was wrong it has said itself.
                sys.exit(InputError.exit_code if first.exitcode == STARTUP_FAILURE else 1)
        assert isinstance(self.config.app, _InChild)
        self.config.app = _InChild(replace(self.config.app.make, announce=False))
        for _ in range(self.processes_num - 1):
            process = Process(self.config, self.sockets)
            process.start()
            self.processes.append(process)

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            LOG.error("process %s ended; another takes its place", pid)
            mark_process_dead(pid)
