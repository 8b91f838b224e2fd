from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from onetribe_bc.api.rate_limit import (
    MAX_WAIT_S,
    RESET_MARGIN_S,
    Permit,
    Quota,
    RateLimiter,
    full_jitter,
    parse_retry_after,
)
from onetribe_bc.dates import parse_http_date
from onetribe_bc.errors import InterruptedRunError, UnreachableError
from tests.clocks import FakeClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DATE_LIKE = st.text("0123456789 ,:+-.JanFebMonTueGMTUTC()\t\n\x00", max_size=60)


def headers(quota: int, left: int, reset_s: float, window_s: float = 30.0) -> dict[str, str]:
    return {
        "X-Rate-Limit-Requests-Quota": str(quota),
        "X-Rate-Limit-Requests-Left": str(left),
        "X-Rate-Limit-Time-Reset-Ms": str(round(reset_s * 1000)),
        "X-Rate-Limit-Time-Window-Ms": str(round(window_s * 1000)),
    }


def after_response(clock: FakeClock, left: int, reset_s: float, quota: int = 100) -> RateLimiter:
    """Return a rate limiter that has seen one response."""
    limiter = RateLimiter(clock)
    with limiter.request() as permit:
        limiter.observe(headers(quota, left, reset_s), permit)
    return limiter


@pytest.mark.parametrize(
    ("changes", "quota"),
    [
        ({}, Quota(450, 449, 30.0, 12.5)),
        ({"Requests-Left": "-3", "Time-Reset-Ms": "99000"}, Quota(450, 0, 30.0, 30.0)),
        ({"Requests-Quota": "many"}, None),
        ({"Requests-Quota": "0"}, None),
        ({"Requests-Left": ""}, None),
        ({"Time-Reset-Ms": "nan"}, None),
        ({"Time-Reset-Ms": "-1"}, None),
        ({"Time-Window-Ms": "inf"}, None),
        ({"Time-Window-Ms": "0"}, None),
    ],
)
def test_quota_headers_have_times_in_ms_and_are_ignored_if_invalid(
    changes: dict[str, str], quota: Quota | None
) -> None:
    changed = {f"X-Rate-Limit-{name}": value for name, value in changes.items()}
    assert Quota.from_headers({**headers(450, 449, 12.5), **changed}) == quota


def test_the_smallest_quota_window_and_reset_are_valid() -> None:
    assert Quota.from_headers(headers(1, 0, 0.0, 0.001)) == Quota(1, 0, 0.001, 0.0)


def test_without_headers_nothing_is_held_back(clock: FakeClock) -> None:
    limiter = RateLimiter(clock)
    for _ in range(1_000):
        with limiter.request() as permit:
            assert limiter.observe({}, permit) is None
    assert clock.slept == []


@pytest.mark.parametrize(("wait_s", "levels"), [(0.5, []), (9.5, ["DEBUG"]), (12.5, ["WARNING"])])
def test_a_used_up_quota_is_waited_out_to_its_reset_and_a_long_wait_reported(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, wait_s: float, levels: list[str]
) -> None:
    limiter = after_response(clock, left=0, reset_s=wait_s)

    with caplog.at_level("DEBUG", "onetribe_bc"), limiter.request():
        assert clock.monotonic() == pytest.approx(wait_s + RESET_MARGIN_S)
    assert [record.levelname for record in caplog.records] == levels
    for record in caplog.records:
        assert f"Waiting {wait_s + RESET_MARGIN_S:.1f} s, as BigCommerce asks" in record.message


def test_a_wait_beyond_the_patience_is_an_error_instead(clock: FakeClock) -> None:
    limiter = RateLimiter(clock, patience_s=20)
    with limiter.request() as permit:
        limiter.observe(headers(100, 0, 25.0), permit)

    with pytest.raises(UnreachableError, match="no request for another 25 s"), limiter.request():
        pass
    assert clock.slept == []


def test_a_small_rest_is_spread_over_the_window(clock: FakeClock) -> None:
    limiter = after_response(clock, left=4, reset_s=10.0)
    began = []
    for left in (3, 2, 1, 0):
        with limiter.request() as permit:
            began.append(clock.monotonic())
            limiter.observe(headers(100, left, 10.0 - clock.monotonic()), permit)

    steps = [b - a for a, b in itertools.pairwise(began)]
    assert began[-1] < 10.0
    assert min(steps) > 1.5


