"""uvicorn's HTTP over httptools, with a limit on what is neither body nor done: the head of a request, the ends of its chunks."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a head, about: what comes with one read more is not looked at in time. httptools itself puts a header together anew with
#: each read, so that one without end takes memory and, with its square, processor time, before any key is asked for.
MOST_HEAD_BYTES = 64 << 10


class LimitedHttp(HttpToolsProtocol):
    """A connection."""

    #: Bytes since a head was whole, or a part of a body came.
    _unfinished = 0

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of a request has at most {MOST_HEAD_BYTES >> 10} KiB.")

    def on_headers_complete(self) -> None:
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> Any:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = 0
        super().on_message_complete()
