"""Time and chance, handed to whoever needs them, so that tests need not wait."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol

from onetribe_bc.errors import InterruptedRunError

_LOOK_S = 0.05
"""How often a sleeper looks whether to stop."""


class Clock(Protocol):
    """What the rest of the package knows of time and chance."""

    def now(self) -> datetime:
        """The wall clock: aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. Raises InterruptedRunError when the run is asked to stop, also at once."""
        ...

    def random(self) -> float:
        """A number in [0, 1)."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop."""
        ...


class SystemClock:
    """The machine's clock; `stop()` wakes everyone who sleeps on it, within a moment.

    `stop` is called from signal handlers, which may interrupt a thread that holds any lock: it
    only sets a flag, and sleepers look at it.
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
            time.sleep(min(left, _LOOK_S))
        raise InterruptedRunError("The run was asked to stop.")

    def stop(self) -> None:
        """Ask the run to finish what is in flight and start nothing new."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        return self._stopping
