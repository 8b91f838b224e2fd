"""The ledger's file: opening it, and writing to it durably from many threads.

One thread owns the only connection. What the workers hand in while it commits waits and goes
into the next commit together (group commit), so that the price of durability is paid once for
all of them; each caller gets its answer only after the commit that holds its work.

SQLite runs with a rollback journal, not with a write-ahead log: before version 3.51.3, two
processes that checkpoint a WAL at once can lose commits, and a timer, a receiver and a person
may well be on one ledger together. TRUNCATE with synchronous=FULL syncs the journal, the
database, and the journal's end, so that a commit outlives a power cut. The same statements run
on PostgreSQL.
"""

from __future__ import annotations

import logging
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.creation import provide
from onetribe_bc.ledger.dialects import upsert
from onetribe_bc.ledger.failures import (
    damaged,
    emptied,
    foreign,
    is_busy,
    is_damage,
    locked,
    sqlite_name,
    too_new,
    unusable,
    without_version,
)
from onetribe_bc.ledger.locks import locks_folder
from onetribe_bc.ledger.migrations import migrate, set_aside

_log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

LOCK_TIMEOUT_S = 30.0
"""How long to wait for other processes that write or read before giving up."""

TELL_AFTER_S = 2.0
"""How long to wait for them without a word."""


