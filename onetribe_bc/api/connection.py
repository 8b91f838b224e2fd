"""Stricter connections for requests and urllib3.

One deadline covers an exchange. Interim responses are skipped. Once a status line is read, there is
a response, however malformed its headers. A connection is reused only if it has no unread bytes and
was used in the last few seconds.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection

MAX_IDLE_S = 4.0
"""After this many idle seconds, a connection is not reused: NAT and load balancers may have dropped
it silently, and a POST on it may or may not arrive."""

_KEPT_OPEN = re.compile(r"timeout *= *(\d{1,9})", re.IGNORECASE)
"""What a server's `Keep-Alive` header says: after so many idle seconds it closes a connection."""

_MAX_LINE = 64 * 1024
_MAX_HEAD = 16 * 1024 * 1024
_MAX_OTHERS = 40
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d[ \t]+([1-9]\d\d)\s")
"""Stricter than http.client, which reads `+103`, `0103` and `1_03` as the final status 103."""

_USED = frozenset(
    b"connection content-encoding content-length content-type date keep-alive location retry-after "
    b"transfer-encoding x-rate-limit-requests-left x-rate-limit-requests-quota "
    b"x-rate-limit-time-reset-ms x-rate-limit-time-window-ms x-retry-after".split()
)
"""The headers that bc2ot reads; of all others, only the first few are kept."""


@dataclass(slots=True)
class Exchange:
    """The request that a thread has in flight."""

    give_up_at: float
    sent: bool = False
    """Whether the first byte was sent on an established connection: then it may have arrived."""
    cut: bool = False
    """Whether it is unclear where the head or body ends; then the response has no body."""
    connection: _Connection | None = None


class _Current(threading.local):
    exchange = Exchange(float("inf"))


_current = _Current()


def begin_exchange(give_up_at: float) -> Exchange:
    """Start this thread's next exchange, which ends at that monotonic time."""
    _current.exchange = Exchange(give_up_at)
    return _current.exchange


def _keepalive() -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, seconds in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options


class Adapter(HTTPAdapter):
    """requests' adapter with this module's connections, direct and through proxies."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, socket_options=_SOCKET_OPTIONS, **options)
        _use_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, socket_options=_SOCKET_OPTIONS, **options)
        if is_new:
            _use_connections(manager)
        return manager


_SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, *_keepalive()]


def _use_connections(manager: PoolManager) -> None:
    """Make the pools of a manager, which may be a SOCKS proxy's, use this module's connections."""
    pools: dict[str, Any] = {}
    for scheme, pool in dict[str, Any](manager.pool_classes_by_scheme).items():
        connection = type("Connection", (_Connection, pool.ConnectionCls), {})
        pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = pools


class _Response(http.client.HTTPResponse):
    """A response whose head this module reads before http.client parses it."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = _Stream(_Timed(self.fp.detach(), sock))

    def begin(self) -> None:
        if self.headers is not None:
            return
        stream = self.fp
        self.fp = io.BytesIO(_read_head(stream))
        try:
            super().begin()
        finally:
            self.fp = stream


class _Connection(HTTPConnection):
    """A mixin for urllib3's connections."""

    response_class = _Response
    _connecting = False
    _fresh_until = 0.0
    is_spoiled = False
    """Whether it has unread bytes, which belong to no request."""

    def connect(self) -> None:
        self._connecting = True  # what goes out now is a proxy's or TLS's, not the request
        try:
            super().connect()
        finally:
            self._connecting = False

    @property
    def is_connected(self) -> bool:
        is_fresh = time.monotonic() < self._fresh_until
        return is_fresh and not self.is_spoiled and super().is_connected

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._connecting:
            _current.exchange.connection = self
            # Only what the system has accepted can have arrived.
            accepted = self.sock.send(data)
            _current.exchange.sent = True
            data = memoryview(data)[accepted:]
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        announced = _KEPT_OPEN.search(response.headers.get("Keep-Alive", ""))
        # A second less: the server may close it while a request is on its way.
        idle_s = min(MAX_IDLE_S, int(announced[1]) - 1) if announced else MAX_IDLE_S
        self._fresh_until = time.monotonic() + idle_s
        return response

    def close(self) -> None:
        super().close()
        self.is_spoiled = False


