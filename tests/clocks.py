"""Time that passes only when someone sleeps."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from onetribe_bc.errors import InterruptedRunError

STARTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FakeClock:
    """A clock for any number of threads: who sleeps moves it on, and nobody waits.

    Those who sleep at the same time sleep side by side. `chance` is what `random` gives; `slept`
    lists what was slept; `stopping` may be set: then the next sleep raises.
    """

    def __init__(self, now: datetime = STARTED_AT) -> None:
        self.chance = 0.5
        self.slept: list[float] = []
        self._started_at = now
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self._stopping = False

    def now(self) -> datetime:
        return self._started_at + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed

    def sleep(self, seconds: float) -> None:
        if self._stopping:
            raise InterruptedRunError("The run was asked to stop.")
        with self._lock:
            self.slept.append(seconds)
            until = self._elapsed + max(0.0, seconds)
        time.sleep(0)  # the other threads' turn, as in a real sleep
        with self._lock:
            self._elapsed = max(self._elapsed, until)

    def random(self) -> float:
        return self.chance

    def advance(self, seconds: float) -> None:
        """Time passes without anyone sleeping."""
        with self._lock:
            self._elapsed += seconds

    def stop(self) -> None:
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping
