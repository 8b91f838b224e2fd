"""Dates as BigCommerce writes and reads them. Times inside the sandbox are whole epoch seconds."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

_RFC_2822 = re.compile(
    r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}|GMT|UTC?)"
)
_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)", re.IGNORECASE
)


def format_date(at: float, *, zone: str = "+0000") -> str:
    """RFC 2822, always in UTC: `Tue, 05 Mar 2019 21:40:11 +0000`."""
    return formatdate(at, usegmt=True).removesuffix("GMT") + zone


def parse_date(text: str) -> float | None:
    """Epoch seconds of an RFC 2822 or ISO 8601 date with an offset; None for any other form.

    Other forms are a date without an offset, one that was encoded twice (`2019-03-05T21%3A40…`),
    and one that was not encoded at all (its `+` arrives as a space).
    """
    try:
        if _ISO_8601.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
        if _RFC_2822.fullmatch(text):
            parsed = parsedate_to_datetime(text)  # naive for -0000, which means UTC, too
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except ValueError:  # the form is right, the day does not exist
        return None
    return None


class ServerClock:
    """The simulated server's clock: starts at `now` (default: the real time) and runs on."""

    def __init__(self, now: datetime | None = None) -> None:
        real = datetime.now(UTC)
        self._shift_s = (now - real).total_seconds() if now is not None else 0.0
        self.started_at = int((now or real).timestamp())
        """Epoch seconds."""
        self.offset_s = 0.0
        """How far this clock is wrong, in seconds; may be changed at any time."""

    def now(self) -> int:
        """Epoch seconds."""
        return int(time.time() + self._shift_s + self.offset_s)

    def http_date(self) -> str:
        """For the Date header: `Tue, 05 Mar 2019 21:40:11 GMT`."""
        return format_date(self.now(), zone="GMT")
