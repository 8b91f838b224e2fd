"""A small HTTP/1.1 server on loopback: a thread per connection, keep-alive, one write per answer.

Written on bare sockets, since a simulator must also do what a proper server never does: reset a
connection, promise more than it sends, let a body drip.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from io import BufferedReader

from onetribe_bc.sandbox.messages import REASONS, Delivery, Headers, Request, Response

HOST = "127.0.0.1"
_BACKLOG = 512
_LINE_LIMIT = 65_536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)

_log = logging.getLogger(__name__)

App = Callable[[Request], Response]


class _BadRequestError(Exception):
    """What came is no HTTP request this server can read."""


class Server:
    """Serves `app` on 127.0.0.1 from `start()` to `stop()`.

    `stopping` is set by `stop()`: whoever waits inside `app` waits on it, so that it ends quickly.
    """

    def __init__(
        self, app: App, *, port: int = 0, date: Callable[[], str], stopping: threading.Event
    ) -> None:
        self._app = app
        self._date = date
        self._stopping = stopping
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((HOST, port))
            self._listener.listen(_BACKLOG)
        except OSError:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept, name=f"sandbox-{self.port}", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection and join every thread. Safe to call twice."""
        self._stopping.set()
        if self._acceptor.is_alive():
            # Closing a listener does not wake an accept() everywhere; a connection does.
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as knock:
                knock.connect((HOST, self.port))
            self._acceptor.join()
        self._listener.close()
        with self._lock:
            open_connections = dict(self._connections)
        for connection in open_connections.values():
            _shut_down(connection)
        for thread in open_connections:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionError:  # the client left while it was still in the backlog
                continue
            if self._stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"sandbox-{self.port}-c", daemon=True
            )
            with self._lock:
                self._connections[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stopping.is_set() and self._serve_one(connection, reader):
                pass
        except OSError:
            pass  # the client left, or stop() closed the connection
        except Exception:  # noqa: BLE001 - a bug in one request must not end the server unseen
            _log.exception("The sandbox failed to answer a request.")
        finally:
            reader.close()
            connection.close()
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def _serve_one(self, connection: socket.socket, reader: BufferedReader) -> bool:
        """Answer one request. Returns whether the connection may carry another."""
        try:
            request = _read_request(connection, reader)
        except _BadRequestError as error:
            body = str(error).encode()
            connection.sendall(self._head(Response(400, body, content_type="text/plain")) + body)
            return False
        if request is None:
            return False
        response = self._app(request)
        if response.delivery is Delivery.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            return False
        head = self._head(response)
        body = b"" if request.method == "HEAD" else response.body
        if response.delivery is Delivery.TRUNCATED:
            connection.sendall(head + body[: len(body) // 2])
            return False
        if response.delivery is Delivery.DRIP:
            connection.sendall(head)
            return self._drip(connection, body, response.drip_s)
        connection.sendall(head + body)
        return request.headers.get("Connection", "").lower() != "close"

    def _drip(self, connection: socket.socket, body: bytes, pause_s: float) -> bool:
        for index in range(len(body)):
            connection.sendall(body[index : index + 1])
            if self._stopping.wait(pause_s):
                return False
        return True

    def _head(self, response: Response) -> bytes:
        headers = {"Date": self._date()}
        if response.status not in (204, 304):  # these have no body, hence nothing to describe
            headers["Content-Type"] = response.content_type
            headers["Content-Length"] = str(len(response.body))
        headers.update(response.headers)
        lines = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it closed in the meantime
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it


def _read_line(reader: BufferedReader) -> str:
    line = reader.readline(_LINE_LIMIT)
    if line and not line.endswith(b"\n"):
        raise _BadRequestError("A line of the request is too long or cut off.")
    return line.decode("latin-1").rstrip("\r\n")


def _read_request(connection: socket.socket, reader: BufferedReader) -> Request | None:
    """The next request, or None at the end of the connection."""
    first = _read_line(reader)
    if not first:
        return None
    at = datetime.now(UTC)
    try:
        method, target, _version = first.split(" ")
    except ValueError:
        raise _BadRequestError("The request line is malformed.") from None
    fields: dict[str, str] = {}
    while line := _read_line(reader):
        name, colon, value = line.partition(":")
        if not colon:
            raise _BadRequestError("A header is malformed.")
        fields[name] = value.strip()
    headers = Headers(fields)
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, _read_body(connection, reader, headers), at)


def _read_body(connection: socket.socket, reader: BufferedReader, headers: Headers) -> bytes:
    if headers.get("Expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "Transfer-Encoding" in headers:
        raise _BadRequestError("A body needs a Content-Length here; chunks are not understood.")
    length = headers.get("Content-Length", "0")
    if not length.isascii() or not length.isdigit():
        raise _BadRequestError("Content-Length is not a number.")
    body = reader.read(int(length))
    if len(body) < int(length):
        raise _BadRequestError("The body is shorter than its Content-Length.")
    return body
