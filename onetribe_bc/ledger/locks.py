"""Locks between processes that the operating system drops when their holder dies.

A killed run must not need a timeout to be known as dead, nor a recycled process id be taken for
it: it held a lock on a file (flock), and the lock went with it. The files live in a folder
beside the ledger.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onetribe_bc.errors import BusyError, LedgerError


def locks_folder(ledger: Path) -> Path:
    """Where the runs of a ledger have their locks; made by the first of them."""
    return ledger.with_name(f"{ledger.name}.locks")


def _run_file(run_id: str) -> str:
    return f"run-{run_id}.lock"


class FileLock:
    """An exclusive lock on one file. Another `FileLock` on the same file is another holder."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be made."""
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Take it, unless someone has it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self) -> None:
        """Take it as soon as nobody has it. Raises OSError."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def unlink(self) -> None:
        """Remove the file; the lock stays held until `close`."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the lock go."""
        os.close(self.descriptor)


class Locks:
    """The lock folder of one ledger."""

    def __init__(self, ledger: Path) -> None:
        self._folder = locks_folder(ledger)

    def take_run(self, run_id: str) -> FileLock:
        """Hold `run_id` for the life of this process: while it is held, its claims stand.

        A run's name is its own alone, so that nobody else has this lock for longer than a look.
        """
        with self._usable():
            lock = FileLock(self._folder / _run_file(run_id))
            lock.wait()
            return lock

    def take_dead_run(self, run_id: str) -> FileLock | None:
        """The lock of a run that nobody holds any more; None while it lives."""
        return self._take(_run_file(run_id))

    def lives(self, run_id: str) -> bool:
        """Whether somebody holds that run. Changes nothing.

        Whoever would take over a dead run in this very moment takes it for alive, and the next
        run settles it.
        """
        try:
            descriptor = os.open(self._folder / _run_file(run_id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return not isinstance(error, FileNotFoundError)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def store(self, store_hash: str) -> Iterator[None]:
        """Hold a store for one sync or backfill. Raises BusyError when another run has it."""
        name = hashlib.sha256(store_hash.encode()).hexdigest()[:16]
        lock = self._take(f"store-{name}.lock")
        if lock is None:
            raise BusyError(
                f"Another sync or backfill of store {store_hash} is running.",
                hint="Wait for it to end. What it does not get to stays owed.",
            )
        try:
            yield
        finally:
            lock.close()

    def _take(self, name: str) -> FileLock | None:
        with self._usable():
            lock = FileLock(self._folder / name)
            if lock.take():
                return lock
            lock.close()
        return None

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """The folder, made if need be. Raises LedgerError for what fails in it."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise LedgerError(
                f"The ledger's lock folder {self._folder} cannot be used: {error.strerror}.",
                hint="Give the user that runs bc2ot write permission there, or set `ledger`.",
            ) from None
