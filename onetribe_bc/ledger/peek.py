"""Inspect a ledger's file without changing it: it is not created, migrated or repaired."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onetribe_bc.ledger.failures import (
    damaged,
    foreign,
    is_busy,
    is_damage,
    locked,
    sqlite_name,
    unusable,
    without_version,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOCK_TIMEOUT_S = 2.0
"""How long to wait for another process's write."""


@dataclass(frozen=True, slots=True)
class Peek:
    """A ledger's file. `size` is in bytes; `version` is None while nothing was ever written.

    `half_written` says that a process was killed during a write: the next process that opens the
    file rolls it back, and until then nothing can be read. `newest_order_at` is when the store's
    newest order was first seen (aware UTC).
    """

    size: int
    version: int | None = None
    half_written: bool = False
    newest_order_at: datetime | None = None


def peek(path: Path, store_hash: str, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Peek | None:
    """What the file at `path` is; None where there is none. All of it is checked for damage.

    Raises LedgerError when it is damaged, no ledger or not to be read, and BusyError.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error.strerror or type(error).__name__) from None
    if not stat.S_ISREG(found.st_mode):
        raise unusable(path, "it is not a regular file")
    if not found.st_size:
        return Peek(0)
    try:
        with closing(_open(path, lock_timeout_s)) as connection:
            return _read(connection, path, store_hash, found.st_size)
    except sqlite3.Error as error:
        if sqlite_name(error) == "SQLITE_READONLY_ROLLBACK":
            return Peek(found.st_size, half_written=True)
        if is_busy(error):
            raise locked(path) from None
        if is_damage(error):
            raise damaged(path, str(error)) from None
        raise unusable(path, str(error)) from None


def _open(path: Path, lock_timeout_s: float) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=lock_timeout_s, isolation_level=None)


def _read(connection: sqlite3.Connection, path: Path, store_hash: str, size: int) -> Peek:
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise damaged(path, str(problem))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return Peek(size)
    if not {"ledger_meta", "orders"} <= tables:
        raise foreign(path)
    row = connection.execute(
        "SELECT value FROM ledger_meta WHERE key = 'schema_version'"
    ).fetchone()
    if row is None or not str(row[0]).isdecimal():
        raise without_version(path)
    (newest_ms,) = connection.execute(
        "SELECT max(first_seen_at) FROM orders WHERE store_hash = ?", (store_hash,)
    ).fetchone()
    newest = None if newest_ms is None else _EPOCH + timedelta(milliseconds=newest_ms)
    return Peek(size, version=int(row[0]), newest_order_at=newest)
