"""Rate limits: the store's request quota, and how long to wait after a failure.

BigCommerce gives each store one quota for all of its apps and reports in every response how much
is left (`X-Rate-Limit-*`). The rate limiter subtracts the requests in flight from what was last
reported, keeps a reserve for the store's other apps, spreads requests when little is left, and
pauses all threads when the server asks for it.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from onetribe_bc.clock import Clock
from onetribe_bc.dates import parse_http_date
from onetribe_bc.errors import UnreachableError

_log = logging.getLogger(__name__)

_SPREAD_BELOW = 0.25
"""Below this share of the quota, spread the rest over the window."""

RESET_MARGIN_S = 0.05
"""Seconds to wait beyond the reported reset, because clocks differ."""

MAX_WAIT_S = 60.0
"""The longest backoff in seconds that bc2ot chooses itself."""

MAX_IMPOSED_WAIT_S = 600.0
"""The longest wait in seconds that a server can impose. Then one request is sent."""

PATIENCE_S = 120.0
"""The longest wait in seconds of a run from the command line: rather than wait longer, it ends."""

LONG_WAIT_S = 10.0
"""Waits of at least this many seconds are reported."""

_LONG_IMPOSED_WAIT_S = 60.0
"""A receiver is not ready during a longer wait that a server imposes."""

_POLL_S = 0.02
_SECONDS = re.compile(r" *[-+]?[0-9]+(?:\.[0-9]*)? *")
"""Python also takes `1_0` for ten, which no server means."""


def full_jitter(attempt: int, chance: float) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1); `chance` is in [0, 1).

    They are evenly distributed over [0, 2^(attempt-1)), capped at MAX_WAIT_S, so that clients that
    fail together do not retry together (Amazon's "full jitter").
    """
    return min(MAX_WAIT_S, 2.0 ** min(attempt - 1, 32)) * chance


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, as a number or date (RFC 9110).

    At least 0; None if the header is missing or invalid.
    """
    if _SECONDS.fullmatch(value or ""):
        seconds = float(value or "")
    else:
        at = parse_http_date(value)
        if at is None:
            return None
        seconds = (at - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return max(0.0, seconds)


class ImposedWait:
    """Whether a server asked for a long wait that has not ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends_at = 0.0

    def begin(self, seconds: float) -> None:
        """Record a wait."""
        if seconds > _LONG_IMPOSED_WAIT_S:
            self._ends_at = max(self._ends_at, self._clock.monotonic() + seconds)

    @property
    def is_long(self) -> bool:
        """Whether a long wait has not ended."""
        return self._clock.monotonic() < self._ends_at


@dataclass(frozen=True, slots=True)
class Quota:
    """One response's quota headers: requests per window, requests left, window and reset."""

    requests: int
    left: int
    window_s: float
    reset_s: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Quota | None:
        """Return None if the headers are missing or invalid. Their times are in ms."""
        try:
            requests = int(headers["X-Rate-Limit-Requests-Quota"])
            left = int(headers["X-Rate-Limit-Requests-Left"])
            reset_s = float(headers["X-Rate-Limit-Time-Reset-Ms"]) / 1000
            window_s = float(headers["X-Rate-Limit-Time-Window-Ms"]) / 1000
        except (KeyError, ValueError):
            return None
        if requests <= 0 or not 0 < window_s < math.inf or not 0 <= reset_s < math.inf:
            return None
        window_s = min(window_s, MAX_IMPOSED_WAIT_S)
        return cls(requests, max(0, left), window_s, min(reset_s, window_s))


@dataclass(slots=True)
class Permit:
    """Permission for one request: when it started, and whether its response had a quota."""

    started_at: float
    observed: bool = False


