"""Times as people type them and as BigCommerce writes them, and windows."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onetribe_bc.dates import (
    EARLIEST,
    FURTHEST_AHEAD,
    Window,
    format_api_date,
    parse_api_date,
    parse_duration,
    parse_http_date,
    parse_time,
)
from onetribe_bc.errors import ExitCode, InputError

NOW = datetime(2026, 11, 23, 19, 24, 54, 678901, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Pacific/Auckland",
            "Pacific/Kiritimati",
            "America/Havana",  # its clocks go back to midnight
            "Africa/Cairo",  # and its clocks skip midnight
            "Australia/Lord_Howe",  # half an hour
        )
    ]
)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


def parsed(text: str, zone: ZoneInfo = BERLIN, *, end: bool = False) -> str:
    moment = parse_time(text, now=NOW, timezone=zone, end=end)
    assert moment.tzinfo is UTC
    return moment.isoformat().removesuffix("+00:00")


# As people type them


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23T19:24:54+01:00", "2026-11-23T18:24:54"),
        ("2026-11-23 19:24:54 +0100", "2026-11-23T18:24:54"),
        ("2026-11-23T19:24:54-05", "2026-11-24T00:24:54"),
        ("2026-11-23t18:24:54z", "2026-11-23T18:24:54"),
        ("2026-11-23T18:24:54.999Z", "2026-11-23T18:24:54"),
        ("2026-11-23T19:24:54", "2026-11-23T18:24:54"),
        ("  2026-11-23   19:24 ", "2026-11-23T18:24:00"),
        ("2026-07-01 12:00", "2026-07-01T10:00:00"),
        ("2026-02-28", "2026-02-27T23:00:00"),
        ("today", "2026-11-22T23:00:00"),
        ("YESTERDAY", "2026-11-21T23:00:00"),
        ("36h", "2026-11-22T07:24:54"),
        ("7d", "2026-11-16T19:24:54"),
        ("2W", "2026-11-09T19:24:54"),
        ("0d", "2026-11-23T19:24:54"),
    ],
)
def test_a_time_is_read_in_each_of_its_forms(text: str, utc: str) -> None:
    assert parsed(text) == utc


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-02-28", "2026-02-28T22:59:59"),
        ("today", "2026-11-23T22:59:59"),
        ("yesterday", "2026-11-22T22:59:59"),
        ("2026-11-23 19:24", "2026-11-23T18:24:00"),
        ("7d", "2026-11-16T19:24:54"),
    ],
)
def test_a_day_at_the_end_of_a_window_means_its_last_second(text: str, utc: str) -> None:
    assert parsed(text, end=True) == utc


def test_a_time_that_occurs_twice_is_the_first_or_at_the_end_the_second() -> None:
    assert parsed("2026-10-25 02:30") == "2026-10-25T00:30:00"
    assert parsed("2026-10-25 02:30", end=True) == "2026-10-25T01:30:00"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a valid date or time"),
        ("7 d", "not a valid date or time"),
        ("-7d", "not a valid date or time"),
        ("\u0667d", "not a valid date or time"),
        ("tomorrow", "not a valid date or time"),
        ("2026-11-23T19:24:54 Europe/Berlin", "not a valid date or time"),
        ("03/04/2026", "not a valid date or time"),
        ("2026-02-30", "not a valid date or time"),
        ("2026-11-23T19:24+25:00", "not a valid date or time"),
        ("9999999999999d", "not a valid date or time"),
        ("9999-12-31T23:59:59-01:00", "not a valid date or time"),
        ("1969-12-31", "before 1970"),
        ("3000w", "before 1970"),
        ("2999-01-01", "more than a year ahead"),
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parsed(text)
    assert str(caught.value).startswith(f'"{text}" ')
    assert "yesterday" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_long_or_unprintable_text_is_shortened_and_cleaned() -> None:
    with pytest.raises(InputError) as caught:
        parsed("\x1b[31m" + "x" * 1000 + "\n")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 100


def test_1970_and_a_year_ahead_are_the_limits() -> None:
    assert parse_time("1970-01-01", now=NOW, timezone=ZoneInfo("UTC")) == EARLIEST
    limit = NOW.replace(microsecond=0) + FURTHEST_AHEAD
    assert parse_time(limit.isoformat(), now=NOW, timezone=BERLIN) == limit
    with pytest.raises(InputError):
        parse_time((limit + timedelta(seconds=1)).isoformat(), now=NOW, timezone=BERLIN)


@given(
    text=st.text() | st.from_regex(r"[0-9]{1,12}[hdw]|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"),
    zone=ZONES,
    end=st.booleans(),
)
def test_any_text_is_a_whole_second_or_an_input_error(text: str, zone: ZoneInfo, end: bool) -> None:
    with suppress(InputError):
        moment = parse_time(text, now=NOW, timezone=zone, end=end)
        assert moment.tzinfo is UTC
        assert moment.microsecond == 0


@given(moment=MOMENTS, offset=OFFSETS, zone=ZONES, sep=st.sampled_from("Tt "), end=st.booleans())
def test_a_time_with_an_offset_does_not_depend_on_the_zone(
    moment: datetime, offset: timezone, zone: ZoneInfo, sep: str, end: bool
) -> None:
    text = moment.astimezone(offset).isoformat(sep=sep)
    assert parse_time(text, now=NOW, timezone=zone, end=end) == moment.replace(microsecond=0)


@given(moment=MOMENTS, zone=ZONES)
def test_a_day_holds_exactly_the_seconds_of_its_date(moment: datetime, zone: ZoneInfo) -> None:
    day = moment.astimezone(zone).date()
    first = parse_time(day.isoformat(), now=NOW, timezone=zone)
    last = parse_time(day.isoformat(), now=NOW, timezone=zone, end=True)

    def date_of(second: datetime) -> date:
        return second.astimezone(zone).date()

    assert first <= moment.replace(microsecond=0) <= last
    assert date_of(first) == day == date_of(last)
    assert date_of(first - timedelta(seconds=1)) < day < date_of(last + timedelta(seconds=1))


@given(
    number=st.integers(0, 500),
    unit=st.sampled_from([("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]),
    zone=ZONES,
    end=st.booleans(),
)
def test_a_duration_back_has_that_many_seconds_in_any_zone(
    number: int, unit: tuple[str, int], zone: ZoneInfo, end: bool
) -> None:
    text, duration = f"{number}{unit[0]}", timedelta(seconds=number * unit[1])
    moment = parse_time(text, now=NOW, timezone=zone, end=end)
    assert NOW.replace(microsecond=0) - moment == duration
    assert parse_duration(text) == duration


# As BigCommerce writes them


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("Tue, 05 Mar 2019 21:40:11 +0000", "2019-03-05T21:40:11+00:00"),
        ("Tue, 5 Mar 2019 21:40:11 -0600", "2019-03-06T03:40:11+00:00"),
        ("05 Mar 2019 21:40:11 GMT", "2019-03-05T21:40:11+00:00"),
        ("2019-03-05T21:40:11Z", "2019-03-05T21:40:11+00:00"),
        ("2019-03-05T21:40:11.123+05:30", "2019-03-05T16:10:11+00:00"),
    ],
)
def test_a_date_of_the_api_is_read(text: str, utc: str) -> None:
    assert parse_api_date(text) == datetime.fromisoformat(utc)


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        b"Tue, 05 Mar 2019 21:40:11 +0000",
        NOW,
        "",
        "0000-00-00T00:00:00Z",
        "2019-03-05",
        "2019-03-05T21:40:11",
        "Tue, 05 Mar 2019 21:40:11",
        "Tue, 31 Feb 2019 21:40:11 +0000",
        "Tue, 05 Mar 2019 21:40:11 +9900",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_any_other_date_of_the_api_is_none(value: object) -> None:
    assert parse_api_date(value) is None


@given(st.text() | st.none() | st.integers() | st.floats() | st.binary())
def test_any_value_of_the_api_is_a_utc_date_or_none(value: object) -> None:
    found = parse_api_date(value)
    assert found is None or found.tzinfo is UTC


@given(moment=MOMENTS, offset=OFFSETS)
def test_dates_are_read_back_as_they_were_written(moment: datetime, offset: timezone) -> None:
    whole = moment.replace(microsecond=0)
    local = moment.astimezone(offset)
    assert parse_api_date(format_api_date(local)) == whole
    assert parse_api_date(format_datetime(local)) == whole
    assert format_api_date(local).endswith("+00:00")
    assert parse_http_date(format_datetime(moment, usegmt=True)) == whole


@pytest.mark.parametrize("value", [None, "", "0", "Wed, 21 Oct"])
def test_a_malformed_http_date_is_none(value: str | None) -> None:
    assert parse_http_date(value) is None


def test_a_date_for_the_api_has_whole_seconds_and_an_offset() -> None:
    assert format_api_date(NOW) == "2026-11-23T19:24:54+00:00"
    with pytest.raises(ValueError, match="without an offset"):
        format_api_date(NOW.replace(tzinfo=None))


# Windows


@given(since=MOMENTS, until=MOMENTS)
def test_a_window_includes_exactly_its_ends(since: datetime, until: datetime) -> None:
    assume(since <= until)
    window = Window(since, until)
    second, last = timedelta(seconds=1), timedelta(microseconds=999999)
    first, end = since.replace(microsecond=0), until.replace(microsecond=0)
    assert window.contains(first)
    assert window.contains(end)
    assert window.contains(end + last)
    assert not window.contains(first - second)
    assert not window.contains(end + second)


def test_an_open_end_has_no_limit() -> None:
    long_ago, far_ahead = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for moment in (long_ago, NOW, far_ahead):
        assert Window(None, None).contains(moment)
    assert Window(None, NOW).contains(long_ago)
    assert not Window(None, NOW).contains(far_ahead)
    assert Window(NOW, None).contains(far_ahead)
    assert not Window(NOW, None).contains(long_ago)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InputError, match="before it starts") as caught:
        Window(NOW, NOW - timedelta(seconds=1))
    assert "2026-11-23 19:24:53 +00:00" in str(caught.value)
    assert Window(NOW, NOW).contains(NOW)


def test_equal_times_make_equal_windows_whatever_their_offsets() -> None:
    assert Window(NOW, None) == Window(NOW.astimezone(BERLIN), None)


def test_a_window_refuses_a_time_without_an_offset() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="without an offset"):
        Window(naive, None)
    with pytest.raises(ValueError, match="without an offset"):
        Window(None, None).contains(naive)


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (None, None, "from the beginning onwards"),
        (NOW, None, "2026-11-23 20:24:54 +01:00 onwards"),
        (None, NOW, "from the beginning to 2026-11-23 20:24:54 +01:00"),
        (
            datetime(2026, 7, 1, tzinfo=UTC),
            NOW,
            "2026-07-01 02:00:00 +02:00 to 2026-11-23 20:24:54 +01:00",
        ),
    ],
)
def test_a_window_is_described_with_the_offset_of_each_end(
    since: datetime | None, until: datetime | None, words: str
) -> None:
    assert Window(since, until).describe(BERLIN) == words
