"""Everything that can go wrong, as one tree; each error knows its exit code.

An error's text says what happened and to what; its `hint` says what to do next. Neither may
hold a secret or a customer's data: what a server said is quoted only through `excerpt`.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that scripts may rely on."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    UNREACHABLE = 5
    BUSY = 6
    BUG = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What it tells, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.INCOMPLETE: "done, but some orders failed, are unknown or missing",
    ExitCode.USAGE: "wrong usage: an option, an id, a date, a destination",
    ExitCode.CONFIGURATION: "configuration, or the ledger's file",
    ExitCode.REFUSED: "refused: credentials, scope, merchant key",
    ExitCode.UNREACHABLE: "a service could not be reached, or gave no usable answer",
    ExitCode.BUSY: "another run holds the store or the ledger",
    ExitCode.BUG: "a bug, with a report to paste",
    ExitCode.INTERRUPTED: "interrupted, after finishing what was in flight",
}


WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.CONFIGURATION,
    ExitCode.REFUSED,
    ExitCode.UNREACHABLE,
    ExitCode.BUSY,
    ExitCode.INCOMPLETE,
    ExitCode.DONE,
)
"""Which exit code counts where there are several."""


_AGAIN = "Run it again in a while; if that goes on, see whether the service tells of trouble."


class Bc2otError(Exception):
    """An expected failure. `hint` is the next step for whoever reads the message."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(Bc2otError):
    """What the caller asked for makes no sense: a date, an id, a destination."""

    exit_code = ExitCode.USAGE


class NotAuthenticError(Bc2otError):
    """A callback that is not shown to be BigCommerce's. The message tells a stranger nothing;
    `reason` says in a few words what was amiss, for logs and metrics.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, reason: str) -> None:
        super().__init__("The callback is not authentic.")
        self.reason = reason


class ConfigurationError(Bc2otError):
    """A setting is missing, unknown, malformed or contradictory."""

    exit_code = ExitCode.CONFIGURATION


class LedgerError(Bc2otError):
    """The ledger cannot be read or written: damaged, read-only, too new, disk full."""

    exit_code = ExitCode.CONFIGURATION


class BusyError(Bc2otError):
    """Another run holds the store or the ledger."""

    exit_code = ExitCode.BUSY


class InterruptedRunError(Bc2otError):
    """The run was asked to stop before it was through."""

    exit_code = ExitCode.INTERRUPTED


class RefusedError(Bc2otError):
    """A service refuses us for good: every further call would fail the same way."""

    exit_code = ExitCode.REFUSED


class CredentialsError(RefusedError):
    """BigCommerce does not accept the token for this store (401), or knows no such store."""


class ScopeError(RefusedError):
    """The token lacks the OAuth scope that a call needs (403)."""


class OneTribeUrlError(RefusedError):
    """One Tribe's address or merchant key is wrong (3xx, 401, 403, 404, 405, 410)."""


class NotFoundError(Bc2otError):
    """BigCommerce has no such thing (404 for one order or one hook)."""

    exit_code = ExitCode.INCOMPLETE


class RejectedError(Bc2otError):
    """BigCommerce understood the request and will not carry it out (400, 409, 422)."""

    exit_code = ExitCode.USAGE


class OrderRefusedError(Bc2otError):
    """One Tribe refused this one order (a 4xx about the order itself)."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, message: str, *, status: int, text: str) -> None:
        super().__init__(message)
        self.status = status
        self.text = text


class UnreachableError(Bc2otError):
    """A service gave no usable answer."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, message: str, *, hint: str = _AGAIN) -> None:
        super().__init__(message, hint=hint)


class NoConnectionError(UnreachableError):
    """No connection came about: the request certainly never left."""


class NoResponseError(UnreachableError):
    """The request went out and no answer was seen: it may have arrived."""


class BadResponseError(UnreachableError):
    """An answer came, but not one that can be used: HTML, cut off, of the wrong shape."""


class RetryLaterError(UnreachableError):
    """The service asks us to come back later (408, 425, 429, 5xx).

    `retry_after_s` is how long it asked us to wait, or None where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int,
        text: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.text = text
        self.retry_after_s = retry_after_s
