from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from onetribe_bc.api.rate_limit import RESET_MARGIN_S, Quota, RateLimiter, Turn
from onetribe_bc.errors import InterruptedRunError
from tests.clocks import FakeClock


def headers(quota: int, left: int, reset_s: float, window_s: float = 30.0) -> dict[str, str]:
    return {
        "X-Rate-Limit-Requests-Quota": str(quota),
        "X-Rate-Limit-Requests-Left": str(left),
        "X-Rate-Limit-Time-Reset-Ms": str(round(reset_s * 1000)),
        "X-Rate-Limit-Time-Window-Ms": str(round(window_s * 1000)),
    }


def told(clock: FakeClock, left: int, reset_s: float, quota: int = 100) -> RateLimiter:
    """A governor that has seen one answer."""
    governor = RateLimiter(clock)
    with governor.request() as turn:
        governor.observe(headers(quota, left, reset_s), turn)
    return governor


def test_the_times_on_the_wire_are_milliseconds() -> None:
    """BigCommerce's own reset header is understood, unlike by a stock retry."""
    assert Quota.from_headers(headers(450, 449, 12.5)) == Quota(450, 449, 30.0, 12.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Rate-Limit-Requests-Quota", "many"),
        ("X-Rate-Limit-Requests-Quota", "0"),
        ("X-Rate-Limit-Requests-Left", ""),
        ("X-Rate-Limit-Time-Reset-Ms", "nan"),
        ("X-Rate-Limit-Time-Reset-Ms", "-1"),
        ("X-Rate-Limit-Time-Window-Ms", "inf"),
        ("X-Rate-Limit-Time-Window-Ms", "0"),
    ],
)
def test_headers_that_make_no_sense_are_none(name: str, value: str) -> None:
    assert Quota.from_headers({**headers(450, 449, 12.5), name: value}) is None


def test_a_reset_beyond_the_window_and_a_count_below_none_are_mended() -> None:
    assert Quota.from_headers(headers(450, -3, 99.0)) == Quota(450, 0, 30.0, 30.0)


def test_without_headers_nothing_is_held_back(clock: FakeClock) -> None:
    governor = RateLimiter(clock)
    for _ in range(1_000):
        with governor.request() as turn:
            assert governor.observe({}, turn) is None
    assert clock.slept == []


def test_a_used_up_quota_is_waited_out_to_its_reset_and_no_longer(clock: FakeClock) -> None:
    governor = told(clock, left=0, reset_s=12.5)

    with governor.request():
        assert clock.monotonic() == pytest.approx(12.5 + RESET_MARGIN_S)


def test_the_reserve_is_left_to_the_stores_other_apps(clock: FakeClock) -> None:
    governor = RateLimiter(clock, reserve=0.1)
    with governor.request() as turn:
        governor.observe(headers(100, 10, 7.0), turn)

    with governor.request():
        assert clock.monotonic() == pytest.approx(7.0 + RESET_MARGIN_S)


def test_a_quota_smaller_than_its_reserve_still_lets_one_request_go(clock: FakeClock) -> None:
    governor = RateLimiter(clock, reserve=0.9)
    for n in range(3):
        with governor.request() as turn:
            governor.observe(headers(1, 0, 30.0), turn)
        assert clock.monotonic() == pytest.approx(n * (30.0 + RESET_MARGIN_S))


def test_what_little_is_left_is_spread_over_the_rest_of_the_window(clock: FakeClock) -> None:
    governor = told(clock, left=4, reset_s=10.0)
    began = []
    for left in (3, 2, 1, 0):
        with governor.request() as turn:
            began.append(clock.monotonic())
            governor.observe(headers(100, left, 10.0 - clock.monotonic()), turn)

    steps = [b - a for a, b in itertools.pairwise(began)]
    assert began[-1] < 10.0
    assert min(steps) > 1.5


def test_a_pause_holds_everyone_and_a_shorter_one_does_not_end_it(clock: FakeClock) -> None:
    governor = RateLimiter(clock)
    governor.pause(5.0)
    governor.pause(1.0)

    with governor.request():
        assert clock.monotonic() == pytest.approx(5.0)


def test_until_the_first_answer_one_request_goes_alone(clock: FakeClock) -> None:
    governor = RateLimiter(clock)
    under_way = most = 0
    lock = threading.Lock()

    def go(_n: int) -> None:
        nonlocal under_way, most
        with governor.request() as turn:
            with lock:
                under_way += 1
                most = max(most, under_way) if not answered.is_set() else most
            governor.observe({}, turn)
            answered.set()
            with lock:
                under_way -= 1

    answered = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(go, range(40)))

    assert most == 1


