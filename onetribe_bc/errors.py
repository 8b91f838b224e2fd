"""All expected errors as one tree, each with its exit code.

An error's text says what failed, on what and why; its `hint` says what to do next. Neither
contains a secret or customer data: remote text is quoted only through `text.excerpt`.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that scripts may rely on, each with its meaning in a few words."""

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "success"
    INCOMPLETE = 1, "finished, but some orders failed, are unknown or are missing"
    USAGE = 2, "wrong usage: an invalid option, ID, date or destination"
    CONFIGURATION = 3, "invalid configuration, or the ledger cannot be used"
    REFUSED = 4, "a service refused the credentials, the scope or the merchant key"
    UNREACHABLE = 5, "a service could not be reached, or sent no usable response"
    BUSY = 6, "another run holds the store or the ledger"
    BUG = 70, "a bug; the output has a report to paste into an issue"
    INTERRUPTED = 130, "interrupted; requests in flight were finished"


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
"""For several results, the exit code is the first of these that occurs."""


_AGAIN = "Run it again later. If the error persists, check the service's status page."


class Bc2otError(Exception):
    """An expected failure. `hint` is the next step."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(Bc2otError):
    """Invalid input: a date, an ID, a destination."""

    exit_code = ExitCode.USAGE


class NotAuthenticError(Bc2otError):
    """A callback that could not be verified.

    The message reveals nothing to its sender; `reason` is for logs and metrics.
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
    """Another run holds the store or the ledger; `since` is when it began, if known."""

    exit_code = ExitCode.BUSY

    def __init__(self, message: str, *, hint: str = "", since: datetime | None = None) -> None:
        super().__init__(message, hint=hint)
        self.since = since


class InterruptedRunError(Bc2otError):
    """The run was asked to stop before it was done."""

    exit_code = ExitCode.INTERRUPTED


class RefusedError(Bc2otError):
    """A service refuses every request: further ones would fail the same way."""

    exit_code = ExitCode.REFUSED


class CredentialsError(RefusedError):
    """The token is not valid for this store (401), or there is no such store."""


class ScopeError(RefusedError):
    """The token lacks the OAuth scope that a request needs (403)."""


class OneTribeUrlError(RefusedError):
    """The One Tribe URL or merchant key is wrong (3xx, 401, 403, 404, 405, 410)."""


class WrongStoreError(CredentialsError):
    """BigCommerce has no such store, or no such API in it (404)."""


class NotFoundError(Bc2otError):
    """BigCommerce has no such order or hook (404)."""

    exit_code = ExitCode.INCOMPLETE


class RejectedError(Bc2otError):
    """BigCommerce refused a request as invalid (400, 409, 422)."""

    exit_code = ExitCode.USAGE


class OrderRefusedError(Bc2otError):
    """One Tribe refused this one order (a 4xx about the order itself)."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, message: str, *, status: int, text: str) -> None:
        super().__init__(message)
        self.status = status
        self.text = text


class UnreachableError(Bc2otError):
    """A service gave no usable response."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, message: str, *, hint: str = _AGAIN) -> None:
        super().__init__(message, hint=hint)


class NoConnectionError(UnreachableError):
    """No connection was made: the request was certainly not sent."""


class NoResponseError(UnreachableError):
    """The request was sent and got no response: it may have arrived."""


class BadResponseError(UnreachableError):
    """The response cannot be used: HTML, incomplete, or of the wrong shape."""


class UnexpectedResponseError(BadResponseError):
    """The response is whole and of the wrong shape: it would be the same again."""


class OutOfOrderError(BadResponseError):
    """A list of orders is not sorted, so that its next page could begin in the wrong place."""


class RetryLaterError(UnreachableError):
    """The service asks to retry later (408, 425, 429, 5xx).

    `retry_after_s` is the wait that it asks for, or None.
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
