"""What may be wrong with a ledger's file: told alike by those who open it and those who only look.

Their texts name tables and files, never values.
"""

from __future__ import annotations

from pathlib import Path

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger.schema import SCHEMA_VERSION

_RESTORE = (
    "It was left as it is. Set it aside and restore a copy; without one, every order of the "
    "range would be sent again."
)


def sqlite_name(error: BaseException | None) -> str:
    """SQLite's own name of an error, such as SQLITE_BUSY; empty where it has none."""
    return getattr(error, "sqlite_errorname", "") or ""


def is_busy(error: BaseException | None) -> bool:
    """Whether another process has it locked."""
    return sqlite_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is no sound database."""
    return sqlite_name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def locked(path: Path) -> BusyError:
    return BusyError(
        f"The ledger {path} is locked by another process.",
        hint="Wait for it to finish. Nothing was lost: what was not delivered stays owed.",
    )


def damaged(path: Path, said: str) -> LedgerError:
    return LedgerError(f"The ledger {path} is damaged: {said}.", hint=_RESTORE)


def emptied(path: Path) -> LedgerError:
    return LedgerError(
        f"The ledger {path} is empty, although there were runs with it.", hint=_RESTORE
    )


def without_version(path: Path) -> LedgerError:
    return LedgerError(f"The ledger {path} does not tell its version.", hint=_RESTORE)


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
