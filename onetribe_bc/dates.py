"""Times as people type them and as BigCommerce writes them, and windows of time.

All times here are aware datetimes in UTC with whole seconds, BigCommerce's own precision. Times
are never compared as text, because BigCommerce uses two formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import NoReturn
from zoneinfo import ZoneInfo

from onetribe_bc.errors import InputError
from onetribe_bc.text import excerpt

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier times are refused."""

FURTHEST_AHEAD = timedelta(days=366)
"""Times further ahead than this are refused as typing errors."""

FORMS = (
    "2026-11-23, 2026-11-23T19:24:54+01:00, 2026-11-23 19:24 (in the configured time zone), "
    "36h, 7d, 2w, today or yesterday"
)
"""The accepted forms, by example."""

_DURATION = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DAYS_BACK = {"TODAY": 0, "YESTERDAY": 1}
_SPACE_BEFORE_OFFSET = re.compile(r" (?=[+-][0-9:]+$|Z$)")


def parse_duration(text: str) -> timedelta | None:
    """Return the duration in `text`: `90m`, `36h`, `7d` (of 24 hours) or `2w`; else None."""
    found = _DURATION.fullmatch(text.strip().lower())
    return int(found[1]) * _UNITS[found[2]] if found else None


def parse_time(text: str, *, now: datetime, timezone: ZoneInfo, end: bool = False) -> datetime:
    """Return the time that a person typed.

    Accepts ISO 8601, a date alone, `today`, `yesterday`, and a duration back from `now`. A time
    without an offset is in `timezone`. With `end`, a date alone, `today` and `yesterday` mean the
    last second of that day instead of its first, and of a time that occurs twice when summer time
    ends, the later one.

    Raises InputError for anything else, for times before 1970, and for times more than 366 days
    after `now`.
    """
    words = " ".join(text.split()).upper()
    if words in _DAYS_BACK:
        words = (now.astimezone(timezone).date() - timedelta(_DAYS_BACK[words])).isoformat()
    try:
        duration = parse_duration(words)
        found = _parse_iso(words, timezone, end=end) if duration is None else now - duration
        found = _whole_utc(found)
    except (ValueError, OverflowError):
        _refuse(text, "is not a valid date or time")
    if found < EARLIEST:
        _refuse(text, "is before 1970")
    if found - FURTHEST_AHEAD > now:
        _refuse(text, "is more than a year ahead")
    return found


def parse_http_date(value: str | None) -> datetime | None:
    """Return the time in an HTTP header such as `Date`; None if it is missing or invalid.

    A date without a zone is in UTC (RFC 9110, 5.6.7).
    """
    try:
        found = parsedate_to_datetime(value or "")
        return _whole_utc(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None  # the standard library raises all of them for malformed text


def parse_api_date(value: object) -> datetime | None:
    """Return the time in a date field of an order; None if it is missing, invalid or has no offset.

    BigCommerce's v2 API writes RFC 2822 (`Tue, 05 Mar 2019 21:40:11 +0000`), its v3 API ISO 8601.
    """
    if not isinstance(value, str):
        return None
    try:
        iso = value[:4].isdecimal()
        return _whole_utc(datetime.fromisoformat(value) if iso else parsedate_to_datetime(value))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def from_timestamp(seconds: object) -> datetime | None:
    """Return the time of a Unix timestamp from a JSON document; None if it is not one."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (OverflowError, OSError, ValueError):
        return None


def format_api_date(at: datetime) -> str:
    """Return a time as BigCommerce's date filters take it: `2026-11-23T19:24:54+00:00`."""
    return _whole_utc(at).isoformat()


def format_time(at: datetime, timezone: ZoneInfo) -> str:
    """Return a time for people, to the second and with its offset: `2026-11-23 20:24:54 +01:00`."""
    iso = at.astimezone(timezone).isoformat(sep=" ", timespec="seconds")
    return f"{iso[:19]} {iso[19:]}"


@dataclass(frozen=True)
class Window:
    """A range of times, both ends included; None leaves an end open.

    Raises InputError if the window ends before it starts, ValueError if an end is naive.
    """

    since: datetime | None
    until: datetime | None

    def __post_init__(self) -> None:
        for name, at in (("since", self.since), ("until", self.until)):
            if at is not None:
                object.__setattr__(self, name, _whole_utc(at))
        if self.since and self.until and self.until < self.since:
            raise InputError(
                f"The window ends ({format_time(self.until, ZoneInfo('UTC'))}) "
                f"before it starts ({format_time(self.since, ZoneInfo('UTC'))}).",
                hint="Pass an earlier start or a later end.",
            )

    def contains(self, at: datetime) -> bool:
        """Return whether the aware time `at` is in the window."""
        second = _whole_utc(at)
        return (self.since is None or self.since <= second) and (
            self.until is None or second <= self.until
        )

    def describe(self, timezone: ZoneInfo) -> str:
        """Return the window in words, each end with its offset."""
        since = format_time(self.since, timezone) if self.since else "from the beginning"
        if self.until is None:
            return f"{since} onwards"
        return f"{since} to {format_time(self.until, timezone)}"


def _parse_iso(text: str, timezone: ZoneInfo, *, end: bool) -> datetime:
    iso = _SPACE_BEFORE_OFFSET.sub("", text)
    try:
        day = date.fromisoformat(iso)
        at = datetime.combine(day, time(23, 59, 59) if end else time())
    except ValueError:
        at = datetime.fromisoformat(iso)
    return at if at.tzinfo else at.replace(tzinfo=timezone, fold=int(end))


def _whole_utc(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise ValueError("a time without an offset")
    return at.astimezone(UTC).replace(microsecond=0)


def _refuse(text: str, problem: str) -> NoReturn:
    shown = excerpt(text, 40)
    raise InputError(f'"{shown}" {problem}.', hint=f"Accepted: {FORMS}.") from None
