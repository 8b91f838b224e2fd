"""An HTTP/1.1 server on loopback that can also do what a proper server never does.

It can reset a connection, promise more than it sends, let a body drip, and forget a connection.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from onetribe_bc.sandbox.fault import FaultKind
from onetribe_bc.sandbox.messages import REASONS, Request, Response

HOST = "127.0.0.1"
_LINE_LIMIT = 65_536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_INTERIM = _CONTINUE + (
    b"HTTP/1.1 102 Processing\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
)

_log = logging.getLogger(__name__)


class Server(ThreadingTCPServer):
    """Serves `respond` on 127.0.0.1 from `start()` to `stop()`, with a thread per connection.

    Not an HTTPServer, which looks up the host's name. `stop()` sets `stopping`: whatever waits
    inside `respond` waits on it. Raises OSError for a port in use.
    """

    allow_reuse_address = True
    request_queue_size = 512

    def __init__(
        self,
        respond: Callable[[Request], Response],
        *,
        port: int,
        date: Callable[[], str],
        stopping: threading.Event,
    ) -> None:
        self.respond = respond
        self.date = date
        self.stopping = stopping
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        super().__init__((HOST, port), _Handler)
        self.port: int = self.server_address[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection and join every thread. Safe to call twice."""
        self.stopping.set()
        if self._acceptor.is_alive():
            # A connection wakes the acceptor; shutdown() would take up to its poll interval.
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, self.port)).close()
            self._acceptor.join()
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with contextlib.suppress(OSError):  # it closed in the meantime
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
        for thread in connections:
            thread.join()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            self.handle_request()

    def verify_request(self, *_: object) -> bool:
        return not self.stopping.is_set()

    def process_request(self, request: Any, client_address: Any) -> None:
        arguments = (request, client_address)
        thread = threading.Thread(target=self.process_request_thread, args=arguments, daemon=True)
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, without the FIN that `socketserver` sends before a reset."""
        request.close()
        with self._lock:
            self._connections.pop(threading.current_thread(), None)

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exception(), OSError):  # that is a client that left, or stop()
            _log.exception("The sandbox failed to answer a request.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    raw_requestline: bytes
    dies: FaultKind | None = None
    dies_at = 0.0

    def handle_one_request(self) -> None:
        """Serve the next request, unless the connection died in the meantime."""
        if self.dies is not None:
            self.connection.recv(1, socket.MSG_PEEK)
            if time.monotonic() >= self.dies_at:
                self._die()
                return
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read request line and headers.

        Without http.server's e-mail parser, which takes a third of a request's CPU time: 70 of the
        then 220 microseconds, on the cores that a benchmark of bc2ot shares.
        """
        self.requestline = self.raw_requestline.decode("latin-1").rstrip("\r\n")
        self.request_version = self.protocol_version
        words = self.requestline.split(" ")
        if len(words) != 3:
            return self._refuse("The request line is malformed.")
        self.command, self.path, _ = words
        self.headers = http.client.HTTPMessage()
        while line := self._read_line():
            name, colon, value = line.partition(":")
            if not colon:
                return self._refuse("A header is malformed.")
            self.headers.set_raw(name, value.strip())
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        return True

    def _respond(self) -> None:
        at = datetime.now(UTC)
        body = self._read_body()
        if body is None:
            return
        path, _, query = self.path.partition("?")
        request = Request(self.command, path, query, self.headers, body, at)
        self._deliver(self.server.respond(request))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - http.server's names

    def _deliver(self, response: Response) -> None:
        head = self._head(response)
        body = b"" if self.command == "HEAD" else response.body  # doctor sends HEAD
        match response.delivery:
            case FaultKind.RESET | FaultKind.LOST_REPLY:
                self._reset()
            case FaultKind.TRUNCATED:
                self.connection.sendall(head + body[: len(body) // 2])
                self.close_connection = True
            case FaultKind.DRIP:
                self.connection.sendall(head)
                self._drip(body, response.delay_s)
            case FaultKind.DRIP_HEAD:
                self._drip(head + body, response.delay_s)
            case FaultKind.CONTINUE_FOREVER:
                self.close_connection = True
                while not self.server.stopping.wait(0.01):
                    self.connection.sendall(_CONTINUE)
            case delivery:
                if delivery is FaultKind.INTERIM:
                    self.connection.sendall(_INTERIM)
                    self.server.stopping.wait(response.delay_s)
                self.connection.sendall(head + body)
                if delivery in (FaultKind.IDLE_RESET, FaultKind.IDLE_SILENCE):
                    self.dies, self.dies_at = delivery, time.monotonic() + response.delay_s

    def _drip(self, data: bytes, pause_s: float) -> None:
        for index in range(len(data)):
            self.connection.sendall(data[index : index + 1])
            if self.server.stopping.wait(pause_s):
                self.close_connection = True
                return

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.close_connection = True

    def _die(self) -> None:
        """Reset the connection, or read and ignore what comes until the client leaves."""
        if self.dies is FaultKind.IDLE_RESET:
            self._reset()
        else:
            self.close_connection = True
            while self.connection.recv(_LINE_LIMIT):
                pass

    def _head(self, response: Response) -> bytes:
        headers = {"Date": self.server.date()}
        if response.status not in (204, 304):  # these have no body, hence nothing to describe
            headers["Content-Type"] = response.content_type
            headers["Content-Length"] = str(len(response.body))
        headers.update(response.headers)
        lines = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _read_line(self) -> str:
        return self.rfile.readline(_LINE_LIMIT).decode("latin-1").rstrip("\r\n")

    def _read_body(self) -> bytes | None:
        """The body; None if it cannot be read, after a 400."""
        if "Transfer-Encoding" in self.headers:
            self._refuse("Chunked bodies are not supported: send a Content-Length.")
            return None
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit():
            self._refuse("Content-Length is not a number.")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self._refuse("The body is shorter than its Content-Length.")
            return None
        return body

    def _refuse(self, message: str) -> bool:
        self.send_error(400, message)  # which also closes the connection
        return False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log nothing: the sandbox keeps its requests."""
