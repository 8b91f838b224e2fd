"""How long to wait before the next try."""

from __future__ import annotations

import email.utils
import math
from datetime import UTC, datetime

MAX_WAIT_S = 60.0
"""The longest wait that is ours to choose."""

MAX_RETRY_AFTER_S = 600.0
"""The longest wait that a server may impose on a run; beyond it we come back all the same."""


def full_jitter(attempt: int, chance: float, *, base_s: float = 1.0) -> float:
    """Seconds to wait after try number `attempt` (from 1), where `chance` is in [0, 1).

    Evenly spread over [0, base · 2^(attempt-1)), capped: clients that failed together do not
    come back together (Amazon's "full jitter").
    """
    ceiling = min(MAX_WAIT_S, base_s * 2.0 ** min(attempt - 1, 32))
    return ceiling * chance


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number or an HTTP date (RFC 9110, 10.2.3).

    None where the header is absent or makes no sense. Never negative, never above the cap.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        moment = parse_http_date(value)
        if moment is None:
            return None
        seconds = (moment - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def parse_http_date(value: str | None) -> datetime | None:
    """The moment in a header such as `Date`: aware UTC; None where it is absent or no date.

    A date without a zone is UTC, as HTTP has it.
    """
    try:
        moment = email.utils.parsedate_to_datetime(value or "")
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None  # all of which the standard library's parser raises for odd texts