def test_a_request_without_an_answer_counts_as_used_up(clock: FakeClock) -> None:
    governor = told(clock, left=2, reset_s=20.0, quota=4)
    for _ in range(2):
        with pytest.raises(OSError, match="lost"), governor.request():
            raise OSError("lost")

    with governor.request():
        assert clock.monotonic() > 20.0


def test_an_answer_overtaken_by_a_later_one_does_not_give_quota_back(clock: FakeClock) -> None:
    governor = told(clock, left=50, reset_s=20.0)
    with governor.request() as first, governor.request() as second:
        governor.observe(headers(100, 0, 20.0), second)
        governor.observe(headers(100, 49, 20.0), first)

    with governor.request():
        assert clock.monotonic() == pytest.approx(20.0 + RESET_MARGIN_S)


def test_an_answer_of_the_last_window_says_nothing_about_this_one(clock: FakeClock) -> None:
    governor = told(clock, left=50, reset_s=1.0)
    with governor.request() as late:
        clock.advance(2.0)
        with governor.request() as turn:
            governor.observe(headers(100, 99, 29.0), turn)
        governor.observe(headers(100, 0, 0.5), late)
    waited_before = len(clock.slept)

    with governor.request():
        assert len(clock.slept) == waited_before


def test_after_an_idle_time_the_first_answer_says_when_the_window_ends(clock: FakeClock) -> None:
    """The server's windows go on while we do nothing, and other apps use them up."""
    governor = told(clock, left=99, reset_s=30.0)
    clock.advance(55.0)
    with governor.request() as turn:
        governor.observe(headers(100, 0, 5.0), turn)

    with governor.request():
        assert clock.monotonic() == pytest.approx(60.0 + RESET_MARGIN_S)


def test_a_long_wait_can_be_interrupted(clock: FakeClock) -> None:
    governor = told(clock, left=0, reset_s=30.0)
    clock.stop()

    with pytest.raises(InterruptedRunError), governor.request():
        pytest.fail("the request went out")


def test_many_threads_all_get_their_turn(clock: FakeClock) -> None:
    governor = RateLimiter(clock, reserve=0.1)
    lock = threading.Lock()
    used: Counter[int] = Counter()

    def go(_n: int) -> None:
        with governor.request() as turn, lock:
            window, rest = divmod(clock.monotonic(), 30.0)
            used[int(window)] += 1
            left = 20 - used[int(window)]
            governor.observe(headers(20, left, 30.0 - rest), turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(go, range(200)))

    assert sum(used.values()) == 200
    assert max(used.values()) <= 18


@dataclass(order=True, slots=True)
class _Event:
    at: float
    number: int
    happen: Callable[[], None]


class _SimulatedTime(FakeClock):
    """Sleeping lets happen what is due in the meantime."""

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


class GovernedClient(RuleBasedStateMachine):
    """One client with many requests under way, and a server that counts honestly.

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
        self.governor = RateLimiter(self.clock, reserve=reserve)
        self.quota = requests
        self.allowed = max(1, requests - math.ceil(requests * reserve))
        self.fixed, self.offset_s = fixed, offset_s
        self.ends_at = -1.0
        self.used = 0
        self.worst = 0
        self.under_way = self.started = self.finished = 0
        self._send(0.0, 0.0, lost=False)  # before its first answer, nobody knows the quota

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
            while self.under_way >= 8:
                self.clock.sleep_to_next()
            self._send(up_s, down_s, lost=lost)

    def _send(self, up_s: float, down_s: float, *, lost: bool) -> None:
        context: AbstractContextManager[Turn] = self.governor.request()
        turn = context.__enter__()
        # A lost request at a window's edge belongs to the one or the other, nobody knows which.
        lost = lost and 5.0 < self.ends_at - self.clock.monotonic() < 25.0
        self.under_way += 1
        self.started += 1

        def arrive() -> None:
            answer = self._count()
            self.clock.after(down_s, lambda: finish(answer))

        def finish(answer: dict[str, str]) -> None:
            if not lost:
                self.governor.observe(answer, turn)
            context.__exit__(None, None, None)
            self.under_way -= 1
            self.finished += 1

        self.clock.after(up_s, arrive)

    @rule(seconds=st.floats(0, 100))
    def idle(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @invariant()
    def the_quota_is_kept_and_its_reserve_with_it(self) -> None:
        if hasattr(self, "clock"):
            assert self.worst <= self.allowed

    def teardown(self) -> None:
        if hasattr(self, "clock"):
            while self.under_way:
                self.clock.sleep_to_next()
            assert self.finished == self.started
            assert self.worst <= self.allowed


def test_one_client_never_goes_beyond_the_quota_less_its_reserve_and_always_goes_on() -> None:
    run_state_machine_as_test(
        GovernedClient, settings=settings(max_examples=80, stateful_step_count=20, deadline=None)
    )
