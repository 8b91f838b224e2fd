"""From an older version of the ledger to this one, after a copy of it was set aside."""

from __future__ import annotations

import itertools
import os
import sqlite3
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
    """SQLite makes it: to close the ledger's file ourselves would drop the locks that this process
    has on it (POSIX). Raises OSError and sqlite3.Error.
    """
    copy = _new_file(path, f"v{version}.bak")
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as ledger,
            closing(sqlite3.connect(copy)) as to,
        ):
            ledger.backup(to)
        for changed in (copy, path.parent):
            sync(changed)
    except BaseException:
        copy.unlink()
        raise
    return copy


def _new_file(path: Path, ending: str) -> Path:
    for number in itertools.count(1):
        name = f"{path.name}.{ending}" if number == 1 else f"{path.name}.{ending}.{number}"
        file = path.with_name(name)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
    return file