class _Timed(io.RawIOBase):
    """Reads a socket until the exchange's deadline."""

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._sock = sock
        self._timeout_s = sock.gettimeout()
        self._exchange = _current.exchange
        self._polls = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._exchange.give_up_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        timeout_s = left_s if self._timeout_s is None else min(self._timeout_s, left_s)
        self._sock.settimeout(0 if self._polls else timeout_s)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Read without waiting."""
        self._polls = True
        try:
            yield
        finally:
            self._sock.settimeout(self._timeout_s)

    def spoil(self) -> None:
        """Prevent the connection from being reused."""
        if self._exchange.connection is not None:
            self._exchange.connection.is_spoiled = True


class _Stream(io.BufferedReader):
    """The bytes of a response. Bytes left at its end spoil the connection."""

    raw: _Timed

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError, ValueError), self.raw.polling():
                if self.peek(1):
                    self.raw.spoil()
        super().close()


def _read_head(stream: _Stream) -> bytes:
    """Return the head of the first response that is not interim, in a form for http.client.

    Once the status line is read, no error in the headers is raised.
    """
    while True:
        line = stream.readline(_MAX_LINE)
        if not line:
            raise http.client.RemoteDisconnected("no response")
        status = _STATUS_LINE.match(line)
        if status and len(line) == _MAX_LINE:
            line = status[0] + _rest_of_line(stream)
        if not status or not line.endswith(b"\n"):
            raise http.client.BadStatusLine("the status line is malformed or incomplete")
        headers, is_whole = _read_headers(stream)
        if not status[1].startswith(b"1"):
            break
        if not is_whole:
            raise http.client.RemoteDisconnected("no response after an interim one")
    framing = [header for header in headers if header[0] in _FRAMING]
    if not (is_whole and _has_one_end(framing)):
        _current.exchange.cut = True
        headers = [header for header in headers if header[0] not in _FRAMING]
        headers.append((b"content-length", b"0"))
        stream.raw.spoil()
    elif status[1] in (b"204", b"304") and framing not in _NO_BODY:
        stream.raw.spoil()
    return line + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"


def _rest_of_line(stream: _Stream) -> bytes:
    """Skip to the end of a line and return the last part of it."""
    line, size = b"", 0
    while not line.endswith(b"\n") and size < _MAX_HEAD:
        line = stream.readline(_MAX_LINE // 2)
        size += len(line)
        if not line:
            break
    return line


_FRAMING = (b"content-length", b"transfer-encoding")
_NO_BODY: tuple[list[tuple[bytes, bytes]], ...] = ([], [(b"content-length", b"0")])


def _read_headers(stream: _Stream) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the headers, with names in lower case, and whether the head is complete.

    Keep few enough headers for http.client, which refuses more than a hundred.
    """
    headers: list[tuple[bytes, bytes]] = []
    counts: Counter[bytes] = Counter()
    size, is_continued = 0, False
    with suppress(OSError):
        while size < _MAX_HEAD and (line := stream.readline(_MAX_LINE)):
            size += len(line)
            if line in (b"\r\n", b"\n") and not is_continued:
                return headers, True
            is_part, is_continued = is_continued, not line.endswith(b"\n")
            name, colon, value = line.partition(b":")
            header = name.lower(), value.strip()
            if is_part or is_continued or not _NAME.fullmatch(name) or not colon:
                continue
            kind, most = (header[0], 3) if header[0] in _USED else (b"", _MAX_OTHERS)
            if header not in headers and counts[kind] < most:
                counts[kind] += 1
                headers.append(header)
    return headers, False


def _has_one_end(framing: list[tuple[bytes, bytes]]) -> bool:
    """Whether these headers say unambiguously where the response ends."""
    if len(framing) > 1:
        return False
    return all(
        v.isdigit() if n == b"content-length" else v.lower() == b"chunked" for n, v in framing
    )
