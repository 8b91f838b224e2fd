"""A ledger in a SQLite file: for one machine.

The journal is a rollback journal, not a write-ahead log: before version 3.51.3, two processes that
checkpoint a WAL at once can lose commits, and cron, a receiver and a person may share one ledger.
TRUNCATE with synchronous=FULL syncs the journal, the database and the journal's end, so that a
commit outlives a power cut.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from onetribe_bc.errors import LedgerError
from onetribe_bc.files import describe_owner, give_to_owner, make_directories
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Prepared, Row, Transaction
from onetribe_bc.ledger.failures import (
    damaged,
    emptied,
    foreign,
    full,
    held_up,
    is_busy,
    is_damage,
    locked,
    moved,
    read_only,
    sqlite_name,
    too_new,
    unusable,
    with_wal,
    without_version,
)
from onetribe_bc.ledger.locks import LiveRun, LockDirectory, find_locks, locks_beside
from onetribe_bc.ledger.migrations import back_up, migrate, sync

_log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 30.0
"""How long to wait for other processes before giving up."""

SILENT_S = 2.0
"""How long to wait for them before a warning."""

_META = sa.select(schema.meta.c.key, schema.meta.c.value)


class SqliteEngine:
    """The ledger in one SQLite file."""

    shares_inbox = False

    def __init__(self, path: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.label = str(path)
        self.dialect: sa.Dialect = sqlite.dialect()
        self.path = path
        self._file = Path(os.path.realpath(path))
        self._lock_timeout_s = lock_timeout_s
        self._cache: dict[int, Prepared] = {}
        self._locks: LockDirectory | None = None

    # Opening

    def prepare(self) -> None:
        """Create the ledger, or check and migrate it. Raises LedgerError, sqlite3.Error."""
        _provide(self._file, self.path)
        with closing(self.connect()) as connection:
            with self.snapshot(connection) as transaction:
                ready = self._is_current(transaction)
            if not ready:
                with ExitStack() as undo, self.transaction(connection) as transaction:
                    self._bring_up(transaction, undo)
            with self.snapshot(connection) as transaction:
                self._locks = self._find_locks(transaction)

    def _is_current(self, transaction: Transaction) -> bool:
        """Whether all tables are there, of this version. Raises LedgerError for other files."""
        tables = _tables(transaction)
        if schema.meta.name in tables:
            return self._version(transaction) == schema.SCHEMA_VERSION
        if tables:
            raise foreign(self.path)
        if was_emptied(self.path):
            raise emptied(self.path)
        return False

    def _version(self, transaction: Transaction) -> int:
        meta = _meta(transaction)
        if "moved_to" in meta:
            raise moved(self.label, meta["moved_to"])
        found = meta.get("schema_version", "")
        if not found.isdecimal() or int(found) < 2:
            raise without_version(self.path)
        if int(found) > schema.SCHEMA_VERSION:
            raise too_new(self.path, int(found))
        return int(found)

    def _bring_up(self, transaction: Transaction, undo: ExitStack) -> None:
        """Create the tables, or migrate them; another process may have been faster."""
        if self._is_current(transaction):
            return
        if not _tables(transaction):
            create_tables(transaction)
            return
        copy = back_up(self._file, self._version(transaction))
        undo.push(lambda kind, *_: copy.unlink(missing_ok=True) if kind else None)
        migrate(transaction)
        _log.warning("The ledger %s was of an older version; a copy is %s.", self.path, copy)

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Return a connection. Raises LedgerError where another tool changed the journal mode."""
        connection = sqlite3.connect(
            self._file,
            timeout=self._lock_timeout_s,
            isolation_level=None,  # the driver's own BEGIN comes late and deferred
            check_same_thread=False,
        )
        try:
            self._patiently(connection, "SELECT count(*) FROM sqlite_master")
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                raise with_wal(self.path)
            if read_only:
                connection.execute("PRAGMA query_only=ON")
            else:
                connection.execute("PRAGMA journal_mode=TRUNCATE")
                connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    # Transactions

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[Transaction]:
        """Take the write lock; commit, or roll back."""
        self._patiently(connection, "BEGIN IMMEDIATE")
        with _rolled_back(connection):
            yield Transaction(connection.cursor(), self.dialect, self._cache)
            try:
                self._patiently(connection, "COMMIT")
            except sqlite3.Error as error:
                if is_busy(error):
                    # Only a reader holds up a commit, and none of ours reads for so long.
                    raise held_up(self.path, self._lock_timeout_s) from None
                raise

    @contextmanager
    def snapshot(
        self, connection: sqlite3.Connection, wait_s: float | None = None
    ) -> Iterator[Transaction]:
        """Read as of one moment."""
        _wait_for_locks(connection, self._lock_timeout_s if wait_s is None else wait_s)
        connection.execute("BEGIN")
        with _rolled_back(connection):
            yield Transaction(connection.cursor(), self.dialect, self._cache)

    def _patiently(self, connection: sqlite3.Connection, statement: str) -> None:
        """Run what another process may hold up, and warn if that takes long."""
        rest_s = self._lock_timeout_s - SILENT_S
        if rest_s <= 0:
            connection.execute(statement).close()
            return
        _wait_for_locks(connection, SILENT_S)
        try:
            connection.execute(statement).close()
        except sqlite3.Error as error:
            if not is_busy(error):
                raise
            _log.warning(
                "Another process is using the ledger %s; waiting for it up to %.0f s.",
                self.path,
                rest_s,
            )
            _wait_for_locks(connection, rest_s)
            connection.execute(statement).close()
        finally:
            # A large transaction that outgrows its cache may have to wait in the middle, too.
            _wait_for_locks(connection, self._lock_timeout_s)

    def load(
        self, transaction: Transaction, table: str, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """Insert many rows."""
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - our own names
        transaction.cursor.executemany(insert, rows)

    def translate(self, error: BaseException) -> BaseException:
        """Return SQLite's error as LedgerError or BusyError."""
        if not isinstance(error, sqlite3.Error):
            return error
        said, name = str(error), sqlite_name(error)
        if is_busy(error):
            return locked(self.path)
        if name.startswith("SQLITE_FULL"):
            return full(self.path)
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return read_only(self.path, said)
        if is_damage(error):
            return damaged(self.path, said)
        return unusable(self.path, said)

    # Runs

    def live(self, run_id: str) -> AbstractContextManager[LiveRun]:
        """Hold a run's lock until the exit."""
        return self._lock_directory().live(run_id)

    def prove_dead(
        self, run_ids: Collection[str], *, accept: bool = False
    ) -> AbstractContextManager[Collection[str]]:
        """Hold the locks of those runs that are dead."""
        return self._lock_directory().dead(run_ids, accept=accept)

    def still_dead(
        self,
        transaction: Transaction,  # noqa: ARG002 - the locks are proof enough
        run_ids: Collection[str],
        now: datetime,  # noqa: ARG002
    ) -> Collection[str]:
        """Return the runs: their locks are held."""
        return run_ids

    def is_live(self, run_id: str, lease_until: datetime | None) -> bool:  # noqa: ARG002
        """Whether a run may be alive."""
        return self._locks is None or self._locks.is_live(run_id)

    def last_claim(self) -> datetime | None:
        """Return when an order was last claimed, as the mark next to the ledger tells."""
        return None if self._locks is None else self._locks.mark

    def close(self) -> None:
        """Do nothing: nothing runs in the background."""

    def _find_locks(self, transaction: Transaction) -> LockDirectory | None:
        meta = _meta(transaction)
        return find_locks(self._file, meta["id"], meta.get("home", ""))

    def _lock_directory(self) -> LockDirectory:
        """Return the lock directory; make one if there is none, and note in the ledger where."""
        if self._locks is None:
            with closing(self.connect()) as connection, self.transaction(connection) as transaction:
                self._locks = self._find_locks(transaction) or self._adopt(transaction)
        return self._locks

    def _adopt(self, transaction: Transaction) -> LockDirectory:
        directory = LockDirectory(locks_beside(self._file))
        directory.adopt(_meta(transaction)["id"])
        transaction.run(_SET_META, {"key": "home", "value": str(self._file)})
        return directory


def was_emptied(path: Path) -> bool:
    """Whether a file without tables once had some: runs have used it."""
    return locks_beside(Path(os.path.realpath(path))).exists()


def _meta(transaction: Transaction) -> dict[str, str]:
    return {str(key): str(value) for key, value in transaction.rows(_META)}


def _tables(transaction: Transaction) -> set[str]:
    return {name for (name,) in transaction.execute(_TABLES)}


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_SET_META = sqlite.insert(schema.meta)
_SET_META = _SET_META.on_conflict_do_update(
    index_elements=["key"], set_={"value": _SET_META.excluded.value}
)


def create_tables(transaction: Transaction) -> None:
    """Create all tables, indexes and triggers of a new ledger, and give it an id."""
    for _, statement in schema.create_statements(transaction.dialect):
        transaction.execute(statement)
    for statement in schema.SQLITE_TRIGGERS.values():
        transaction.execute(statement)
    values = {"schema_version": str(schema.SCHEMA_VERSION), "id": secrets.token_hex(16)}
    for key, value in values.items():
        transaction.run(_SET_META, {"key": key, "value": value})


def _provide(path: Path, label: Path) -> None:
    """Create the ledger if there is none; check that an existing one can be written.

    Its file is not opened here: closing it would drop the locks that another connection of this
    process may have on it (POSIX). Raises LedgerError, sqlite3.Error.
    """
    problem, hint = "", ""
    try:
        make_directories(path.parent)
        if not os.path.lexists(path):
            _create(path)
        elif path.is_dir():
            problem = os.strerror(errno.EISDIR)
        elif not os.access(path, os.R_OK | os.W_OK):
            problem, hint = os.strerror(errno.EACCES), f"{describe_owner(path)}."
    except PermissionError:
        problem, hint = os.strerror(errno.EACCES), f"{describe_owner(path.parent)}."
    except FileExistsError:
        problem = os.strerror(errno.ENOTDIR)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        raise LedgerError(
            f"The ledger {label} cannot be opened for writing: {problem}.",
            hint=hint
            or "Give the user that runs bc2ot write permission there, or set `ledger` "
            "(BC2OT_LEDGER) to a file elsewhere.",
        )


def _create(path: Path) -> None:
    """Create it under a name of its own, 0600 from the first byte, then link it in one step.

    Nobody sees a ledger without tables, and of two processes that make it the first wins.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as connection:
            # A file that nobody knows needs no journal on the disk.
            connection.execute("PRAGMA journal_mode=MEMORY")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN")
            create_tables(Transaction(connection.cursor(), sqlite.dialect(), {}))
            connection.execute("COMMIT")
        give_to_owner(Path(name), path.parent)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync(path.parent)


@contextmanager
def _rolled_back(connection: sqlite3.Connection) -> Iterator[None]:
    """Leave no transaction open, also if its COMMIT failed."""
    try:
        yield
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK").close()


def _wait_for_locks(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}").close()
