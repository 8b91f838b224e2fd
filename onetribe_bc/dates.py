"""Moments in time: as a person types them, as BigCommerce writes them, and as a window.

Everything here is an aware datetime in UTC with whole seconds, which is as fine as BigCommerce
dates its orders. Dates are never compared as text: the two forms BigCommerce uses do not sort.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NoReturn
from zoneinfo import ZoneInfo

from onetribe_bc.errors import InputError, excerpt

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Nothing before this is taken as a moment to look for orders from."""

FURTHEST_AHEAD = timedelta(days=366)
"""Nothing later than this after now is taken: it is a slip of the pen, not a window."""

FORMS = (
    "2026-11-23, 2026-11-23T19:24:54+01:00, 2026-11-23 19:24 (in the configured time zone), "
    "36h, 7d, 2w, today or yesterday"
)
"""The accepted forms, by example."""

_SECOND = timedelta(seconds=1)
_SHOWN_CHARACTERS = 40
_UNITS = {
    "H": timedelta(hours=1),
    "D": timedelta(days=1),
    "W": timedelta(weeks=1),
}
_DAYS_BACK = {"TODAY": 0, "YESTERDAY": 1}
_MONTHS = {
    "JAN": 1,
    "FEB": 2,
    "MAR": 3,
    "APR": 4,
    "MAY": 5,
    "JUN": 6,
    "JUL": 7,
    "AUG": 8,
    "SEP": 9,
    "OCT": 10,
    "NOV": 11,
    "DEC": 12,
}
_RELATIVE = re.compile(r"([0-9]{1,9})([HDW])")
_ISO = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,][0-9]{1,9})?)?"
    r" ?(?P<offset>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_RFC_2822 = re.compile(
    r"(?:[A-Z]{3}, ?)?(?P<day>[0-9]{1,2}) (?P<month>[A-Z]{3}) (?P<year>[0-9]{4}) "
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) "
    r"(?P<offset>[+-][0-9]{4}|GMT|UTC?|Z)"
)
_DAY_OR_MONTH_FIRST = re.compile(r"[0-9]{1,2}([/.-])[0-9]{1,2}\1[0-9]{2,4}.*")


def parse_moment(text: str, *, now: datetime, timezone: ZoneInfo, end: bool = False) -> datetime:
    """The moment a person means by `text`: aware, UTC, whole seconds.

    Accepted, in upper or lower case: ISO 8601 with or without an offset, a date alone, `today`,
    `yesterday`, and a span back from `now` such as `36h`, `7d` (of 24 hours) or `2w`. What has
    no offset is in `timezone`. Seconds that are left out are 0, fractions of one are cut off.

    `end` says that the moment closes a window: a date alone, `today` and `yesterday` then mean
    the last second of that day rather than its first. Of a time that the clocks show twice
    (summer time ends) `end` takes the later, otherwise the earlier; a time they skip (summer
    time begins) is the moment of the change. So no window is narrower than it reads.

    Raises InputError for anything else, for what lies before 1970, and for what lies more than
    366 days after `now`.
    """
    words = " ".join(text.split()).upper()
    try:
        if words in _DAYS_BACK:
            today = now.astimezone(timezone).date()
            day = today - timedelta(days=_DAYS_BACK[words])
            moment = _edge_of_day(day, timezone, end=end)
        elif relative := _RELATIVE.fullmatch(words):
            moment = now - int(relative[1]) * _UNITS[relative[2]]
        elif iso := _ISO.fullmatch(words):
            moment = _from_iso(iso, timezone, end=end)
        elif _DAY_OR_MONTH_FIRST.fullmatch(words):
            _refuse(text, "may have the day or the month first, so it is not taken")
        else:
            _refuse(text, "is not a moment that bc2ot understands")
    except ValueError:
        _refuse(text, "is no date or time of day that exists")
    except OverflowError:
        _refuse(text, "is out of range")
    moment = _whole_utc(moment)
    if moment < EARLIEST:
        _refuse(text, "lies before 1970")
    if moment - FURTHEST_AHEAD > now:
        _refuse(text, "lies more than a year ahead")
    return moment


