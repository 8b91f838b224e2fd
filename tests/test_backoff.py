from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.api.rate_limit import (
    MAX_RETRY_AFTER_S,
    MAX_WAIT_S,
    full_jitter,
    parse_retry_after,
)
from onetribe_bc.dates import parse_http_date

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALMOST_ONE = 1 - 2**-53
DATE_LIKE = st.text("0123456789 ,:+-.JanFebMonTueGMTUTC()\t\n\x00", max_size=60)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True), st.floats(0.001, 10))
def test_a_wait_is_never_negative_and_never_above_the_cap(
    attempt: int, chance: float, base_s: float
) -> None:
    assert 0 <= full_jitter(attempt, chance, base_s=base_s) <= MAX_WAIT_S


@given(st.integers(1, 10**6))
def test_the_ceiling_grows_with_each_try(attempt: int) -> None:
    assert full_jitter(attempt, ALMOST_ONE) <= full_jitter(attempt + 1, ALMOST_ONE)


def test_the_ceiling_doubles_from_the_base_up_to_the_cap() -> None:
    waits = [full_jitter(attempt, 0.5, base_s=2.0) for attempt in range(1, 8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_the_jitter_is_full_down_to_no_wait_at_all() -> None:
    assert full_jitter(5, 0.0) == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("86400", MAX_RETRY_AFTER_S),
        ("1" * 400, None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_seconds(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("Sun, 31 Feb 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_as_a_date_in_any_form_of_http(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(st.one_of(st.text(), DATE_LIKE))
@example("Sun, 01 Mar 99999999999999999999 12:00:00 GMT")
@example("Sun, 01 Mar 2026 12:00:00 +99999999999999999")
@example("Mon, 01 Jan 0001 00:00:00 +0100")
@example("Fri, 31 Dec 9999 23:59:59 -0100")
def test_no_text_in_retry_after_breaks_a_run(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_S
    at = parse_http_date(text)
    assert at is None or at.utcoffset() == timedelta(0)
