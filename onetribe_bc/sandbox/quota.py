"""BigCommerce's request quota: one fixed window per store, shared by all its apps."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """How many requests a store may make in a window of `window_s` seconds.

    Standard and Plus plans have 150 per 30 s, Pro has 450.
    """

    requests: int = 450
    window_s: float = 30.0


@dataclass(frozen=True, slots=True)
class QuotaState:
    """The quota after a request was counted. `reset_ms` is the rest of the window."""

    quota: Quota
    left: int
    reset_ms: int
    exceeded: bool

    def headers(self) -> tuple[tuple[str, str], ...]:
        """As BigCommerce sends them with every response; X-Retry-After (s) only when exceeded."""
        headers: tuple[tuple[str, str], ...] = (
            ("X-Rate-Limit-Time-Window-Ms", str(round(self.quota.window_s * 1000))),
            ("X-Rate-Limit-Time-Reset-Ms", str(self.reset_ms)),
            ("X-Rate-Limit-Requests-Quota", str(self.quota.requests)),
            ("X-Rate-Limit-Requests-Left", str(self.left)),
        )
        if self.exceeded:
            headers += (("X-Retry-After", str(max(1, math.ceil(self.reset_ms / 1000)))),)
        return headers


class QuotaWindow:
    """Counts requests. `monotonic` gives seconds that never go back."""

    def __init__(self, quota: Quota | None, monotonic: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self.reset(quota)

    def reset(self, quota: Quota | None) -> None:
        """Start a new window with `quota`; None is no limit, and no headers in the responses."""
        with self._lock:
            self.quota = quota
            self._used = 0
            self._ends_at = -math.inf

    def count(self, requests: int = 1) -> QuotaState | None:
        """Count requests against the window; None when there is no limit."""
        with self._lock:
            quota = self.quota
            if quota is None:
                return None
            now = self._monotonic()
            if now >= self._ends_at:
                self._ends_at = now + quota.window_s
                self._used = 0
            self._used += requests
            return QuotaState(
                quota=quota,
                left=max(0, quota.requests - self._used),
                reset_ms=math.ceil((self._ends_at - now) * 1000),
                exceeded=self._used > quota.requests,
            )
