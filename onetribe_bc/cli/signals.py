"""How commands end on Ctrl-C, SIGTERM and SIGHUP. One that was ignored at the start stays so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from onetribe_bc.cli.console import Console
from onetribe_bc.clock import SystemClock
from onetribe_bc.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_ONE_REQUEST_S = 0.5
"""timeout(1) signals a process and then its group, systemd sends SIGTERM and SIGHUP: within this
time, it is one request to stop.
"""

FINISHING = "Finishing what is in flight; press Ctrl-C again to stop immediately."


@contextmanager
def interruptible(
    console: Console, notice: str = FINISHING, *, goes_on: str = ""
) -> Iterator[SystemClock]:
    """Yield a clock that a signal stops: work in flight is finished, none is started.

    A second signal ends the process immediately; the next run recovers its claims. A second SIGHUP
    does not: shell and kernel both send one when a terminal closes. With `goes_on`, SIGHUP prints
    that and stops nothing.
    """
    clock = SystemClock()
    settled_at = 0.0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and goes_on:
            console.notify_from_signal(goes_on)
            return
        nonlocal settled_at
        if clock.stopping:
            is_repeated = number == signal.SIGTERM and clock.monotonic() < settled_at
            if number == signal.SIGHUP or is_repeated:
                return
            console.notify_from_signal("bc2ot: stopped immediately.")
            os._exit(ExitCode.INTERRUPTED)
        settled_at = clock.monotonic() + _ONE_REQUEST_S
        clock.stop()
        if notice:
            console.notify_from_signal(notice)

    with _handled(on_signal, *_SIGNALS):
        yield clock


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make signals raise KeyboardInterrupt, which ends a question and restores the echo."""
    with _handled(signal.default_int_handler, *_SIGNALS):
        yield


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals
) -> Iterator[None]:
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back signals until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
