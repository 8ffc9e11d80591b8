"""Around every request: size and time of its way in are limited, its time and status counted, and its answer has headers that keep browsers
careful."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from driftloop.serving.metrics import Metrics
from driftloop.serving.refusals import CALLER_GONE, CLOSE, REFUSED, refusal
from driftloop.serving.unanswered import Unanswered

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Response]]

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
        super().__init__(413, f"the request is larger than {most_bytes >> 20} MiB", CLOSE)


class Guard:
    """ASGI middleware. Paths are counted by their route: what somebody may think up must not become a name in the metrics."""

    def __init__(
        self,
        app: Any,
        *,
        metrics: Metrics,
        unanswered: Unanswered,
        most_bytes: int,
        upload_seconds: float,
        direct: Mapping[str, Handler],
    ) -> None:
        """Args:
        unanswered: bytes of all requests, which this counts.
        most_bytes: of a request.
        upload_seconds: for which a request may come in.
        direct: by path, what answers a POST without FastAPI, whose way to a handler costs as much as the handler.
        """
        self.app, self.metrics, self.unanswered, self.direct = app, metrics, unanswered, direct
        self.most_bytes, self.upload_seconds = most_bytes, upload_seconds

    def _check(self, of_request: int, more: int) -> None:
        """Whether `more` bytes may come to a request that has `of_request` with them."""
        if of_request > self.most_bytes:
            raise _TooLarge(self.most_bytes)
        self.unanswered.check(more)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, taken, status, coming, path = time.monotonic(), 0, 500, True, ""
        until = asyncio.get_running_loop().time() + self.upload_seconds
        state = scope["state"] = {**scope.get("state", {}), "began": began}

        async def limited() -> Message:
            nonlocal taken, coming
            if not coming:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _Refused(408, f"the request did not come in within {self.upload_seconds:g} s", CLOSE) from None
            size = len(message.get("body", b""))
            taken += size
            self.unanswered.add(size)
            self._check(taken, 0)
            coming = message.get("more_body", False)
            # A caller's slow line is not this service's latency.
            state["began"] = time.monotonic()
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in present)]
            await send(message)

        try:
            headers = dict(scope["headers"])
            if headers.get(b"content-encoding", b"identity") not in (b"", b"identity"):
                raise _Refused(415, "send the body as it is: compressed ones are not read")
            length = headers.get(b"content-length", b"0")
            if length.isdigit():
                self._check(int(length), int(length))
            handler = self.direct.get(scope["path"]) if scope["method"] == "POST" else None
            if handler:
                path = scope["path"]
                response = await handler(Request(scope, limited))
                await response(scope, limited, guarded)
            else:
                await self.app(scope, limited, guarded)
        except ClientDisconnect:
            status = CALLER_GONE  # in the middle of the request: nobody is there to be told
        except REFUSED as error:
            said = refusal(error)
            await problem(scope["path"], said.detail, said.status_code, said.headers)(scope, receive, guarded)
        finally:
            self.unanswered.add(-taken)
            route = path or getattr(scope.get("route"), "path", "(unknown)")
            self.metrics.request(route, status, time.monotonic() - began)


def check_key(keys: tuple[str, ...], headers: Mapping[str, str]) -> None:
    """Let those in who show one of the keys; everybody where there are none.

    Args:
        headers: of the request, by names in small letters.

    Raises:
        HTTPException: 401.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    shown = (bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")).encode("latin-1", "replace")
    # The server has read it as Latin-1. Every key is compared, and each in constant time: nothing is learnt from how long a refusal takes.
    if keys and sum(hmac.compare_digest(shown, key.encode()) for key in keys) == 0:
        raise HTTPException(401, "this service wants a key: Authorization: Bearer <key>", {"www-authenticate": "Bearer"})
