"""A new ledger: it gets its name when all of it is there."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger import schema


def provide(path: Path) -> None:
    """Make the ledger where there is none; see that one which is there can be written.

    Its file is not opened here: closing it would drop the locks that another connection of this
    process may have on it (POSIX). Raises LedgerError, and DBAPIError when SQLite fails.
    """
    problem = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _create(path)
        elif path.is_dir():
            problem = os.strerror(errno.EISDIR)
        elif not os.access(path, os.R_OK | os.W_OK):
            problem = os.strerror(errno.EACCES)
    except FileExistsError:
        problem = os.strerror(errno.ENOTDIR)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        raise LedgerError(
            f"The ledger {path} cannot be opened for writing: {problem}.",
            hint="Give the user that runs bc2ot write permission there, or set `ledger` "
            "(BC2OT_LEDGER) to a file elsewhere.",
        )


def _create(path: Path) -> None:
    """Under a name of its own, 0600 from the first byte, then by a link in one step: nobody sees
    a ledger without tables, whenever this process ends, and of two that make it the first wins.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
    os.close(descriptor)
    try:
        engine = sa.create_engine(sa.URL.create("sqlite", database=name), poolclass=sa.NullPool)
        with engine.connect() as connection:
            # A file that nobody knows of needs no journal on the disk.
            for statement in ("journal_mode=MEMORY", "synchronous=FULL"):
                connection.exec_driver_sql(f"PRAGMA {statement}")
            connection.exec_driver_sql("BEGIN")
            schema.create(connection)
            connection.commit()
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file or folder outlive a power cut. Not for a ledger that is in use: see `provide`.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
