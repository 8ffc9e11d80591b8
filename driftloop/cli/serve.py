"""`driftloop serve`: the champion answers over HTTP, and every answer goes into the log that watches read."""

import hashlib
import ipaddress
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from driftloop.cli.arguments import DEFAULT_STORE
from driftloop.errors import InputError
from driftloop.runtime import available_threads

API_KEYS, FEEDBACK_KEYS = "DRIFTLOOP_API_KEY", "DRIFTLOOP_FEEDBACK_KEY"
T = TypeVar("T")
#: Each holds a model in memory; more cores than these take `--processes`, or more replicas.
MOST_PROCESSES = 8


def serve(
    store: Annotated[str, typer.Option(help="The model's home: a folder or s3://bucket/prefix.")] = DEFAULT_STORE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for the Open Inference Protocol over gRPC; 0: none.")] = 0,
    image_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests whose image is kept in the log.")] = 1.0,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the champion.")] = 2.0,
    flush: Annotated[float, typer.Option(min=0.1, help="Seconds that an answer waits at most for its way into the log.")] = 10.0,
    spool: Annotated[str, typer.Option(help="Folder for what is not in the store yet; survives a kill. Default: below ~/.cache.")] = "",
    spool_mib: Annotated[int, typer.Option(min=1, help="What may lie there while the store is away.")] = 1024,
    processes: Annotated[int, typer.Option(min=0, help="Processes that share the port; 0: one a core, at most 8.")] = 0,
    megapixels: Annotated[int, typer.Option(min=1, max=80, help="Millions of pixels of an image at most.")] = 40,
    queue: Annotated[int, typer.Option(min=1, help="Images that may wait; beyond it requests are turned away.")] = 256,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Images that are predicted together at most; 1: each on its own.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Threads of a process that decode and predict; 0: its share of the cores.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of one prediction; 0: its share of the cores.")] = 0,
    provider: Annotated[str, typer.Option(help="onnxruntime's execution provider; empty: what suits graph and machine.")] = "",
    grace: Annotated[int, typer.Option(min=1, help="Seconds that open requests get when the service is told to end.")] = 20,
    without_key: Annotated[bool, typer.Option(help=f"Listen beyond this machine without a key in {API_KEYS}.")] = False,
) -> None:
    """Answer with the champion, follow every promotion, and log each answer.

    Keys of callers come from DRIFTLOOP_API_KEY, of labellers from DRIFTLOOP_FEEDBACK_KEY (several by comma).

        driftloop serve &
        curl -F image=@chest.png http://127.0.0.1:8080/predict
    """
    # Workers run side by side already: a BLAS with threads of its own would have them wait for one another. Read when numpy is loaded.
    # Not by OMP_NUM_THREADS, which also says how many workers there are.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        if grpc_port:
            # It would write a line about calls that it refuses itself, for which anybody could ask. Read when it is loaded.
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")
            import grpc  # noqa: F401

        from driftloop.serving import processes as serving
        from driftloop.serving.settings import ServingSettings
    except ModuleNotFoundError as missing:
        raise InputError(
            f"driftloop serve needs {missing.name}: install driftloop with its extra: pip install 'driftloop[serve]'"
        ) from None
    keys = _keys(API_KEYS)
    if not keys and not without_key and not _is_loopback(host):
        raise InputError(f"{host} is reached from other machines: set {API_KEYS} to a key that callers must show, or say --without-key")
    cores = available_threads()
    processes = processes or min(cores, MOST_PROCESSES)
    settings = ServingSettings(
        image_share=image_share,
        poll_seconds=poll,
        flush_seconds=flush,
        spool=Path(spool).expanduser() if spool else _default_spool(store),
        spool_mib=spool_mib,
        processes=processes,
        most_queued=_share(queue, processes),
        most_batched=batch,
        most_megapixels=megapixels,
        workers=workers or _share(cores, processes),
        threads=threads or _share(cores, processes),
        provider=provider,
        api_keys=keys,
        feedback_keys=_keys(FEEDBACK_KEYS),
    )
    # Bound first: two services on one port would otherwise be noticed only when a model is loaded.
    sockets = _bound(host, port, "--port", lambda: serving.listen(host, port, processes))
    address = f"http://{host}:{sockets[0].getsockname()[1]}"
    factory = serving.ServiceFactory(store, settings, address)
    if not grpc_port:
        serving.serve(factory, sockets, processes=processes, grace=grace)
        return
    kept, grpc_address = _bound(host, grpc_port, "--grpc-port", lambda: serving.reserve(host, grpc_port))
    with kept:
        serving.serve(replace(factory, grpc_address=grpc_address), sockets, processes=processes, grace=grace)


def _bound(host: str, port: int, option: str, bind: Callable[[], T]) -> T:
    try:
        return bind()
    except OSError as refused:
        raise InputError(f"cannot listen on {host}:{port}: {refused.strerror or refused}; name another with --host or {option}") from None


def _share(whole: int, processes: int) -> int:
    """The part of one of several processes, at least 1."""
    return max(1, whole // processes)


def _keys(name: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in os.environ.get(name, "").split(",") if key.strip())


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _default_spool(store: str) -> Path:
    """A folder of this user for this store."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = store if "://" in store else str(Path(store).expanduser().resolve())
    return cache / "driftloop" / "spool" / hashlib.sha256(name.encode()).hexdigest()[:16]
