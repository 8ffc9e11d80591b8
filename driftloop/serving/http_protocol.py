"""uvicorn's HTTP over httptools, with limits on what is neither body nor done, the head of a request and the ends of its chunks, and on the
time that a request takes to come in and an answer to be read.

Another protocol that a caller would like to change to is not spoken: his request is answered as it is.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a head, about: what comes with one read more is not looked at in time. httptools itself puts a header together anew with
#: each read, so that one without end takes memory and, with its square, processor time, before any key is asked for.
MOST_HEAD_BYTES = 64 << 10
#: Within so many times `timeout_keep_alive` a body has to be there, whoever reads it; what the service reads `Guard` limits to less.
BODY_TIMES = 2


class LimitedHttp(HttpToolsProtocol):
    """A connection."""

    #: Bytes since a head was whole, or a part of a body came.
    _unfinished = 0
    #: Closes the connection where the request that has begun, or the first, is not there in time; cancelled where none is expected.
    _late: asyncio.TimerHandle
    #: Ends the connection where nobody reads the answers.
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self._closing_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        self._unset_keepalive_if_required()
        self._expect_the_rest()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            self._go_on_without_upgrade(data[asked.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._unfinished > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {MOST_HEAD_BYTES >> 10} KiB.")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def on_message_begin(self) -> None:
        self._expect_the_rest()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._wants_upgrade():
            return
        self._unfinished = 0
        self._late.cancel()
        self._late = self._closing_later(BODY_TIMES)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> Any:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._wants_upgrade():
            return
        self._unfinished = 0
        self._late.cancel()
        super().on_message_complete()

    def _closing_later(self, times: int = 1) -> asyncio.TimerHandle:
        return self.loop.call_later(times * self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _expect_the_rest(self) -> None:
        if self._late.cancelled():
            self._late = self._closing_later()

    def _wants_upgrade(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read a request anew as if it had not asked for another protocol, as HTTP lets a server do.

        httptools skips its body, and would take that for the next request. Java's client asks for HTTP/2 with each first request.
        """
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.data_received(b"\r\n".join([*head, b"", rest]))
