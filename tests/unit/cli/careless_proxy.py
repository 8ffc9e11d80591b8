"""A proxy that makes of a good S3 server one that ignores the conditions of conditional writes, as some do."""

import re
import socket
import threading

from tests.unit.store.lossy_proxy import LossyProxy

CONDITION = re.compile(rb"\r\nIf-(None-)?Match:[^\r]*", re.IGNORECASE)


class CarelessProxy(LossyProxy):
    """Passes everything on but `If-Match` and `If-None-Match`."""

    def _requests(self, client: socket.socket, server: socket.socket, swallowing: threading.Event) -> None:
        try:
            while data := client.recv(1 << 16):
                server.sendall(CONDITION.sub(b"", data))
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