def test_a_pause_stops_all_requests_and_a_shorter_one_does_not_end_it(clock: FakeClock) -> None:
    limiter = RateLimiter(clock)
    limiter.pause(5.0)
    limiter.pause(1.0)

    with limiter.request():
        assert clock.monotonic() == pytest.approx(5.0)


def test_only_one_request_goes_out_until_the_first_response(clock: FakeClock) -> None:
    limiter = RateLimiter(clock)
    in_flight = most = 0
    lock = threading.Lock()

    def go(_n: int) -> None:
        nonlocal in_flight, most
        with limiter.request() as permit:
            with lock:
                in_flight += 1
                most = max(most, in_flight) if not responded.is_set() else most
            limiter.observe({}, permit)
            responded.set()
            with lock:
                in_flight -= 1

    responded = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(go, range(40)))

    assert most == 1


def test_a_request_without_a_response_counts_as_used(clock: FakeClock) -> None:
    limiter = after_response(clock, left=2, reset_s=20.0, quota=4)
    for _ in range(2):
        with pytest.raises(OSError, match="lost"), limiter.request():
            raise OSError("lost")

    with limiter.request():
        assert clock.monotonic() > 20.0


def test_a_response_overtaken_by_a_later_one_does_not_raise_the_count(clock: FakeClock) -> None:
    limiter = after_response(clock, left=50, reset_s=20.0)
    with limiter.request() as first, limiter.request() as second:
        limiter.observe(headers(100, 0, 20.0), second)
        limiter.observe(headers(100, 49, 20.0), first)

    with limiter.request():
        assert clock.monotonic() == pytest.approx(20.0 + RESET_MARGIN_S)


def test_a_slow_response_does_not_put_the_reset_off(clock: FakeClock) -> None:
    limiter = after_response(clock, left=50, reset_s=10.0)
    with limiter.request() as permit:
        clock.advance(2.0)
        limiter.observe(headers(100, 0, 10.0), permit)

    with limiter.request():
        assert clock.monotonic() == pytest.approx(10.0 + RESET_MARGIN_S)


def test_a_late_response_of_the_previous_window_is_ignored(clock: FakeClock) -> None:
    limiter = after_response(clock, left=50, reset_s=1.0)
    with limiter.request() as late:
        clock.advance(2.0)
        with limiter.request() as permit:
            limiter.observe(headers(100, 99, 29.0), permit)
        limiter.observe(headers(100, 0, 0.5), late)
    waited_before = len(clock.slept)

    with limiter.request():
        assert len(clock.slept) == waited_before


def test_after_an_idle_time_the_first_response_sets_the_window(clock: FakeClock) -> None:
    """The server's windows go on while the client is idle, and other apps use them up."""
    limiter = after_response(clock, left=99, reset_s=30.0)
    clock.advance(55.0)
    with limiter.request() as permit:
        limiter.observe(headers(100, 0, 5.0), permit)

    with limiter.request():
        assert clock.monotonic() == pytest.approx(60.0 + RESET_MARGIN_S)


def test_a_long_wait_can_be_interrupted(clock: FakeClock) -> None:
    limiter = after_response(clock, left=0, reset_s=30.0)
    clock.stop()

    with pytest.raises(InterruptedRunError), limiter.request():
        pytest.fail("the request went out")


@dataclass(order=True, slots=True)
class _Event:
    at: float
    number: int
    happen: Callable[[], None]


