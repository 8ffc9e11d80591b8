"""Traffic for a service that runs: the planned images are sent as files, one request each, at a steady rate."""

import http.client
import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from components.traffic_replay.traffic import PlayedTraffic
from driftloop import runtime
from driftloop.errors import InputError, RunFailed
from driftloop.inference.log_files import hour_folder, log_files
from driftloop.store import Store

API_KEY = "DRIFTLOOP_API_KEY"
#: Connections side by side, tries of a request that was turned away, and seconds that one may take.
CONNECTIONS, TRIES, TIMEOUT_SECONDS = 8, 20, 60.0
#: How long a service may take to write its log, in seconds.
LOG_SECONDS = 120.0


@dataclass(frozen=True)
class Answered:
    """What a service said of an image."""

    version: str
    """The model's."""
    latency_ms: float
    """Of the try that was answered."""
    prediction: dict[str, Any]
    """As `/predict` describes it: class, confidence, probabilities, unusual."""


class ServiceClient:
    """Sends images to a service's `/predict`; safe to share between threads, each of which keeps a connection open."""

    def __init__(self, url: str) -> None:
        """Args:
            url: of the service: http://host:port, perhaps with a path before `/predict`.

        Raises:
            InputError: no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--to {url}: not the address of a service; give http://host:port")
        self.url, self._parts = url, parts
        self._key = os.environ.get(API_KEY, "").split(",")[0].strip()
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._opened:
            connection.close()

    def send(self, image: np.ndarray, request_id: str, group: str, tags: Mapping[str, str]) -> Answered:
        """Send one uint8 image (H, W, C), without loss.

        A service that has too much to do is asked again. One id is one request, however often it is sent.

        Raises:
            InputError: the service refuses.
            RunFailed: it cannot be reached, or fails.
        """
        headers = {"Content-Type": "image/png", "X-Request-Id": request_id, "X-Group": group}
        headers |= {f"X-Tag-{name}": value for name, value in tags.items()}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # Names of patients and sites: as text they would go in Latin-1, where they go at all, and the service reads UTF-8.
        encoded = {name: value.encode() for name, value in headers.items()}
        body = as_png(image)
        said = ""
        for attempt in range(TRIES):
            began = time.perf_counter()
            try:
                status, answer = self._post(body, encoded)
            except (OSError, http.client.HTTPException) as broken:
                said = str(broken) or type(broken).__name__
                self._local.connection.close()  # it opens again when it is next used
                # A replica that has ended closes its connections: the next one is another's.
                time.sleep(0.05 * (attempt + 1))
                continue
            if status == 200:
                found = json.loads(answer)
                return Answered(found["version"], (time.perf_counter() - began) * 1000, found["predictions"][0])
            said = _detail(answer)
            if status != 503:
                raise InputError(f"{self.url}: answered {status}: {said}")
            time.sleep(0.05 * (attempt + 1))
        raise RunFailed(f"{self.url}: no answer to request {request_id} in {TRIES} tries ({said}); is `driftloop serve` running there?")

    def _post(self, body: bytes, headers: dict[str, bytes]) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            connection = self._local.connection = kind(self._parts.hostname or "", self._parts.port, timeout=TIMEOUT_SECONDS)
            self._opened.append(connection)
        connection.request("POST", self._parts.path.rstrip("/") + "/predict", body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def send(traffic: PlayedTraffic, client: ServiceClient, done: set[str], *, rate: float) -> tuple[np.ndarray, list[float], set[str]]:
    """Send every request that is not in the log yet.

    Args:
        traffic: what to send.
        done: ids of requests that were answered before.
        rate: requests a second; 0 sends them as fast as they are answered.

    Returns:
        The true class of every request, (n,), the latencies in ms, and the versions that answered.
    """
    truth = np.empty(len(traffic.ids), dtype=np.int64)
    latencies: list[float] = []
    versions: set[str] = set()
    began, sent = time.monotonic(), 0

    def take(answer: "Future[Answered]") -> None:
        try:
            answered = answer.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # where one was tried long enough, the others need not be
            raise
        versions.add(answered.version)
        latencies.append(answered.latency_ms)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for chunk in traffic.chunks():
            images, truth[chunk] = traffic.requests(chunk)
            groups, tags = traffic.groups(chunk), traffic.tags(chunk)
            waiting: deque[Future[Answered]] = deque()
            for image, name, group, of_image in zip(images, traffic.ids[chunk], groups, tags, strict=True):
                if name in done:
                    continue
                if rate:
                    time.sleep(max(0.0, began + sent / rate - time.monotonic()))
                while waiting and waiting[0].done():
                    take(waiting.popleft())
                waiting.append(pool.submit(client.send, image, name, str(group), of_image))
                sent += 1
            for answer in waiting:
                take(answer)
            runtime.progress(chunk.stop / len(traffic.ids), f"{chunk.stop:,} of {len(traffic.ids):,} requests")
    return truth, latencies, versions


def wait_for_log(store: Store, ids: set[str], since: datetime) -> datetime:
    """The time of the last of these requests, once the service has written all of them into its log since then.

    Raises:
        RunFailed: it has not, in time.
    """
    began, pause = time.monotonic(), 0.2
    missing, read, last = set(ids), set[str](), since
    while missing:
        # A service's clock may be behind ours.
        for file in list(log_files(store, hour_folder(since - timedelta(hours=1)))):
            if file.key not in read:
                read.add(file.key)
                rows = pq.read_table(io.BytesIO(store.read(file.key)), columns=["request_id", "time"]).to_pandas()
                rows = rows[rows["request_id"].isin(missing)]
                if len(rows):
                    missing -= set(rows["request_id"])
                    last = max(last, rows["time"].max().to_pydatetime())
        if missing and time.monotonic() - began > LOG_SECONDS:
            raise RunFailed(
                f"{store.uri}: {len(missing):,} of {len(ids):,} answered requests are not in the log after {LOG_SECONDS:.0f} s; "
                "does the service log into another store?"
            )
        if missing:
            runtime.progress(1.0, f"waiting for the service's log: {len(missing):,} requests are not in the store yet")
            time.sleep(pause)
            pause = min(1.5 * pause, 3.0)
    return last


def as_png(image: np.ndarray) -> bytes:
    """A uint8 image (H, W, C) as a file, without loss."""
    stream = io.BytesIO()
    Image.fromarray(image.squeeze(axis=-1) if image.shape[-1] == 1 else image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _detail(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
