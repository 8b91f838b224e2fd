"""Locks between processes that the operating system drops when their holder dies.

A killed run must not need a timeout to be known as dead, nor a recycled process id be taken for
it: it held a lock on a file (flock), and the lock went with it. The files live in a folder
beside the ledger.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onetribe_bc.errors import BusyError, LedgerError

_POLL_S = 0.002
"""How often to look again for the ledger; other processes hold it for milliseconds."""


class FileLock:
    """An exclusive lock on one file. Another `FileLock` on it is another holder."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be made."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_lock(self) -> bool:
        """Take it, unless someone has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let it go; it may be taken again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let it go for good."""
        os.close(self._descriptor)


class Locks:
    """The lock folder of one ledger."""

    def __init__(self, ledger: Path) -> None:
        self._folder = ledger.with_name(ledger.name + ".locks")

    def access(self) -> FileLock:
        """The lock that each use of the ledger's file is under."""
        return self._open("access.lock")

    def take_run(self, run_id: str) -> FileLock:
        """Hold `run_id` for the life of this process: while it is held, its claims stand."""
        lock = self._open(f"run-{run_id}.lock")
        if not lock.try_lock():
            lock.close()
            raise LedgerError(f"The lock of the new run {run_id} is already held.")
        return lock

    def end_run(self, lock: FileLock) -> None:
        """Let go of a run whose claims are all settled."""
        lock.path.unlink(missing_ok=True)
        lock.close()

    def is_dead(self, run_id: str) -> bool:
        """Whether nobody holds `run_id` any more; what it left behind is then removed."""
        lock = self._open(f"run-{run_id}.lock")
        if not lock.try_lock():
            lock.close()
            return False
        self.end_run(lock)
        return True

    @contextmanager
    def store(self, store_hash: str) -> Iterator[None]:
        """Hold a store for one sync or backfill. Raises BusyError when another run has it."""
        name = hashlib.sha256(store_hash.encode()).hexdigest()[:16]
        lock = self._open(f"store-{name}.lock")
        try:
            if not lock.try_lock():
                raise BusyError(
                    f"Another sync or backfill of store {store_hash} is running.",
                    hint="Wait for it to end. What it does not get to stays owed.",
                )
            yield
        finally:
            lock.close()

    def _open(self, name: str) -> FileLock:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return FileLock(self._folder / name)
        except OSError as error:
            raise LedgerError(
                f"The ledger's lock folder {self._folder} cannot be used: {error.strerror}.",
                hint="Give the user that runs bc2ot write permission there, or set `ledger`.",
            ) from None


@contextmanager
def held(lock: FileLock, ledger: Path, timeout_s: float) -> Iterator[None]:
    """Hold the ledger's access lock. Raises BusyError when others keep it for so long."""
    give_up_at = time.monotonic() + timeout_s
    while not lock.try_lock():
        if time.monotonic() >= give_up_at:
            raise BusyError(
                f"The ledger {ledger} is locked by another process.",
                hint="Wait for it to finish. Nothing was lost: what was not delivered stays owed.",
            )
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.unlock()
