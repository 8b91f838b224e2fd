"""A TCP relay between a client and its server that does to connections what networks do."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType

_CHUNK_BYTES = 64 * 1024


class Relay:
    """Forwards connections on loopback to `target`, a port there, until `close`.

    The attributes may be changed while connections are open. `delay_s` is waited before each
    chunk is forwarded. While `hanging`, bytes are accepted and kept back, as by a proxy that
    acknowledges and stays silent. While `refusing`, new connections are
    ended at once. `lose_reply_to` is a text: the next time the client sends it,
    the server gets it and its reply is thrown away with the connection. `cut_at` is a text as
    well: the connection ends before the server gets it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_s = 0.0
        self.hanging = False
        self.refusing = False
        self.lose_reply_to = b""
        self.cut_at = b""
        self.losses = 0
        """How often a reply was lost or a connection cut."""
        self.requests = 0
        """How often the client sent something."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Accept no more connections, and end those that are open."""
        self._listener.close()
        self.drop_all()

    def drop_all(self) -> None:
        """End all connections that are open now."""
        with self._lock:
            for one in self._open:
                _end(one)
            self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                for job in (self._to_server, self._to_client):
                    threading.Thread(target=job, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        while chunk := _receive(client):
            self.requests += 1
            self._hold()
            if self.cut_at and self.cut_at in chunk:
                self.cut_at = b""
                self.losses += 1
                break
            if self.lose_reply_to and self.lose_reply_to in chunk:
                self.lose_reply_to = b""
                # Nothing that the server says from here on reaches the client.
                with suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
                server.sendall(chunk)
                time.sleep(0.2)
                self.losses += 1
                break
            with suppress(OSError):
                server.sendall(chunk)
        _end(client)
        _end(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        while chunk := _receive(server):
            self._hold()
            try:
                client.sendall(chunk)
            except OSError:
                break
        _end(client)
        _end(server)

    def _hold(self) -> None:
        time.sleep(self.delay_s)
        while self.hanging:
            time.sleep(0.01)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK_BYTES)
    except OSError:
        return b""


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