class _SimulatedTime(FakeClock):
    """Sleeping runs the events that are due in the meantime."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[_Event] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        at = self.monotonic() + seconds
        heapq.heappush(self._events, _Event(at, next(self._numbers), happen))

    def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while self._events and self._events[0].at <= until:
            event = heapq.heappop(self._events)
            self.advance(max(0.0, event.at - self.monotonic()))
            event.happen()
        self.advance(max(0.0, until - self.monotonic()))

    def sleep_to_next(self) -> None:
        self.sleep(max(0.0, self._events[0].at - self.monotonic()))


LATENCIES = st.sampled_from([0.0, 0.001, 0.04, 0.2, 1.5])


class LimitedClient(RuleBasedStateMachine):
    """One client with many requests in flight, and a server that counts correctly.

    The server's windows are fixed to its clock, or begin with the first request after the last.
    """

    @initialize(
        requests=st.integers(1, 40),
        reserve=st.sampled_from([0.0, 0.1, 0.5]),
        fixed=st.booleans(),
        offset_s=st.floats(0, 29),
    )
    def begin(self, requests: int, reserve: float, fixed: bool, offset_s: float) -> None:
        self.clock = _SimulatedTime()
        self.limiter = RateLimiter(self.clock, reserve=reserve)
        self.quota = requests
        self.allowed = max(1, requests - math.ceil(requests * reserve))
        self.fixed, self.offset_s = fixed, offset_s
        self.ends_at = -1.0
        self.used = 0
        self.worst = 0
        self.in_flight = self.started = self.finished = 0
        self._send(0.0, 0.0, lost=False)  # the quota is unknown before the first response

    def _count(self) -> dict[str, str]:
        """A request arrives at the server."""
        now = self.clock.monotonic()
        if now >= self.ends_at:
            self.used = 0
            rest = 30.0 - (now + self.offset_s) % 30.0 if self.fixed else 30.0
            self.ends_at = now + rest
        self.used += 1
        self.worst = max(self.worst, self.used)
        reset_s = math.ceil((self.ends_at - now) * 1000) / 1000
        return headers(self.quota, max(0, self.quota - self.used), reset_s)

    @rule(up_s=LATENCIES, down_s=LATENCIES, lost=st.booleans(), count=st.integers(1, 30))
    def send(self, up_s: float, down_s: float, lost: bool, count: int) -> None:
        for _ in range(count):
            while self.in_flight >= 8:
                self.clock.sleep_to_next()
            self._send(up_s, down_s, lost=lost)

    def _send(self, up_s: float, down_s: float, *, lost: bool) -> None:
        context: AbstractContextManager[Permit] = self.limiter.request()
        permit = context.__enter__()
        # A request lost at a window's edge may belong to either window.
        lost = lost and 5.0 < self.ends_at - self.clock.monotonic() < 25.0
        self.in_flight += 1
        self.started += 1

        def arrive() -> None:
            response = self._count()
            self.clock.after(down_s, lambda: finish(response))

        def finish(response: dict[str, str]) -> None:
            if not lost:
                self.limiter.observe(response, permit)
            context.__exit__(None, None, None)
            self.in_flight -= 1
            self.finished += 1

        self.clock.after(up_s, arrive)

    @rule(seconds=st.floats(0, 100))
    def idle(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @invariant()
    def the_quota_less_its_reserve_is_kept(self) -> None:
        if hasattr(self, "clock"):
            assert self.worst <= self.allowed

    def teardown(self) -> None:
        if hasattr(self, "clock"):
            while self.in_flight:
                self.clock.sleep_to_next()
            assert self.finished == self.started
            assert self.worst <= self.allowed


def test_the_quota_less_its_reserve_is_never_exceeded_and_requests_always_go_on() -> None:
    run_state_machine_as_test(
        LimitedClient, settings=settings(max_examples=80, stateful_step_count=20, deadline=None)
    )


# Backoff


def test_the_backoff_doubles_up_to_the_cap_and_may_be_zero() -> None:
    waits = [full_jitter(attempt, 0.5) for attempt in range(1, 9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert full_jitter(5, 0.0) == 0.0
    assert full_jitter(10**6, 0.999) <= MAX_WAIT_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("86400", 86_400.0),
        ("1" * 400, None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("1_0", None),
        ("1e3", None),
        ("1m0s", None),
        ("\u0663", None),
        ("", None),
        (None, None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 86_400.0),
        ("Sun, 31 Feb 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_in_any_form_of_http(
    text: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(st.one_of(st.text(), DATE_LIKE))
@example("Sun, 01 Mar 99999999999999999999 12:00:00 GMT")
@example("Sun, 01 Mar 2026 12:00:00 +99999999999999999")
@example("Mon, 01 Jan 0001 00:00:00 +0100")
@example("Fri, 31 Dec 9999 23:59:59 -0100")
def test_any_text_in_retry_after_is_tolerated(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0
    at = parse_http_date(text)
    assert at is None or at.utcoffset() == timedelta(0)
