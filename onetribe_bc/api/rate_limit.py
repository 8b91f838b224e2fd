"""One governor for all requests of a run: no thread goes over the store's quota.

BigCommerce gives each store one quota for all of its apps and says in every answer how much of
it is left (`X-Rate-Limit-*`). The governor counts what is in flight against what was last said
to be left, keeps a reserve for the store's other apps, spreads requests when little is left,
and makes everyone wait when the server asks for it.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from onetribe_bc.clock import Clock
from onetribe_bc.dates import parse_http_date

_log = logging.getLogger(__name__)

SPREAD_BELOW = 0.25
"""Below this share of the quota, what is left is spread over the rest of the window."""

RESET_MARGIN_S = 0.05
"""Waited beyond the announced reset, since our clocks tick apart."""

TELL_S = 10.0
"""A wait this long is told to people."""

POLL_S = 0.02
"""How often to look again while another thread's answer is awaited."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one answer said: requests a window, requests left, the window's length and rest."""

    requests: int
    left: int
    window_s: float
    reset_s: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Quota | None:
        """None where the headers are absent or make no sense. On the wire, times are in ms."""
        try:
            requests = int(headers["X-Rate-Limit-Requests-Quota"])
            left = int(headers["X-Rate-Limit-Requests-Left"])
            reset_s = float(headers["X-Rate-Limit-Time-Reset-Ms"]) / 1000
            window_s = float(headers["X-Rate-Limit-Time-Window-Ms"]) / 1000
        except (KeyError, ValueError):
            return None
        if requests <= 0 or not 0 < window_s < math.inf or not 0 <= reset_s < math.inf:
            return None
        return cls(requests, max(0, left), window_s, min(reset_s, window_s))


@dataclass(slots=True)
class Turn:
    """One request's turn: when it began, and whether its answer told of the quota."""

    began_at: float
    told: bool = False


class RateLimiter:
    """Shared by all threads of a run. `reserve` is the share of the quota left to others."""

    def __init__(self, clock: Clock, *, reserve: float = 0.0) -> None:
        self._clock = clock
        self._reserve = reserve
        self._lock = threading.Lock()
        self._in_flight = 0
        self._answered = False
        self._quota: Quota | None = None
        self._left = self._lost = 0
        self._resets_at = 0.0
        self._guessed = False
        self._next_at = 0.0

    @contextmanager
    def request(self) -> Iterator[Turn]:
        """Wait until one request may go out, and count it while it is under way.

        What is yielded belongs to `observe`. A request without an answer counts against the
        window: the server may well have counted it.
        """
        while (wait_s := self._try_start()) > 0:
            if wait_s >= 1:
                level = logging.WARNING if wait_s >= TELL_S else logging.DEBUG
                _log.log(level, "Waiting %.1f s for the store's request quota.", wait_s)
            self._clock.sleep(wait_s)
        turn = Turn(self._clock.monotonic())
        try:
            yield turn
        finally:
            with self._lock:
                self._in_flight -= 1
                if not turn.told:
                    self._lost += 1

    def observe(self, headers: Mapping[str, str], turn: Turn | None = None) -> Quota | None:
        """Learn from the headers of a turn's answer; returns what they said."""
        quota = Quota.from_headers(headers)
        with self._lock:
            self._answered = True
            if quota is not None:
                now = self._clock.monotonic()
                self._learn(quota, now if turn is None else turn.began_at, now)
            if quota is not None and turn is not None:
                turn.told = True
        return quota

    def pause(self, seconds: float) -> None:
        """Let nobody start a request for so long: the server asked for it."""
        with self._lock:
            self._next_at = max(self._next_at, self._clock.monotonic() + seconds)

    def _learn(self, quota: Quota, sent_at: float, now: float) -> None:
        """Answers overtake each other: within one window the lowest count is the true one.

        The rest of the window was told some time between `sent_at` and `now`, so the window
        ends between `sent_at + reset_s` and `now + reset_s`.
        """
        earliest, latest = sent_at + quota.reset_s, now + quota.reset_s
        if self._quota is None or earliest > self._resets_at + quota.window_s / 2:
            self._left, self._lost, self._resets_at = quota.left, 0, latest
        elif earliest > self._resets_at - quota.window_s:
            self._left = min(self._left, quota.left)
            self._resets_at = latest if self._guessed else min(self._resets_at, latest)
        else:
            return  # an answer of the window before, overtaken by those of this one
        self._quota = quota
        self._guessed = False

    def _try_start(self) -> float:
        """0 when a request was started, else seconds after which to ask again."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._next_at:
                return self._next_at - now
            if not self._answered and self._in_flight:
                # Nothing is known yet: one scout goes first, the others wait for its headers.
                return POLL_S
            wait_s = 0.0 if self._quota is None else self._wait_for_quota(self._quota, now)
            if wait_s <= 0:
                self._in_flight += 1
            return wait_s

    def _wait_for_quota(self, quota: Quota, now: float) -> float:
        if now >= self._resets_at + RESET_MARGIN_S:
            # A new window has begun and nobody has told us yet: it starts full.
            self._left, self._lost = quota.requests, 0
            self._resets_at = now + quota.window_s
            self._guessed = True
        # One request a window is always ours, or a small quota would never let us go on.
        reserved = min(math.ceil(quota.requests * self._reserve), quota.requests - 1)
        usable = self._left - self._in_flight - self._lost - reserved
        until_reset = self._resets_at + RESET_MARGIN_S - now
        if usable <= 0:
            # Requests in flight may be counted twice, here and in `left`: their answers tell.
            return min(until_reset, POLL_S) if self._in_flight else until_reset
        if usable < quota.requests * SPREAD_BELOW:
            self._next_at = now + until_reset / (usable + 1)
        return 0.0


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
