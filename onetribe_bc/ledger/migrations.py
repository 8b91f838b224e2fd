"""From an older version of a SQLite ledger to this one, after a backup of it."""

from __future__ import annotations

import itertools
import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from onetribe_bc.errors import LedgerError
from onetribe_bc.files import give_to_owner
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Transaction

OLDEST_VERSION = 2

FROM_2 = (
    "ALTER TABLE orders ADD COLUMN worker INTEGER",
    "ALTER TABLE orders ADD COLUMN status_id INTEGER",
    "ALTER TABLE orders ADD COLUMN status VARCHAR(60) DEFAULT '' NOT NULL",
    'ALTER TABLE runs ADD COLUMN "exclusive" INTEGER DEFAULT 0 NOT NULL',
    "ALTER TABLE runs ADD COLUMN host VARCHAR(100) DEFAULT '' NOT NULL",
    "ALTER TABLE runs ADD COLUMN lease_until BIGINT",
    "DROP INDEX orders_by_state",
)
"""What version 3 changes in the tables of version 2; new tables and indexes are in `schema`."""

_MERGE_SPELLINGS = """
    UPDATE orders SET arrivals = orders.arrivals + other.arrivals,
        deliveries = orders.deliveries + other.deliveries,
        delivered_at = coalesce(orders.delivered_at, other.delivered_at),
        state = CASE other.state WHEN 'delivered' THEN other.state ELSE orders.state END
    FROM orders AS other
    WHERE other.store_hash <> orders.store_hash AND lower(other.store_hash) = orders.store_hash
        AND other.destination = orders.destination AND other.order_id = orders.order_id
"""
_OF_STORES = ("orders", "attempts", "runs", "bookmarks", "callbacks")

_COUNT_ALL = """
    INSERT INTO counts (store_hash, destination, state, reason, number, latest)
    SELECT store_hash, destination, state, CASE state WHEN 'skipped' THEN reason ELSE '' END,
        count(*), CASE state WHEN 'sending' THEN max(sent_at)
            WHEN 'delivered' THEN max(delivered_at) END
    FROM orders GROUP BY 1, 2, 3, 4
"""


def migrate(transaction: Transaction) -> None:
    """Bring a ledger of version 2 to version 3, within the transaction."""
    for statement in FROM_2:
        transaction.execute(statement)
    there = {name for (name,) in transaction.query("SELECT name FROM sqlite_master")}
    for name, statement in schema.create_statements(transaction.dialect):
        if name not in there:
            transaction.execute(statement)
    # A store has one spelling, in lower case.
    transaction.execute(_MERGE_SPELLINGS)
    for table in _OF_STORES:
        transaction.execute(f"UPDATE OR IGNORE {table} SET store_hash = lower(store_hash)")  # noqa: S608
        transaction.execute(f"DELETE FROM {table} WHERE store_hash <> lower(store_hash)")  # noqa: S608
    transaction.execute(_COUNT_ALL)
    for statement in schema.SQLITE_TRIGGERS.values():
        transaction.execute(statement)
    transaction.execute("UPDATE ledger_meta SET value = '3' WHERE key = 'schema_version'")
    transaction.execute("INSERT INTO ledger_meta VALUES ('id', lower(hex(randomblob(16))))")


def back_up(path: Path, version: int) -> Path:
    """Make a durable copy of an older ledger, 0600, next to it; never over another one.

    The caller holds the write lock and has written nothing yet, so that the copy is whole.
    Raises LedgerError.
    """
    try:
        return _copy(path, version)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise LedgerError(
            f"The ledger {path} is of an older version, and it could not be backed up before "
            f"the change: {why}.",
            hint="Make room and give write permission on its directory. The ledger is unchanged.",
        ) from None


def _copy(path: Path, version: int) -> Path:
    """It gets its name when it is whole, so that nobody restores half a copy.

    SQLite makes it: if we closed the ledger's file ourselves, that would drop the locks that this
    process has on it (POSIX). Raises OSError, sqlite3.Error.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.copy-", dir=path.parent)  # 0600
    os.close(descriptor)
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as ledger,
            closing(sqlite3.connect(name)) as to,
        ):
            ledger.backup(to)
        sync(Path(name))
        give_to_owner(Path(name), path)
        copy = _link(name, path, f"v{version}.bak")
    finally:
        Path(name).unlink()
    sync(path.parent)
    return copy


def _link(name: str, path: Path, ending: str) -> Path:
    """Link the file to a name that is free."""
    for number in itertools.count(1):
        free = path.with_name(f"{path.name}.{ending}" + (f".{number}" if number > 1 else ""))
        with suppress(FileExistsError):
            os.link(name, free)
            break
    return free


def sync(path: Path) -> None:
    """Make a file or directory outlive a power cut. Not for a ledger in use: see `_copy`.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
