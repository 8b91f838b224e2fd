"""Locks between processes on one machine, which the system drops when their holder dies.

A run holds a lock (flock) on a file of its own, so a killed run is known to be dead without a
timeout, and a recycled process id is never taken for it. A file that is missing proves nothing.

The files lie in a directory next to the ledger. Ledger and directory carry the same random id: by
whatever name a process reaches the ledger (symbolic or hard link, bind mount), it finds the same
locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onetribe_bc.errors import LedgerError
from onetribe_bc.files import describe_owner, give_to_owner, make_directories
from onetribe_bc.ledger.engine import Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def locks_beside(ledger: Path) -> Path:
    """Return where the locks of a ledger are, if it was made under this name."""
    return ledger.with_name(f"{ledger.name}.locks")


def find_locks(ledger: Path, ledger_id: str, home: str) -> LockDirectory | None:
    """Return a ledger's lock directory: next to it, or next to `home`, its first name, if that
    is the same file. None if there is none yet.
    """
    names = [ledger]
    with suppress(OSError):
        if home and Path(home).samefile(ledger):
            names.append(Path(home))
    for name in names:
        directory = LockDirectory(locks_beside(name))
        if ledger_id and directory.id == ledger_id:
            return directory
    return None


class LiveRun:
    """A live run's lock. `clean` says that its claims are settled: the lock is not needed then."""

    def __init__(self, descriptor: int, mark: int) -> None:
        self.clean = False
        self._descriptor = descriptor
        self._mark = mark

    def begin(self, transaction: Transaction) -> None:
        """Do nothing: it lives since it holds the lock."""

    def check(self) -> None:
        """Nothing ends a run's lock but the end of its process."""

    def sent(self, at: datetime) -> None:
        """Note that an order was claimed at that time: see `LockDirectory.mark`."""
        mark = (at - _EPOCH) // _MILLISECOND
        if mark > self._mark:
            self._mark = mark
            with suppress(OSError):  # a full disk ends the run at its next commit
                os.pwrite(self._descriptor, b"%020d" % mark, 0)


class LockDirectory:
    """The lock directory of one ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The id of the ledger that it belongs to; empty if it does not say."""
        return self._read("id")

    @property
    def mark(self) -> datetime | None:
        """When an order was last claimed in this ledger, also if the file is now an older copy."""
        text = self._read("mark")
        return _EPOCH + int(text) * _MILLISECOND if text.isdecimal() else None

    def adopt(self, ledger_id: str) -> None:
        """Make it the directory of this ledger. Raises LedgerError."""
        with self._usable():
            if self.id not in ("", ledger_id):
                (self.path / "mark").unlink(missing_ok=True)
            new = self.path / f"id.{os.getpid()}"
            new.write_text(ledger_id, encoding="ascii")
            give_to_owner(new, self.path)
            new.replace(self.path / "id")

    @contextmanager
    def live(self, run_id: str) -> Iterator[LiveRun]:
        """Hold a run's lock. Its file stays if the run ends with claims: they are recovered."""
        with ExitStack() as stack:
            with self._usable():
                lock = os.open(self._file(run_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, lock)
                give_to_owner(lock, self.path)
                fcntl.flock(lock, fcntl.LOCK_EX)  # another process has it only to look
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                descriptor = os.open(self.path / "mark", flags, 0o600)
                stack.callback(os.close, descriptor)
                give_to_owner(descriptor, self.path)
            run = LiveRun(descriptor, (self.mark - _EPOCH) // _MILLISECOND if self.mark else 0)
            try:
                yield run
            finally:
                if run.clean:
                    self._file(run_id).unlink(missing_ok=True)

    @contextmanager
    def dead(self, run_ids: Collection[str], *, accept: bool) -> Iterator[list[str]]:
        """Hold the locks of those runs that are dead, and remove them after a clean exit.

        With `accept`, a run without a lock file counts as dead.
        """
        with ExitStack() as stack:
            dead = []
            for run_id in run_ids:
                lock = self._open(run_id)
                if lock is not None:
                    stack.callback(os.close, lock)
                if _take(lock, fcntl.LOCK_EX) if lock is not None else accept:
                    dead.append(run_id)
            yield dead
            for run_id in dead:
                self._file(run_id).unlink(missing_ok=True)

    def is_live(self, run_id: str) -> bool:
        """Whether a run may be alive: somebody holds its lock, or there is none. Changes nothing.

        A process that recovers a dead run in this very moment makes it look alive.
        """
        lock = self._open(run_id)
        if lock is None:
            return True
        try:
            return not _take(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    def _file(self, run_id: str) -> Path:
        return self.path / f"run-{run_id}.lock"

    def _open(self, run_id: str) -> int | None:
        try:
            return os.open(self._file(run_id), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Create the directory. Raises LedgerError for what fails in it."""
        try:
            make_directories(self.path)
            ledger = self.path.with_name(self.path.name.removesuffix(".locks"))
            if ledger.exists():
                give_to_owner(self.path, ledger)
            yield
        except OSError as error:
            raise unusable_locks(self.path, error) from None


def unusable_locks(directory: Path, error: OSError) -> LedgerError:
    """Return an error that names the file, its owner and what to do."""
    hint = "Give the user that runs bc2ot write permission there, or set `ledger`."
    if isinstance(error, PermissionError):
        file = error.filename if isinstance(error.filename, str | Path) else directory
        hint = f"{describe_owner(Path(file))}."
    return LedgerError(
        f"The ledger's lock directory {directory} cannot be used: {error.strerror}.", hint=hint
    )


def check_locks(ledger: Path) -> None:
    """Check that this user can use the files in the lock directory. Raises LedgerError."""
    directory = locks_beside(ledger)
    try:
        for file in directory.iterdir() if directory.exists() else ():
            if not os.access(file, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
    except OSError as error:
        raise unusable_locks(directory, error) from None


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
