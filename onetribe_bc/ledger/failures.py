"""Errors of a ledger's file, worded the same whether it is opened or only inspected.

Their texts name tables and files, never values.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger.engine import BlockedError
from onetribe_bc.ledger.schema import SCHEMA_VERSION

_RESTORE = (
    "It was left as it is. Set it aside and restore a copy; without one, every order of the "
    "range would be sent again."
)


def sqlite_name(error: BaseException | None) -> str:
    """Return SQLite's name of an error, such as SQLITE_BUSY; empty if it has none."""
    return getattr(error, "sqlite_errorname", "") or ""


def is_busy(error: BaseException | None) -> bool:
    """Whether another process has it locked."""
    return sqlite_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is not a valid database."""
    return sqlite_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def locked(path: Path) -> BusyError:
    return BusyError(
        f"The ledger {path} is locked by another process.",
        hint="Wait for it to finish. Nothing was lost: what was not delivered stays owed.",
    )


def held_up(path: Path, timeout_s: float) -> BlockedError:
    return BlockedError(
        f"Another program has been reading the ledger {path} for {timeout_s:g} s, and nothing can "
        "be written meanwhile. Litestream, a backup or an open sqlite3 shell does that.",
        hint="Find it (fuser, lsof) and end it; back up with `sqlite3 FILE .backup COPY`.",
    )


def with_wal(path: Path) -> LedgerError:
    return LedgerError(
        f"Another program changed the ledger {path} to a write-ahead log, as Litestream does.",
        hint=f"End that program, then: sqlite3 '{path}' 'PRAGMA journal_mode=TRUNCATE'",
    )


def full(path: Path) -> LedgerError:
    return LedgerError(
        f"The disk with the ledger {path} is full.",
        hint="Make room and run it again. No order is sent that cannot be written down.",
    )


def read_only(path: Path, said: str) -> LedgerError:
    return LedgerError(
        f"The ledger {path} cannot be written: {said}.",
        hint="Give the user that runs bc2ot write permission on the file and its directory.",
    )


def older_copy(path: str, known: datetime | None, until: datetime) -> LedgerError:
    since = "an unknown time" if known is None else f"{known:%F %T} UTC"
    return LedgerError(
        f"The ledger {path} is an older copy: it misses what was sent from {since} to "
        f"{until:%F %T} UTC.",
        hint="Put the newer file back. Without one: bc2ot ledger accept. Orders of that period "
        "are then sent again where the ledger does not know them, and flagged.",
    )


def moved(label: str, where: str) -> LedgerError:
    return LedgerError(
        f"The ledger {label} was moved to {where}.",
        hint="Set `ledger` (BC2OT_LEDGER) to that one: this one misses what was sent since.",
    )


def damaged(path: Path, said: str) -> LedgerError:
    return LedgerError(f"The ledger {path} is damaged: {said}.", hint=_RESTORE)


def emptied(path: Path) -> LedgerError:
    return LedgerError(
        f"The ledger {path} is empty, although there were runs with it.", hint=_RESTORE
    )


def without_version(path: Path) -> LedgerError:
    return LedgerError(f"The ledger {path} has no version.", hint=_RESTORE)


def too_new(path: Path, version: int) -> LedgerError:
    return LedgerError(
        f"The ledger {path} has version {version}, made by a newer bc2ot; this one knows "
        f"version {SCHEMA_VERSION}.",
        hint="Upgrade bc2ot: pip install --upgrade onetribe-bc",
    )


def foreign(path: Path) -> LedgerError:
    return LedgerError(
        f"The file {path} is a database, but not a bc2ot ledger.",
        hint="Set `ledger` (BC2OT_LEDGER) to another file.",
    )


def unusable(path: Path, said: str) -> LedgerError:
    return LedgerError(
        f"The ledger {path} could not be used: {said}.",
        hint="Check its disk, and that the user that runs bc2ot owns it; or set `ledger` "
        "(BC2OT_LEDGER).",
    )
