"""BigCommerce's request quota: one fixed window per store, shared by all its apps."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Quota:
    """How many requests a store may make in a window of `window_s` seconds.

    Standard and Plus plans have 150 per 30 s, Pro has 450.
    """

    requests: int = 450
    window_s: float = 30.0


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

    def count(self, requests: int = 1) -> tuple[bool, Headers]:
        """Count requests; return whether the quota is exceeded, and a response's headers."""
        with self._lock:
            quota = self.quota
            if quota is None:
                return False, ()
            now = self._monotonic()
            if now >= self._ends_at:
                self._ends_at = now + quota.window_s
                self._used = 0
            self._used += requests
            exceeded = self._used > quota.requests
            reset_ms = math.ceil((self._ends_at - now) * 1000)
        headers: Headers = (
            ("X-Rate-Limit-Time-Window-Ms", str(round(quota.window_s * 1000))),
            ("X-Rate-Limit-Time-Reset-Ms", str(reset_ms)),
            ("X-Rate-Limit-Requests-Quota", str(quota.requests)),
            ("X-Rate-Limit-Requests-Left", str(max(0, quota.requests - self._used))),
        )
        if exceeded:
            headers += (("X-Retry-After", str(max(1, math.ceil(reset_ms / 1000)))),)
        return exceeded, headers
