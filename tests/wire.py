"""A server that sends exactly the bytes that a test gives it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

Play = Callable[[socket.socket], None]
"""What a server does with one connection."""


def answer(
    body: bytes = b"{}",
    *headers: str,
    status: str = "200 OK",
    length: int | None = None,
) -> bytes:
    """Return an HTTP response; `length` is a Content-Length different from the body's."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += headers
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_request(connection: socket.socket) -> bytes:
    """Return one request, head and body; empty once the client has closed."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close with a RST, as a crashed server or a firewall does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang_up(connection: socket.socket) -> None:
    """Close with a RST after a request: before it, the client may still be connecting."""
    read_request(connection)
    reset(connection)


class WireServer:
    """Responds on loopback, each connection in a thread of its own.

    `script` is either what to do with a connection, or the responses, one a request, over as many
    connections as the client opens; the last one is repeated.
    """

    def __init__(self, script: Play | list[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._play = self._answers(script) if isinstance(script, list) else script
        self._tls = tls
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.stopping = threading.Event()
        """Set when the server stops, for a script that stays silent until then."""

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> WireServer:
        thread = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self.stopping.is_set():
                connection.close()
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._play(connection)
        connection.close()

    def _answers(self, answers: list[bytes]) -> Play:
        left = list(answers)

        def play(connection: socket.socket) -> None:
            while request := read_request(connection):
                self.requests.append(request)
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        return play


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


Serve = Callable[..., WireServer]


@pytest.fixture(name="serve")
def serve_fixture() -> Iterator[Serve]:
    """Starts servers, which stop after the test."""
    with contextlib.ExitStack() as stack:

        def serve(script: Any, tls: ssl.SSLContext | None = None) -> WireServer:
            return stack.enter_context(WireServer(script, tls))

        yield serve
