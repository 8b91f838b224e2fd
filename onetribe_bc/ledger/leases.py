"""Leases of live runs on PostgreSQL, and a watchdog over the transactions there.

A run lives until its lease in `runs` ends, by the server's clock. A thread renews the leases of
this process on a connection of its own: a writer that waits for a lock does not cost a run its
claims.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import psycopg

from onetribe_bc.errors import BusyError
from onetribe_bc.ledger.engine import Transaction

_log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]


class Renewing(Protocol):
    """What leases need of the engine."""

    label: str
    lease_s: float
    renew_s: float

    def connect(self) -> Connection:
        """Return a connection."""
        ...

    def renew(self, connection: Connection, run_ids: Collection[str]) -> Collection[str]:
        """Renew leases in a transaction; return the runs that still had one."""
        ...

    def begin(self, transaction: Transaction, run_id: str) -> None:
        """Give a run its lease, in the transaction that registers it."""
        ...


class Lease:
    """The life of one run, as far as this process knows: never longer than the server's."""

    def __init__(self, engine: Renewing, run_id: str) -> None:
        self.clean = False
        self.until = 0.0
        self.confirmed = False
        self._engine = engine
        self._run_id = run_id

    def begin(self, transaction: Transaction) -> None:
        """Take the lease, in the transaction that registers the run."""
        self.until = time.monotonic() + self._engine.lease_s  # before the server takes the time
        self._engine.begin(transaction, self._run_id)

    def check(self) -> None:
        """Raise BusyError if the run may no longer hold its claims."""
        # A request that is about to leave takes a moment, too.
        if time.monotonic() > self.until - self._engine.lease_s / 30:
            raise BusyError(
                f"This run could not renew its lease on the ledger {self._engine.label} in time, "
                "and another run may send its orders.",
                hint="What was not delivered stays owed.",
            )

    def sent(self, at: datetime) -> None:
        """Do nothing: an older copy of a server's database is for its administrator to prevent."""


class Leases:
    """Renews the leases of this process's runs while there are any."""

    def __init__(self, engine: Renewing) -> None:
        self._engine = engine
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def live(self, run_id: str) -> Iterator[Lease]:
        """Renew a run's lease until the exit, once it has begun."""
        lease = Lease(self._engine, run_id)
        with self._lock:
            self._leases[run_id] = lease
            self._thread = self._thread or _start(self._renew_all, "bc2ot-leases")
        try:
            yield lease
        finally:
            with self._lock:
                del self._leases[run_id]

    def close(self) -> None:
        """End the thread and its connection."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _renew_all(self) -> None:
        connection: Connection | None = None
        wait_s = self._engine.renew_s
        while not self._closed.wait(wait_s):
            with self._lock:
                leases = dict(self._leases)
            try:
                connection = connection or self._engine.connect()
                self._renew(connection, leases)
                wait_s = self._engine.renew_s
            except Exception as error:  # noqa: BLE001 - `check` ends the runs if this goes on
                _log.debug("Leases were not renewed: %s.", type(error).__name__)
                wait_s = self._engine.renew_s / 5
                if connection is not None:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()

    def _renew(self, connection: Connection, leases: dict[str, Lease]) -> None:
        until = time.monotonic() + self._engine.lease_s
        held = self._engine.renew(connection, sorted(leases))
        for run_id, lease in leases.items():
            if run_id in held:
                lease.until, lease.confirmed = until, True
            elif lease.confirmed:  # another run has ended it; before that it was not there yet
                lease.until = 0.0


class Watchdog:
    """Shuts down the socket of a transaction that takes too long; the driver then raises.

    A proxy may acknowledge bytes and stay silent, which no keepalive notices.
    """

    def __init__(self, patience_s: float | None) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[Connection, float]] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Watch one transaction, for `patience_s`, unless that is None."""
        if self._patience_s is None:
            yield
            return
        with self._lock:
            self._watched[id(connection)] = connection, time.monotonic() + self._patience_s
            self._thread = self._thread or _start(
                partial(self._look, self._patience_s / 10), "bc2ot-watchdog"
            )
        try:
            yield
        finally:
            with self._lock:
                del self._watched[id(connection)]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            now = time.monotonic()
            with self._lock:
                for connection, until in self._watched.values():
                    if now > until:
                        _shut_down(connection)


def _start(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def _shut_down(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as one:
        one.shutdown(socket.SHUT_RDWR)
