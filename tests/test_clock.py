from __future__ import annotations

import threading
from datetime import UTC

import pytest

from onetribe_bc.clock import SystemClock
from onetribe_bc.errors import InterruptedRunError


def test_the_system_clock_is_aware_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
    assert all(0 <= clock.random() < 1 for _ in range(100))
    assert not clock.stopping


def test_a_sleep_ends_by_itself() -> None:
    clock = SystemClock()
    clock.sleep(0.001)
    clock.sleep(-1.0)


def test_stopping_ends_all_sleeps_and_later_ones() -> None:
    clock = SystemClock()
    interrupted: list[InterruptedRunError] = []

    def sleep() -> None:
        with pytest.raises(InterruptedRunError) as caught:
            clock.sleep(600)
        interrupted.append(caught.value)

    threads = [threading.Thread(target=sleep) for _ in range(3)]
    for thread in threads:
        thread.start()
    clock.stop()
    for thread in threads:
        thread.join(10)

    assert len(interrupted) == 3
    assert clock.stopping
    with pytest.raises(InterruptedRunError):
        clock.sleep(0)
