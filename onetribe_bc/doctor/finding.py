"""What a check found, how bad that is, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from onetribe_bc.errors import (
    WORST_FIRST,
    Bc2otError,
    BusyError,
    ConfigurationError,
    ExitCode,
    LedgerError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnreachableError,
)


class Check(StrEnum):
    """What is looked at: the group, a dot, and a name. Programs may rely on all of them."""

    FILE = "configuration.file"
    MODES = "configuration.modes"
    SETTING = "configuration.setting"
    REACH = "bigcommerce.reach"
    TOKEN = "bigcommerce.token"  # noqa: S105 - a name
    ORDERS = "bigcommerce.orders"
    STORE = "bigcommerce.store"
    CLOCK = "bigcommerce.clock"
    HOOKS = "hooks.list"
    PRESENT = "hooks.present"
    ACTIVE = "hooks.active"
    DESTINATION = "hooks.destination"
    DUPLICATE = "hooks.duplicate"
    LIMIT = "hooks.limit"
    BLOCKED = "hooks.blocked"
    IDLE = "hooks.idle"
    SECRET = "hooks.secret"  # noqa: S105 - a name
    RECEIVER = "hooks.receiver"
    ADDRESS = "onetribe.address"
    LEDGER = "ledger.file"
    LEDGER_MODE = "ledger.mode"
    LEDGER_ADDRESS = "ledger.address"
    RUNS = "ledger.runs"
    SYNC = "ledger.sync"
    OWED = "ledger.owed"
    UNKNOWN = "ledger.unknown"
    FAILED = "ledger.failed"

    @property
    def group(self) -> str:
        """What belongs together, as people are told."""
        return _GROUPS[self.partition(".")[0]]


_GROUPS = {
    "configuration": "Configuration",
    "bigcommerce": "BigCommerce",
    "hooks": "Hooks",
    "onetribe": "One Tribe",
    "ledger": "Ledger",
}


class Level(StrEnum):
    """How bad it is: a note is good to know, a warning needs nothing now, a failure does."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"


Fix = Callable[[], str]
"""Mends it, and says in a sentence what was done. Raises Bc2otError and OSError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `text` and `mend`, the next step, are sentences without secrets.

    `exit_code` is not 0 for failures, and for them alone. `fix`, if there is one, mends it
    safely; `mended` says that this is what came of one.
    """

    check: Check
    level: Level
    text: str
    mend: str = ""
    exit_code: ExitCode = ExitCode.DONE
    fix: Fix | None = field(default=None, repr=False, compare=False)
    mended: bool = False


TROUBLE = (
    BusyError,
    ConfigurationError,
    LedgerError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnreachableError,
)
"""What may go wrong with one check without being the end of the others."""


def ok(check: Check, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def note(check: Check, text: str, mend: str = "") -> Finding:
    return Finding(check, Level.NOTE, text, mend)


def warn(check: Check, text: str, mend: str = "", *, fix: Fix | None = None) -> Finding:
    return Finding(check, Level.WARN, text, mend, fix=fix)


def fail(
    check: Check,
    text: str,
    mend: str = "",
    *,
    exit_code: ExitCode = ExitCode.INCOMPLETE,
    fix: Fix | None = None,
) -> Finding:
    """By default what fails is a hook or the sync, as opposed to settings and services."""
    return Finding(check, Level.FAIL, text, mend, exit_code, fix)


_SEE_MORE = "Correct it and run `bc2ot doctor` again; with -v it shows each request."


def failed(check: Check, error: Bc2otError) -> Finding:
    """The error itself as a finding. Nobody typed anything wrong here: whatever BigCommerce does
    not accept is no usable answer.
    """
    wrong = error.exit_code is ExitCode.USAGE
    exit_code = ExitCode.UNREACHABLE if wrong else error.exit_code
    return fail(check, str(error), error.hint or _SEE_MORE, exit_code=exit_code)


def skipped(check: Check, about: str, why: str) -> Finding:
    return note(check, f"{about}, skipped: {why}")


def worst(findings: Iterable[Finding]) -> ExitCode:
    """The exit code of all of them together."""
    codes = {ExitCode.DONE, *(finding.exit_code for finding in findings)}
    return min(codes, key=WORST_FIRST.index)
