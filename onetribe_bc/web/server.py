"""waitress, configured for callbacks. The only module that knows it.

waitress reads whole requests in one thread before it passes them to its pool, so slow clients
occupy no thread. But each of them keeps a connection open, so put a proxy in front.
"""

from __future__ import annotations

import logging
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import waitress  # type: ignore[import-untyped]

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
from onetribe_bc.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger(__name__)

THREADS = 32
"""Requests handled at a time. Most of them wait for the same commit."""

MAX_CONNECTIONS = 750
"""With the default limit of 1,024 open files, this leaves enough for the ledger and the clients."""

IDLE_TIMEOUT_S = 30
"""How long a connection may send nothing."""

STOP_TIMEOUT_S = 10.0
"""How long requests in flight may take when the server stops: longer than any ledger wait."""

_OWN_FILES = 64
"""For the ledger, its locks and journal, the log, and the interpreter."""
_LEAST_CONNECTIONS = 16
_MAX_HEADER_BYTES = 16 * 1024
_BACKLOG = 1024
_SEND_TIMEOUT_S = 2.0
_SENT_BY_THREADS = 1 << 20
_ABOUT_CONNECTIONS = "total open connections"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def max_connections(workers: int) -> int:
    """Return how many connections the limit of open files allows, up to `MAX_CONNECTIONS`.

    Each of the `workers` may have a connection to each service. Raises ConfigurationError if
    hardly any connection is left.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OWN_FILES + 2 * workers
    if limit != resource.RLIM_INFINITY and limit < wanted:
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    left = limit - _OWN_FILES - 2 * workers
    if left < _LEAST_CONNECTIONS:
        raise ConfigurationError(
            f"The limit of open files is {limit}: too few for a receiver with delivery.workers "
            f"{workers}.",
            hint="Raise the limit (ulimit -n, LimitNOFILE=), or lower delivery.workers.",
        )
    return min(MAX_CONNECTIONS, left)


class Server:
    """Serves an application on a listening socket, until the end of its `with` block."""

    def __init__(
        self,
        application: WSGIApplication,
        listener: socket.socket,
        *,
        idle_timeout_s: int = IDLE_TIMEOUT_S,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.host, self.port = listener.getsockname()[:2]
        self._forward_log = _ForwardLog()
        self._sockets: dict[int, Any] = {}
        self._waitress = waitress.create_server(
            application,
            map=self._sockets,
            sockets=[listener],
            threads=THREADS,
            backlog=_BACKLOG,
            connection_limit=connections,
            channel_timeout=idle_timeout_s,
            cleanup_interval=max(1, idle_timeout_s // 3),
            max_request_header_size=_MAX_HEADER_BYTES,
            max_request_body_size=MAX_CALLBACK_BYTES + 1,  # waitress refuses this size, too
            inbuf_overflow=2 * MAX_CALLBACK_BYTES,  # keep callbacks out of temporary files
            asyncore_use_poll=True,  # select() fails from file descriptor 1,024 on
            # The application itself checks the headers that a proxy adds.
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            ident=None,
        )
        # Responses are sent by waitress' own thread, which would otherwise wait in a busy loop,
        # and so hold the interpreter, until the thread that handled the request has sent its own.
        self._waitress.adj.send_bytes = _SENT_BY_THREADS
        self._thread = threading.Thread(target=self._waitress.run, name="bc2ot-web", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL that the server listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether the server still runs."""
        return self._thread.is_alive()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the requests in flight, then close all connections."""
        self._waitress.task_dispatcher.shutdown(timeout=STOP_TIMEOUT_S)
        until = time.monotonic() + _SEND_TIMEOUT_S
        while self._unsent() and time.monotonic() < until:
            time.sleep(0.01)
        sockets: list[Any] = []
        while self._thread.is_alive():
            sockets += self._sockets.values()
            self._sockets.clear()  # waitress' loop ends without sockets
            self._waitress.pull_trigger()
            self._thread.join(0.1)
        for each in sockets:
            each.close()
        self._forward_log.close()

    def _unsent(self) -> bool:
        channels = list(self._waitress.active_channels.values())
        return any(channel.total_outbufs_len for channel in channels)


class _ForwardLog(logging.Handler):
    """Logs waitress' warnings about its connections, at most one per second.

    Its other messages may quote a request.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._next_at = 0.0
        self._dropped = 0
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # waiting is normal
        self._logger = logging.getLogger("waitress")
        self._propagated = self._logger.propagate
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        message, now = record.getMessage(), time.monotonic()
        if not message.startswith(_ABOUT_CONNECTIONS):
            return
        if now < self._next_at:
            self._dropped += 1
            return
        more = f" ({self._dropped:,} similar lines dropped)" if self._dropped else ""
        self._next_at, self._dropped = now + 1.0, 0
        _log.log(record.levelno, "Web server: %s%s.", message, more)

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        super().close()
