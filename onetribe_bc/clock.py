"""Time, sleep and randomness, passed in so that tests do not have to wait."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol

from onetribe_bc.errors import InterruptedRunError

_POLL_S = 0.05


class Clock(Protocol):
    """Time, sleep and randomness."""

    def now(self) -> datetime:
        """Return the current time: aware UTC."""

    def monotonic(self) -> float:
        """Return seconds that never decrease."""

    def sleep(self, seconds: float) -> None:
        """Wait. Raises InterruptedRunError once the run is asked to stop."""

    def random(self) -> float:
        """Return a number in [0, 1)."""

    def stop(self) -> None:
        """Ask the run to finish requests in flight and start nothing new."""

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop."""


class SystemClock:
    """The machine's clock; `stop()` ends all sleeps within 0.05 s.

    `stop` only sets a flag, which sleepers poll: signal handlers call it, and they may interrupt a
    thread that holds any lock.
    """

    def __init__(self) -> None:
        self._stopping = False
        self._random = random.SystemRandom()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return self._random.random()

    def sleep(self, seconds: float) -> None:
        wake_at = time.monotonic() + seconds
        while not self._stopping:
            left = wake_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _POLL_S))
        raise InterruptedRunError("The run was asked to stop.")

    def stop(self) -> None:
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping
