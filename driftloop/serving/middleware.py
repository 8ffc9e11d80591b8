"""Around every request: its size is limited, its time and status are counted, and its answer carries headers that keep browsers careful."""

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException, Request
from starlette.responses import JSONResponse

from driftloop.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
]


def problem(path: str, sentence: str, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """What was wrong. The Open Inference Protocol calls it `error`, and its clients read nothing else."""
    named = {"error": sentence} if path == "/v2" or path.startswith("/v2/") else {}
    return JSONResponse({"detail": sentence, **named}, status, headers)


class _Refused(HTTPException):
    """An HTTPException, because FastAPI answers 400 to anything else that is raised while it reads a body."""


class _TooLarge(_Refused):
    def __init__(self, most_bytes: int) -> None:
        super().__init__(413, f"the request is larger than {most_bytes >> 20} MiB", {"connection": "close"})


class Guard:
    """ASGI middleware. Paths are counted by their route: what somebody may think up must not become a name in the metrics."""

    def __init__(self, app: Any, *, metrics: Metrics, most_bytes: int) -> None:
        self.app, self.metrics, self.most_bytes = app, metrics, most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, taken, status = time.monotonic(), 0, 500
        scope["state"] = {**scope.get("state", {}), "began": began}

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.most_bytes:
                raise _TooLarge(self.most_bytes)
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in present)]
            await send(message)

        try:
            if dict(scope["headers"]).get(b"content-encoding", b"identity") not in (b"", b"identity"):
                raise _Refused(415, "send the body as it is: compressed ones are not read")
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if length.isdigit() and int(length) > self.most_bytes:
                raise _TooLarge(self.most_bytes)
            await self.app(scope, limited, guarded)
        except _Refused as error:
            await problem(scope["path"], error.detail, error.status_code, error.headers)(scope, receive, guarded)
        finally:
            route = scope.get("route")
            self.metrics.request(getattr(route, "path", "(unknown)"), status, time.monotonic() - began)


def check_key(keys: tuple[str, ...], headers: Mapping[str, str]) -> None:
    """Let those in who show one of the keys; everybody where there are none.

    Args:
        headers: of the request, by names in small letters.

    Raises:
        HTTPException: 401.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    shown = (bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")).encode()
    # Every key is compared, and each in constant time: nothing is learnt from how long a refusal takes.
    if keys and sum(hmac.compare_digest(shown, key.encode()) for key in keys) == 0:
        raise HTTPException(401, "this service wants a key: Authorization: Bearer <key>", {"www-authenticate": "Bearer"})


def keyed(keys: tuple[str, ...]) -> Callable[[Request], Awaitable[None]]:
    """That as a dependency of FastAPI."""

    # Async, though nothing is waited for: FastAPI sends what is not through a thread pool, which costs more than the check.
    async def check(request: Request) -> None:
        check_key(keys, request.headers)

    return check