class Database:
    """An open ledger file. `do` and `submit` may be called from any thread."""

    def __init__(
        self, path: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S, gather_s: float = 0.0
    ) -> None:
        """Open or create it. Raises LedgerError, or BusyError when it stays locked.

        `gather_s` is waited after the first work that comes in, so that more of it shares a
        commit: it costs whoever waits that long, and saves most of the syncs.
        """
        self.path = path
        self._gather_s = gather_s
        self._lock_timeout_s = lock_timeout_s
        self._engine = _engine(path, lock_timeout_s)
        self._inbox: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        try:
            provide(path)
        except DBAPIError as error:
            raise _translate(error, path) from None
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(started,), name="bc2ot-ledger", daemon=True
        )
        self._thread.start()
        started.result()

    def submit(self, work: Work[T]) -> Future[T]:
        """Run `work` in the next transaction. The result is there once it is durable."""
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise LedgerError(f"The ledger {self.path} is closed.")
            self._inbox.put((work, future))
        return future

    def do(self, work: Work[T], *, wait_s: float | None = None) -> T:
        """`submit`, and wait. Raises what `work` raises, LedgerError and BusyError, the latter
        also when it is not done after `wait_s`; it may be done later all the same.
        """
        future = self.submit(work)
        try:
            return future.result(wait_s)
        except TimeoutError:
            if future.done():
                return future.result()  # the time-out is the work's own, or it came just now
            raise BusyError(f"The ledger {self.path} did not answer within {wait_s:g} s.") from None

    def check_writable(self, *, wait_s: float | None = None) -> None:
        """Write something, durably. Raises as `do`."""
        # Something new each time: SQLite leaves out a write that changes nothing.
        row = {"key": _TOUCHED, "value": secrets.token_hex(8)}
        self.do(lambda c: c.execute(_TOUCH[c.dialect.name], row), wait_s=wait_s)

    def close(self) -> None:
        """Finish what was handed in, and close the file."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._inbox.put(None)
        self._thread.join()
        self._engine.dispose()

    def _serve(self, started: Future[None]) -> None:
        try:
            with self._engine.connect() as connection:
                _prepare(connection, self.path, self._lock_timeout_s)
                started.set_result(None)
                while (batch := self._take()) is not None:
                    self._commit(connection, batch)
        except BaseException as error:
            if started.done():
                raise
            self._closed = True
            self._engine.dispose()
            started.set_exception(_translate(error, self.path))

    def _take(self) -> list[tuple[Work[Any], Future[Any]]] | None:
        first = self._inbox.get()
        if first is None:
            return None
        if self._gather_s:
            time.sleep(self._gather_s)
        batch = [first]
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return batch
            if item is None:
                self._inbox.put(None)
                return batch
            batch.append(item)

    def _commit(
        self, connection: sa.Connection, batch: list[tuple[Work[Any], Future[Any]]]
    ) -> None:
        try:
            with connection.begin():
                results = [work(connection) for work, _ in batch]
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            _roll_back(_raw(connection))
            told = _translate(error, self.path)
            if len(batch) > 1 and not isinstance(told, BusyError):
                # One caller's trouble is not the others': each gets a transaction of its own.
                for item in batch:
                    self._commit(connection, [item])
                return
            for _, future in batch:
                future.set_exception(told)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)


def _engine(path: Path, lock_timeout_s: float) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": lock_timeout_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # Left to the driver, transactions begin late and deferred.
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        _run_patiently(_raw(connection), _BEGIN, path, lock_timeout_s)

    @event.listens_for(engine, "commit")
    def _on_commit(connection: sa.Connection) -> None:
        # A reader holds this up, as a backup or a check of the file is one. What the driver does
        # next finds nothing to commit.
        _run_patiently(_raw(connection), "COMMIT", path, lock_timeout_s)

    return engine


def _raw(connection: sa.Connection) -> sqlite3.Connection:
    """For what SQLAlchemy would begin a transaction for."""
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _run_patiently(
    raw: sqlite3.Connection, statement: str, path: Path, lock_timeout_s: float
) -> None:
    """Run what another process may have to be waited for, and say so if that takes long."""
    rest_s = lock_timeout_s - TELL_AFTER_S
    if rest_s <= 0:
        raw.execute(statement).close()
        return
    _wait_for_locks(raw, TELL_AFTER_S)
    try:
        raw.execute(statement).close()
    except sqlite3.Error as error:
        if not is_busy(error):
            raise
        _log.warning(
            "Another process is using the ledger %s; waiting for it up to %.0f s.", path, rest_s
        )
        _wait_for_locks(raw, rest_s)
        raw.execute(statement).close()
    finally:
        # Also a read in a transaction, or a large one that outgrows its cache, may have to wait.
        _wait_for_locks(raw, lock_timeout_s)


def _wait_for_locks(raw: sqlite3.Connection, seconds: float) -> None:
    raw.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}").close()


def _roll_back(raw: sqlite3.Connection) -> None:
    """A COMMIT that failed leaves its transaction open, and SQLAlchemy takes it for ended."""
    with suppress(sqlite3.Error):
        if raw.in_transaction:
            raw.execute("ROLLBACK").close()


def _prepare(connection: sa.Connection, path: Path, lock_timeout_s: float) -> None:
    raw = _raw(connection)
    _run_patiently(raw, "PRAGMA journal_mode=TRUNCATE", path, lock_timeout_s)
    raw.execute("PRAGMA synchronous=FULL").close()
    with ExitStack() as undo, connection.begin():
        tables = set(sa.inspect(connection).get_table_names())
        if schema.meta.name in tables:
            version = _version(connection, path)
            if version < schema.SCHEMA_VERSION:
                copy = set_aside(path, version)
                undo.push(lambda kind, *_: copy.unlink(missing_ok=True) if kind else None)
                migrate(connection, version)
                _log.warning("The ledger %s was of an older version; a copy is %s.", path, copy)
        elif tables:
            raise foreign(path)
        elif was_emptied(path):
            raise emptied(path)
        else:
            schema.create(connection)


def was_emptied(path: Path) -> bool:
    """Whether a file without tables once had some: there were runs with it."""
    return locks_folder(path).exists()


def _version(connection: sa.Connection, path: Path) -> int:
    column = schema.meta.c.value
    query = sa.select(column).where(schema.meta.c.key == "schema_version")
    found = connection.execute(query).scalar_one_or_none()
    if found is None or not found.isdecimal() or int(found) < 1:
        raise without_version(path)
    if int(found) > schema.SCHEMA_VERSION:
        raise too_new(path, int(found))
    return int(found)


# The driver's own BEGIN comes late and deferred; ours takes the write lock at once.
_BEGIN = "BEGIN IMMEDIATE"
_TOUCH = upsert(schema.meta)
_TOUCHED = "touched"


def _translate(error: BaseException, path: Path) -> BaseException:
    """SQLite's errors as ours."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, sqlite3.Error):
        return error
    said, name = str(cause), sqlite_name(cause)
    if is_busy(cause):
        return locked(path)
    if name.startswith("SQLITE_FULL"):
        return LedgerError(
            f"The disk with the ledger {path} is full.",
            hint="Make room and run it again. No order is sent that cannot be written down.",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return LedgerError(
            f"The ledger {path} cannot be written: {said}.",
            hint="Give the user that runs bc2ot write permission on the file and its folder.",
        )
    if is_damage(cause):
        return damaged(path, said)
    return unusable(path, said)
