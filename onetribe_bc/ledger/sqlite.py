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
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.files import describe_owner, give_to_owner, make_directories
from onetribe_bc.ledger import meta, schema
from onetribe_bc.ledger.engine import BlockedError, Prepared, Row, Transaction
from onetribe_bc.ledger.locks import LiveRun, LockDirectory, check_locks, find_locks, locks_beside
from onetribe_bc.ledger.migrations import OLDEST_VERSION, back_up, migrate, sync

_log = logging.getLogger(__name__)

LOCK_TIMEOUT_S = 30.0
"""How long to wait for other processes before giving up."""

SILENT_S = 2.0
"""How long to wait for them before a warning."""

_RESTORE = (
    "It was left as it is. Set it aside and restore a copy; without one, every order of the "
    "range would be sent again."
)
_NEWEST_ORDER = sa.select(sa.func.max(schema.orders.c.first_seen_at, type_=schema.Moment)).where(
    schema.orders.c.store_hash == sa.bindparam("store_hash")
)


class SqliteEngine:
    """The ledger in one SQLite file."""

    shares_inbox = False

    def __init__(self, path: Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.label = str(path)
        self.dialect: sa.Dialect = sqlite.dialect()
        self._file = Path(os.path.realpath(path))
        self._lock_timeout_s = lock_timeout_s
        self._cache: dict[int, Prepared] = {}
        self._locks: LockDirectory | None = None

    # Opening

    def prepare(self) -> None:
        """Create the ledger, or check and migrate it. Raises LedgerError, sqlite3.Error."""
        self._provide()
        with closing(self.connect()) as connection:
            with self.snapshot(connection) as transaction:
                ready = self.version(transaction) == schema.SCHEMA_VERSION
            if not ready:
                with ExitStack() as undo, self.transaction(connection) as transaction:
                    self._bring_up(transaction, undo)
            with self.snapshot(connection) as transaction:
                self._locks = self._find_locks(transaction)

    def version(self, transaction: Transaction) -> int | None:
        """Return the ledger's version, None while it has no tables. Raises LedgerError."""
        tables = transaction.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        if (schema.meta.name,) in tables:
            return self._checked_version(transaction)
        if tables:
            raise LedgerError(
                f"The file {self.label} is a database, but not a bc2ot ledger.",
                hint="Set `ledger` (BC2OT_LEDGER) to another file.",
            )
        if locks_beside(self._file).exists():
            raise LedgerError(
                f"The ledger {self.label} is empty, although there were runs with it.",
                hint=_RESTORE,
            )
        return None

    def _checked_version(self, transaction: Transaction) -> int:
        meta.check_moved(transaction, self.label)
        version = meta.version(transaction)
        if version is None or version < OLDEST_VERSION:
            raise LedgerError(f"The ledger {self.label} has no version.", hint=_RESTORE)
        if version > schema.SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self.label} has version {version}, made by a newer bc2ot; this one "
                f"knows version {schema.SCHEMA_VERSION}.",
                hint="Upgrade bc2ot on this machine.",
            )
        return version

    def _bring_up(self, transaction: Transaction, undo: ExitStack) -> None:
        """Create the tables, or migrate them; another process may have been faster."""
        version = self.version(transaction)
        if version is None:
            create_tables(transaction)
        elif version < schema.SCHEMA_VERSION:
            copy = back_up(self._file, version)
            undo.push(lambda kind, *_: copy.unlink(missing_ok=True) if kind else None)
            migrate(transaction)
            _log.warning("Upgraded the ledger %s. A backup is %s.", self.label, copy)

    def _provide(self) -> None:
        """Create the ledger if there is none; check that an existing one can be written.

        Its file is not opened here: closing it would drop the locks that another connection of
        this process may have on it (POSIX). Raises LedgerError, sqlite3.Error.
        """
        problem, hint = 0, ""
        try:
            make_directories(self._file.parent)
            if not os.path.lexists(self._file):
                self._create()
            elif self._file.is_dir():
                problem = errno.EISDIR
            elif not os.access(self._file, os.R_OK | os.W_OK):
                problem, hint = errno.EACCES, f"{describe_owner(self._file)}."
        except PermissionError as error:
            problem, hint = error.errno or -1, f"{describe_owner(self._file.parent)}."
        except OSError as error:
            problem = errno.ENOTDIR if isinstance(error, FileExistsError) else error.errno or -1
        if problem:
            raise LedgerError(
                f"The ledger {self.label} cannot be opened for writing: {os.strerror(problem)}.",
                hint=hint
                or "Give the user that runs bc2ot write permission there, or set `ledger` "
                "(BC2OT_LEDGER) to a file elsewhere.",
            )

    def _create(self) -> None:
        """Create it under a name of its own, 0600 from the first byte, then link it in one step.

        Nobody sees a ledger without tables, and of two processes that make it the first wins.
        """
        folder = self._file.parent
        descriptor, name = tempfile.mkstemp(prefix=f"{self._file.name}.new-", dir=folder)
        os.close(descriptor)
        try:
            with closing(sqlite3.connect(name, isolation_level=None)) as connection:
                # A file that nobody knows needs no journal on the disk.
                connection.execute("PRAGMA journal_mode=MEMORY")
                connection.execute("PRAGMA synchronous=FULL")
                with self.transaction(connection) as transaction:
                    create_tables(transaction)
            give_to_owner(Path(name), folder)
            with suppress(FileExistsError):
                os.link(name, self._file)
        finally:
            Path(name).unlink()
        sync(folder)

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Return a connection. Raises LedgerError where another tool changed the journal mode."""
        connection = sqlite3.connect(
            self._file,
            timeout=min(SILENT_S, self._lock_timeout_s),
            isolation_level=None,  # the driver's own BEGIN comes late and deferred
            check_same_thread=False,
        )
        try:
            self._patiently(connection, "SELECT count(*) FROM sqlite_master")
            _refuse_wal(connection, self.label)
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
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                # Only a reader holds up a commit, and none of ours reads for so long.
                raise BlockedError(
                    f"Another program has been reading the ledger {self.label} for "
                    f"{self._lock_timeout_s:g} s, and nothing can be written meanwhile. "
                    "Litestream, a backup or an open sqlite3 shell does that.",
                    hint="Find it (fuser, lsof) and end it; back up with "
                    "`sqlite3 FILE .backup COPY`.",
                ) from None

    @contextmanager
    def snapshot(
        self, connection: sqlite3.Connection, wait_s: float | None = None
    ) -> Iterator[Transaction]:
        """Read as of one moment."""
        timeout_s = self._lock_timeout_s if wait_s is None else wait_s
        _wait_for_locks(connection, timeout_s)
        connection.execute("BEGIN")
        with _rolled_back(connection):
            yield Transaction(connection.cursor(), self.dialect, self._cache)

    def _patiently(self, connection: sqlite3.Connection, statement: str) -> None:
        """Run what another process may hold up, and warn if that takes long."""
        rest_s = self._lock_timeout_s - SILENT_S
        try:
            connection.execute(statement).close()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or rest_s <= 0:
                raise
            _log.warning(
                "Another process is using the ledger %s; waiting for it up to %.0f s.",
                self.label,
                rest_s,
            )
            _wait_for_locks(connection, rest_s)
            try:
                connection.execute(statement).close()
            finally:
                _wait_for_locks(connection, SILENT_S)

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
        said, name = str(error), _name(error)
        if _is_busy(error):
            return BusyError(
                f"The ledger {self.label} is locked by another process.",
                hint="Wait for it to finish. Nothing was lost: what was not delivered stays owed.",
            )
        if name.startswith("SQLITE_FULL"):
            return LedgerError(
                f"The disk with the ledger {self.label} is full.",
                hint="Make room and run it again. No order is sent that cannot be written down.",
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return LedgerError(
                f"The ledger {self.label} cannot be written: {said}.",
                hint=_why_unwritable(self._file)
                or "Give the user that runs bc2ot write permission on it and its directory.",
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return _damaged(self.label, said)
        return _unusable(self.label, said)

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
        values = meta.read(transaction)
        return find_locks(self._file, values["id"], values.get("home", ""))

    def _lock_directory(self) -> LockDirectory:
        """Return the lock directory; make one if there is none, and note in the ledger where."""
        if self._locks is None:
            with closing(self.connect()) as connection, self.transaction(connection) as transaction:
                self._locks = self._find_locks(transaction)
                if self._locks is None:
                    self._locks = LockDirectory(locks_beside(self._file))
                    self._locks.adopt(meta.read(transaction)["id"])
                    meta.write(transaction, home=str(self._file))
        return self._locks


def create_tables(transaction: Transaction) -> None:
    """Create all tables, indexes and triggers of a new ledger, and give it an id."""
    for _, statement in schema.create_statements(transaction.dialect):
        transaction.execute(statement)
    for statement in schema.SQLITE_TRIGGERS.values():
        transaction.execute(statement)
    meta.write(transaction, schema_version=str(schema.SCHEMA_VERSION), id=secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Inspection:
    """A ledger's file. `size` is in bytes; `version` is None while it has no tables.

    After an `interrupted` write the next run rolls back, and nothing can be read until then.
    `newest_order_at` is when the store's newest order was first seen (aware UTC).
    """

    size: int
    version: int | None = None
    interrupted: bool = False
    newest_order_at: datetime | None = None


def check_access(ledger: Path) -> None:
    """Check that this user can write to a ledger and use its locks. Raises LedgerError."""
    if hint := _why_unwritable(ledger):
        reason = os.strerror(errno.EACCES)
        raise LedgerError(f"The ledger {ledger} cannot be written: {reason}.", hint=hint)
    check_locks(ledger)


def _why_unwritable(ledger: Path) -> str:
    """Return whether the journal is closed to this user, and how to open it; else ""."""
    journal = ledger.with_name(f"{ledger.name}-journal")
    path = journal if journal.exists() else ledger.absolute().parent
    return "" if os.access(path, os.R_OK | os.W_OK) else f"{describe_owner(path)}."


def inspect(path: Path, store_hash: str, *, lock_timeout_s: float = SILENT_S) -> Inspection | None:
    """Return what the file at `path` is, checked for damage but not changed; None without one.

    Raises LedgerError if it is damaged, no ledger or cannot be read, and BusyError.
    """
    engine, url = SqliteEngine(path), f"{path.absolute().as_uri()}?mode=ro"
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise _unusable(engine.label, "it is not a regular file")
        with closing(sqlite3.connect(url, uri=True, timeout=lock_timeout_s)) as connection:
            _refuse_wal(connection, engine.label)
            transaction = Transaction(connection.cursor(), engine.dialect, {})
            [(problem,)] = transaction.query("PRAGMA quick_check(1)")
            if problem != "ok":
                raise _damaged(engine.label, problem)
            version = engine.version(transaction)
            if version is None:
                return Inspection(size)
            [(newest_at,)] = transaction.rows(_NEWEST_ORDER, store_hash=store_hash)
            return Inspection(size, version, newest_order_at=newest_at)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(engine.label, error.strerror or type(error).__name__) from None
    except sqlite3.Error as error:
        if _name(error) == "SQLITE_READONLY_ROLLBACK":
            return Inspection(size, interrupted=True)
        raise engine.translate(error) from None


def _refuse_wal(connection: sqlite3.Connection, label: str) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        raise LedgerError(
            f"Another program changed the ledger {label} to a write-ahead log, as Litestream does.",
            hint=f"End that program, then: sqlite3 '{label}' 'PRAGMA journal_mode=TRUNCATE'",
        )


def _damaged(label: str, said: str) -> LedgerError:
    return LedgerError(f"The ledger {label} is damaged: {said}.", hint=_RESTORE)


def _unusable(label: str, said: str) -> LedgerError:
    return LedgerError(
        f"The ledger {label} could not be used: {said}.",
        hint="Check its disk, and that the user that runs bc2ot owns it; or set `ledger` "
        "(BC2OT_LEDGER).",
    )


def _name(error: sqlite3.Error) -> str:
    """SQLite's own name of an error, such as SQLITE_BUSY."""
    return getattr(error, "sqlite_errorname", "") or ""


def _is_busy(error: sqlite3.Error) -> bool:
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


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
