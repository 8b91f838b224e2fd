"""What a check found, how severe it is, and how to fix it."""

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

GROUPS = {
    "configuration": "Configuration",
    "bigcommerce": "BigCommerce",
    "hooks": "Webhooks",
    "onetribe": "One Tribe",
    "ledger": "Ledger",
}
"""The title of each group of checks."""


class Level(StrEnum):
    """The severity: only a failure needs a fix now."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "FAIL"


Fix = Callable[[], str]
"""Applies a fix and returns a sentence about it. Raises Bc2otError and OSError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `text` and `hint`, the next step, are sentences without secrets.

    `check` is a group, a dot and a name; programs may rely on it. `exit_code` is nonzero for
    failures only. `fix` is a safe fix, if there is one; `fixed` marks the result of a fix.
    """

    check: str
    level: Level
    text: str
    hint: str = ""
    exit_code: ExitCode = ExitCode.DONE
    fix: Fix | None = field(default=None, repr=False, compare=False)
    fixed: bool = False

    @property
    def group(self) -> str:
        """The title of the check's group."""
        return GROUPS[self.check.partition(".")[0]]


CHECK_ERRORS = (
    BusyError,
    ConfigurationError,
    LedgerError,
    NotFoundError,
    RefusedError,
    RejectedError,
    UnreachableError,
)
"""Errors that fail one check but do not stop the others."""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Level.OK, text)


def note(check: str, text: str, hint: str = "") -> Finding:
    return Finding(check, Level.NOTE, text, hint)


def warn(check: str, text: str, hint: str = "", *, fix: Fix | None = None) -> Finding:
    return Finding(check, Level.WARN, text, hint, fix=fix)


def fail(
    check: str,
    text: str,
    hint: str = "",
    *,
    exit_code: ExitCode = ExitCode.INCOMPLETE,
    fix: Fix | None = None,
) -> Finding:
    """Return a failure. The default exit code is that of webhooks, syncs and orders."""
    return Finding(check, Level.FAIL, text, hint, exit_code, fix)


def failed(check: str, error: Bc2otError) -> Finding:
    """Return an error as a failure.

    A request that BigCommerce rejects counts as an unusable response, not as wrong usage: the user
    entered nothing.
    """
    is_usage = error.exit_code is ExitCode.USAGE
    exit_code = ExitCode.UNREACHABLE if is_usage else error.exit_code
    hint = error.hint or "Correct it and run `bc2ot doctor` again; -v shows each request."
    return fail(check, str(error), hint, exit_code=exit_code)


def skipped(check: str, subject: str, why: str) -> Finding:
    return note(check, f"{subject} skipped: {why}")


def worst(findings: Iterable[Finding]) -> ExitCode:
    """Return the most severe exit code of the findings."""
    codes = {ExitCode.DONE, *(finding.exit_code for finding in findings)}
    return min(codes, key=WORST_FIRST.index)
