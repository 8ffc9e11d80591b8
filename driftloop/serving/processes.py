"""One process or several behind one port. Each holds the whole service: a model, workers, a log, a spool of its own.

Python computes in one thread of a process at a time, and an image costs it about as much besides the prediction as the prediction: a
second core is of use to a second process. They share the port, the folder of the spool and that of `siblings`; one that dies is replaced,
and what it had answered is in the spool.

Each has a socket of its own on the port, and the kernel spreads new connections over them. On one socket for all, the process that wakes up
first takes every connection that has come meanwhile, and the others may get none.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from driftloop.errors import DriftloopError
from driftloop.processes import end_with_parent
from driftloop.serving.http_protocol import LimitedHttp
from driftloop.serving.settings import GRPC_SERVER, ServingSettings
from driftloop.store import open_store

LOG = logging.getLogger("driftloop.serving")
#: Where prometheus_client looks for a folder in which processes add up their counters; read when it is imported.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
BACKLOG = 2048
#: A process that answers no question for so long hangs and is replaced; a loaded machine is no reason.
HANGS_SECONDS = 60
#: Before a process whose start failed makes room for another try.
RETRY_SECONDS = 5.0
#: How long a caller who keeps his connection has for the request whose answer tells him to open another one.
LAST_REQUEST_SECONDS = 2.0


@dataclass(frozen=True)
class ServiceFactory:
    """Makes the application in the process that answers; it is pickled on its way there."""

    store: str
    settings: ServingSettings
    address: str
    """Where it listens, for the line that says so."""
    grpc_address: str = ""
    """host:port for gRPC; empty for none."""
    announce: bool = True

    def __call__(self) -> FastAPI:
        from driftloop.serving.app import create_app
        from driftloop.serving.service import Service

        service = Service(open_store(self.store), self.settings)
        try:
            # Only the first waits for the store where it can be asked: another would turn away what its siblings can answer.
            service.start(patient=self.announce)
        except BaseException:
            service.close()
            raise
        if self.announce:
            answering = f"version {service.live.version}" if service.live else "no model yet: it answers as soon as there is one"
            grpc = f"  grpc://{self.grpc_address}" if self.grpc_address else ""
            print(f"{self.address}{grpc}  {answering}", file=sys.stderr, flush=True)
        application = create_app(service, self.grpc_address)
        # What is there by now stays, 100,000 objects, most of them of modules: looking through them for garbage would hold up every
        # caller for 50 ms, again and again.
        gc.collect()
        gc.freeze()
        return application


@dataclass(frozen=True)
class _InChild:
    """The same in a process whose parent watches over it."""

    make: ServiceFactory

    def __call__(self) -> FastAPI:
        end_with_parent()  # without it this process would go on holding the port, and nobody would replace it
        try:
            return self.make()
        except DriftloopError as error:
            print(f"driftloop: {error}", file=sys.stderr, flush=True)
            if not self.make.announce:
                time.sleep(RETRY_SECONDS)
            sys.exit(error.exit_code)


def listen(host: str, port: int, processes: int) -> list[socket.socket]:
    """Sockets on one port, the first of them listening: one for each process where the system spreads connections over them, else one.

    Raises:
        OSError: there is no such address, or somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    alone = socket.create_server((host, port), family=family, backlog=BACKLOG)
    if processes == 1 or sys.platform != "linux":
        return [alone]
    # The one above has shown that the port is free: to those below another service on it would not matter.
    chosen = alone.getsockname()[1]
    alone.close()
    sockets = [socket.create_server((host, chosen), family=family, backlog=BACKLOG, reuse_port=True)]
    # Not listening yet: until its process does, no connection must wait for it.
    return [*sockets, *(_beside(family, host, chosen) for _ in range(processes - 1))]


def reserve(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that keeps a port for the gRPC servers of the processes, which bind it by themselves, and its address as they take it.

    gRPC takes 0.0.0.0 as every address of this machine, those of IPv6 as well.

    Raises:
        OSError: there is no such address, or somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass  # it is free
    kept = _beside(family, host, port)
    name = kept.getsockname()[0]
    return kept, f"[{name}]:{port}" if family == socket.AF_INET6 else f"{name}:{port}"


def _beside(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """A socket on a port that others of this user are bound to as well."""
    another = socket.socket(family)
    another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    another.bind((host, port))
    return another


def serve(make: ServiceFactory, sockets: list[socket.socket], *, processes: int, grace: int) -> None:
    """Answer until told to end.

    Args:
        make: the application.
        sockets: of `listen`, for as many processes.
        processes: that answer, at least 1.
        grace: seconds that open requests get at the end.

    Raises:
        DriftloopError: the store or its champion cannot be used.
    """
    if processes == 1:
        _Server(_config(make(), grace)).run(sockets=sockets)
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-processes-") as folder:
        os.environ[METRICS_FOLDER] = folder
        settings = make.settings.model_copy(update={"siblings": Path(folder)})
        config = _config(_InChild(replace(make, settings=settings)), grace)
        config.workers = processes
        service = _Processes(config, sockets)
        service.run()
    if service.ended_by:  # as a process on its own ends, and as a shell tells it
        sys.exit(128 + service.ended_by)


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
        http=LimitedHttp,
        ws="none",
    )


class _Server(uvicorn.Server):
    """uvicorn's, but connections that callers keep are not closed without a word: a request that is on its way just then would be lost."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if GRPC_SERVER in self.lifespan.state:
            self.lifespan.state[GRPC_SERVER].begin_to_end(self.config.timeout_graceful_shutdown)
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until = time.monotonic() + LAST_REQUEST_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


class _Process(Process):
    """uvicorn's, with that server in it, and its death ends a question that waits for its answer."""

    def start(self) -> None:
        super().start()
        # With this end open here as well the pipe would not end with the process, and a question would wait until it counts as hanging.
        self.child_conn.close()

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = _Server(self.config)
        return self._server


class _Processes(Multiprocess):
    """uvicorn's, but each has its socket, the first shows that the service can start, and one that died is said and counted out."""

    #: The signal that told it to end; 0 for none.
    ended_by = 0

    def init_processes(self) -> None:
        first = self._started(0)
        self.processes.append(first)
        while not first.is_ready(timeout=1):
            self.handle_signals()
            if self.should_exit.is_set():
                return
            if not first.process.is_alive():
                # What was wrong it has said itself; a signal that killed it has no status.
                sys.exit(max(first.exitcode or 0, 1))
        assert isinstance(self.config.app, _InChild)
        self.config.app = _InChild(replace(self.config.app.make, announce=False))
        self.processes += [self._started(index) for index in range(1, self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            LOG.error("process %s ended; another takes its place", process.pid)
            mark_process_dead(process.pid)
            self.processes[index] = self._started(index)

    def handle_int(self) -> None:
        self.ended_by = signal.SIGINT
        super().handle_int()

    def handle_term(self) -> None:
        self.ended_by = signal.SIGTERM
        super().handle_term()

    def handle_hup(self) -> None:
        """No restart: the champion is followed, and there is nothing else to read again."""

    handle_ttin = handle_ttou = handle_hup

    def terminate_all(self) -> None:
        # Its own copies would go on taking connections that nobody answers.
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def _started(self, index: int) -> Process:
        process = _Process(self.config, [self.sockets[index % len(self.sockets)]])
        process.start()
        return process
