"""A service that keeps the contract of the page and answers by rule: what a model would need hours for, a test asks for by file name."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from driftloop.serving.page import page_router

CLASSES = ["NORMAL", "PNEUMONIA"]
SHARP = {
    "p_value": 0.004,
    "statistic": "sharpness",
    "value": 812.0,
    "usual_low": 90.0,
    "usual_high": 400.0,
    "sentence": "sharpness 812 is higher than in 99.6 % of the reference",
}
USUAL = {
    "p_value": 0.62,
    "statistic": "edge_density",
    "value": 0.21,
    "usual_low": 0.08,
    "usual_high": 0.33,
    "sentence": "looks as usual: edge density 0.21 is within 0.08 to 0.33",
}
CUT = "levels above 4,095, the highest that the model was trained on, were read as if these were that one"


@dataclass
class StandIn:
    """What it was asked, and what it is to say next."""

    address: str = ""
    key: str | None = None
    feedback_key: str | None = None
    version: str | None = "3"
    """None before the first promotion."""
    classes: list[str] = field(default_factory=lambda: list(CLASSES))
    busy: int = 0
    """Answers of /predict that are a 503."""
    recent: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI(docs_url=None)
        app.include_router(page_router())
        numbers = itertools.count(1)

        @app.post("/predict")
        async def predict(request: Request) -> JSONResponse:
            if self.key and request.headers.get("X-API-Key") != self.key:
                return refuse(401, "a key is needed: Authorization: Bearer KEY")
            if self.version is None:
                return refuse(503, "no model answers yet: none is promoted, or the store is away; try again later", {"Retry-After": "1"})
            if self.busy:
                self.busy -= 1
                return refuse(503, "the queue is full", {"Retry-After": "2"})
            async with request.form() as form:
                upload: Any = form["image"]
                name, content = upload.filename, await upload.read()
            if not content.startswith((b"\x89PNG", b"II*\0")):
                return refuse(422, f"{name}: not an image that can be read")
            if name.startswith("slow"):
                await asyncio.sleep(0.5)
            shares = [1 / 2**place for place in range(1, len(self.classes))]
            shares = [0.031, 0.969] if len(self.classes) == 2 else [*shares, 1 - sum(shares)]
            probabilities = dict(zip(self.classes, shares, strict=True))
            predicted = max(probabilities, key=lambda name: probabilities[name])
            unusual = SHARP if name.startswith("sharp") else USUAL
            request_id = f"01hf{next(numbers):028x}"
            self.recent.insert(
                0,
                {
                    "time": "2026-11-28T02:30:00+00:00",
                    "request_id": request_id,
                    "class": predicted,
                    "confidence": probabilities[predicted],
                    "unusual_p": unusual["p_value"],
                    "latency_ms": 3.2,
                    "version": self.version,
                },
            )
            note = CUT if name.startswith("deep") else ""
            prediction = {"request_id": request_id, "class": predicted, "confidence": probabilities[predicted], "note": note}
            return JSONResponse(
                {"version": self.version, "predictions": [prediction | {"probabilities": probabilities, "unusual": unusual}]}
            )

        @app.post("/feedback", status_code=202)
        async def feedback(request: Request) -> JSONResponse:
            if self.feedback_key and request.headers.get("X-API-Key") != self.feedback_key:
                return refuse(401, "feedback needs a key of its own")
            self.feedback.append(await request.json())
            return JSONResponse({"accepted": 1}, 202)

        @app.get("/activity")
        async def activity(request: Request) -> JSONResponse:
            if self.key and request.headers.get("X-API-Key") != self.key:
                return refuse(401, "a key is needed: Authorization: Bearer KEY")
            return JSONResponse(
                {
                    "version": self.version,
                    "since": self.version and "2026-11-28T01:12:00+00:00",
                    "classes": self.classes if self.version else [],
                    "image_size": self.version and 64,
                    "champion": "driftloop",
                    "requests": 1234,
                    "errors": 0,
                    "queue": 0,
                    "requests_per_second": 41.2,
                    "p50_ms": 3.1,
                    "p95_ms": 8.8,
                    "log_backlog_rows": 12,
                    "log_dropped_rows": 0,
                    "swaps": 1,
                    "recent": self.recent[:50],
                }
            )

        return app


def refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


@contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The address of an app that a thread serves on the loopback, on a free port unless one is named."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