def parse_api_date(value: object) -> datetime:
    """The moment in a date field of an order: aware, UTC, whole seconds.

    BigCommerce's v2 API writes RFC 2822 (`Tue, 05 Mar 2019 21:40:11 +0000`), its v3 API ISO 8601.
    Raises ValueError for anything else: not text, empty, without an offset, no real date.
    """
    text = value.strip().upper() if isinstance(value, str) else ""
    found = _RFC_2822.fullmatch(text) or _ISO.fullmatch(text)
    if found is None or found["offset"] is None:
        raise ValueError("not a date as BigCommerce writes them")
    month = _MONTHS.get(found["month"]) or int(found["month"])
    try:
        day = date(int(found["year"]), month, int(found["day"]))
        return _with_offset(datetime.combine(day, _time_of_day(found)), found["offset"])
    except OverflowError as error:
        raise ValueError("a date out of range") from error


def format_api_date(moment: datetime) -> str:
    """`moment` as BigCommerce's date filters accept it: `2026-11-23T19:24:54+00:00`.

    Raises ValueError if it has no offset: the API would read it in a zone of its own.
    """
    return _whole_utc(moment).isoformat()


@dataclass(frozen=True)
class Window:
    """A span of time, both ends included, None where it is open.

    The ends are aware and kept in UTC at whole seconds. Raises InputError if the window ends
    before it begins, ValueError if an end is naive.
    """

    since: datetime | None
    until: datetime | None

    def __post_init__(self) -> None:
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None:
                object.__setattr__(self, name, _whole_utc(moment))
        if self.since and self.until and self.until < self.since:
            raise InputError(
                f"The window ends ({written(self.until, ZoneInfo('UTC'))}) "
                f"before it begins ({written(self.since, ZoneInfo('UTC'))}).",
                hint="Give an earlier start or a later end.",
            )

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` (aware) lies in the window, its first and last second included."""
        second = _whole_utc(moment)
        return (self.since is None or self.since <= second) and (
            self.until is None or second <= self.until
        )

    def describe(self, timezone: ZoneInfo) -> str:
        """The window in words, each end with its offset, to be said before anything is done."""
        since = written(self.since, timezone) if self.since else "from the beginning"
        return f"{since} to {written(self.until, timezone)}" if self.until else f"{since} onwards"


def _from_iso(found: re.Match[str], timezone: ZoneInfo, *, end: bool) -> datetime:
    day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    if found["hour"] is None:
        return _edge_of_day(day, timezone, end=end)
    wall = datetime.combine(day, _time_of_day(found))
    if found["offset"] is None:
        return _from_wall(wall, timezone, end=end)
    return _with_offset(wall, found["offset"])


def _edge_of_day(day: date, timezone: ZoneInfo, *, end: bool) -> datetime:
    edge = time(23, 59, 59) if end else time()
    return _from_wall(datetime.combine(day, edge), timezone, end=end)


def _from_wall(wall: datetime, timezone: ZoneInfo, *, end: bool) -> datetime:
    """The moment when the clocks of `timezone` show `wall`; parse_moment says which if any."""
    first = wall.replace(tzinfo=timezone, fold=0).astimezone(UTC)
    second = wall.replace(tzinfo=timezone, fold=1).astimezone(UTC)
    if second < first:
        return _change_between(second, first, timezone)
    return second if end else first


def _change_between(before: datetime, after: datetime, timezone: ZoneInfo) -> datetime:
    """The first second with the offset of `after`, where `before` has another."""
    offset = after.astimezone(timezone).utcoffset()
    while after - before > _SECOND:
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(timezone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _time_of_day(found: re.Match[str]) -> time:
    return time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))


def _with_offset(wall: datetime, offset: str) -> datetime:
    """`wall` in UTC, where `offset` is `+HH`, `+HHMM`, `+HH:MM` or a name of UTC."""
    if offset[0] not in "+-":
        return wall.replace(tzinfo=UTC)
    ahead_at = time(int(offset[1:3]), int(offset[3:].lstrip(":") or 0))
    ahead = timedelta(hours=ahead_at.hour, minutes=ahead_at.minute)
    return (wall + ahead if offset[0] == "-" else wall - ahead).replace(tzinfo=UTC)


def _whole_utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError("a moment without an offset")
    return moment.astimezone(UTC).replace(microsecond=0)


def written(moment: datetime, timezone: ZoneInfo) -> str:
    """A moment as people are told it: to the second, with its offset."""
    iso = moment.astimezone(timezone).isoformat(sep=" ", timespec="seconds")
    return f"{iso[:19]} {iso[19:]}"


def _refuse(text: str, problem: str) -> NoReturn:
    shown = excerpt(text)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}…"
    raise InputError(f'"{shown}" {problem}.', hint=f"Accepted are {FORMS}.") from None
