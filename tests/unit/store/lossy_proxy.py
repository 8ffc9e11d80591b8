"""A proxy between a client and a server that can swallow answers: the request takes effect, and the client never hears of it."""

import socket
import threading


class LossyProxy:
    """Listens on 127.0.0.1; `swallow(n)` cuts the connection instead of passing on the answer to each of the next n PUT requests."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self._to_swallow = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def swallow(self, answers: int) -> None:
        """From now on swallow that many answers."""
        with self._lock:
            self._to_swallow = answers

    def close(self) -> None:
        """Cut every connection and stop."""
        # Shutting down wakes the thread that waits for connections; closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            _cut(connection)
        for thread in self._threads:
            thread.join()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._open += [client, server]
            swallowing = threading.Event()
            for pump in (self._requests, self._answers):
                self._threads.append(threading.Thread(target=pump, args=(client, server, swallowing)))
                self._threads[-1].start()

    def _requests(self, client: socket.socket, server: socket.socket, swallowing: threading.Event) -> None:
        while data := _receive(client):
            if data.startswith(b"PUT "):
                with self._lock:
                    if self._to_swallow:
                        self._to_swallow -= 1
                        swallowing.set()
            server.sendall(data)
        _cut(server)

    def _answers(self, client: socket.socket, server: socket.socket, swallowing: threading.Event) -> None:
        while (data := _receive(server)) and not swallowing.is_set():
            client.sendall(data)
        _cut(client)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