class RateLimiter:
    """Limits requests to the store's quota. Thread-safe.

    `reserve` is the share of the quota left to the store's other apps. `request` raises
    UnreachableError rather than wait longer than `patience_s`.
    """

    def __init__(
        self, clock: Clock, *, reserve: float = 0.0, patience_s: float = MAX_IMPOSED_WAIT_S
    ) -> None:
        self.imposed = ImposedWait(clock)
        self._clock = clock
        self._patience_s = patience_s
        self._reserve = reserve
        self._lock = threading.Lock()
        self._in_flight = 0
        self._has_responded = False
        self._quota: Quota | None = None
        self._left = self._lost = 0
        self._resets_at = 0.0
        self._guessed = False
        self._next_at = 0.0

    @contextmanager
    def request(self) -> Iterator[Permit]:
        """Wait until one request may start, and count it while it is in flight.

        Pass the permit to `observe`. A request without a response counts as used, because the
        server may have counted it.
        """
        while (wait_s := self._try_start()) > 0:
            if wait_s > self._patience_s:
                raise UnreachableError(
                    f"BigCommerce accepts no request for another {wait_s:,.0f} s: the store's "
                    "request quota is used up."
                )
            if wait_s >= 1:
                level = logging.WARNING if wait_s >= LONG_WAIT_S else logging.DEBUG
                _log.log(level, "Waiting %.1f s, as BigCommerce asks: the request quota.", wait_s)
            self.imposed.begin(wait_s)
            self._clock.sleep(wait_s)
        permit = Permit(self._clock.monotonic())
        try:
            yield permit
        finally:
            with self._lock:
                self._in_flight -= 1
                if not permit.observed:
                    self._lost += 1

    def observe(self, headers: Mapping[str, str], permit: Permit) -> Quota | None:
        """Learn from the headers of a permitted request's response; return their quota."""
        quota = Quota.from_headers(headers)
        with self._lock:
            self._has_responded = True
            if quota is not None:
                self._learn(quota, permit.started_at, self._clock.monotonic())
                permit.observed = True
        return quota

    def pause(self, seconds: float) -> None:
        """Start no request for this long."""
        with self._lock:
            self._next_at = max(self._next_at, self._clock.monotonic() + seconds)

    def _learn(self, quota: Quota, sent_at: float, now: float) -> None:
        """Update the count. Responses overtake each other, so the lowest of a window is right.

        The server computed `reset_s` between `sent_at` and `now`, so the window ends between
        `sent_at + reset_s` and `now + reset_s`.
        """
        earliest, latest = sent_at + quota.reset_s, now + quota.reset_s
        if self._quota is None or earliest > self._resets_at + quota.window_s / 2:
            self._left, self._lost, self._resets_at = quota.left, 0, latest
        elif earliest > self._resets_at - quota.window_s:
            self._left = min(self._left, quota.left)
            self._resets_at = latest if self._guessed else min(self._resets_at, latest)
        else:
            return  # a late response of the previous window
        self._quota = quota
        self._guessed = False

    def _try_start(self) -> float:
        """Start a request and return 0, or return the seconds after which to try again."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._next_at:
                return self._next_at - now
            if not self._has_responded and self._in_flight:
                # Send one request; the others wait for its quota headers.
                return _POLL_S
            wait_s = 0.0 if self._quota is None else self._wait_for_quota(self._quota, now)
            if wait_s <= 0:
                self._in_flight += 1
            return wait_s

    def _wait_for_quota(self, quota: Quota, now: float) -> float:
        if now >= self._resets_at + RESET_MARGIN_S:
            # Assume a full new window until a response reports it.
            self._left, self._lost = quota.requests, 0
            self._resets_at = now + quota.window_s
            self._guessed = True
        # Always use at least one request per window, or a small quota would stop the run.
        reserved = min(math.ceil(quota.requests * self._reserve), quota.requests - 1)
        usable = self._left - self._in_flight - self._lost - reserved
        until_reset = self._resets_at + RESET_MARGIN_S - now
        if usable <= 0:
            # Requests in flight may be counted twice, here and in `left`; their responses tell.
            return min(until_reset, _POLL_S) if self._in_flight else until_reset
        if usable < quota.requests * _SPREAD_BELOW:
            self._next_at = now + until_reset / (usable + 1)
        return 0.0
