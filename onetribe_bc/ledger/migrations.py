"""From an older version of the ledger to this one, after a copy of it was set aside."""

from __future__ import annotations

import itertools
import os
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.creation import sync

STEPS: Mapping[int, Sequence[str]] = {
    1: [
        """
        CREATE TABLE callbacks (
            store_hash VARCHAR(64) NOT NULL,
            destination VARCHAR(16) NOT NULL,
            order_id BIGINT NOT NULL,
            received_at BIGINT NOT NULL,
            received INTEGER NOT NULL,
            due_at BIGINT NOT NULL,
            looks INTEGER NOT NULL,
            PRIMARY KEY (store_hash, destination, order_id)
        ) WITHOUT ROWID
        """
    ],
}
"""What makes a ledger of each older version one of the next. Written out, and never changed: the
tables in `schema` are those of the newest version.
"""


def set_aside(path: Path, version: int) -> Path:
    """A durable copy of an older ledger, 0600, beside it; never over another one.

    The caller holds the write lock and has written nothing yet, so that the copy is whole.
    Raises LedgerError.
    """
    try:
        return _copy(path, version)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise LedgerError(
            f"The ledger {path} is of an older version, and no copy of it could be set aside "
            f"before the change: {why}.",
            hint="Make room and give write permission on its folder. The ledger was left as it is.",
        ) from None


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring the ledger up to `SCHEMA_VERSION`, within a transaction that the caller holds."""
    for step in range(version, schema.SCHEMA_VERSION):
        for statement in STEPS[step]:
            connection.exec_driver_sql(statement)
    connection.execute(
        sa.update(schema.meta)
        .where(schema.meta.c.key == "schema_version")
        .values(value=str(schema.SCHEMA_VERSION))
    )


def _copy(path: Path, version: int) -> Path:
    """It gets its name when all of it is there, so that nobody restores half a copy.

    SQLite makes it: to close the ledger's file ourselves would drop the locks that this process
    has on it (POSIX). Raises OSError and sqlite3.Error.
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
        copy = _link(name, path, f"v{version}.bak")
    finally:
        Path(name).unlink()
    sync(path.parent)
    return copy


def _link(name: str, path: Path, ending: str) -> Path:
    """Give the file a name that is free."""
    for number in itertools.count(1):
        free = path.with_name(f"{path.name}.{ending}" + (f".{number}" if number > 1 else ""))
        with suppress(FileExistsError):
            os.link(name, free)
            break
    return free
