"""How commands end on Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from onetribe_bc.cli.console import Console
from onetribe_bc.clock import SystemClock
from onetribe_bc.errors import ExitCode

FINISHING = "Finishing what is in flight; press Ctrl-C again to stop immediately."


@contextmanager
def interruptible(console: Console, notice: str = FINISHING) -> Iterator[SystemClock]:
    """Yield a clock that Ctrl-C and SIGTERM stop: work in flight is finished, none is started.

    A second signal ends the process immediately; the next run recovers its claims.
    """
    clock = SystemClock()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if clock.stopping:
            os.write(sys.stderr.fileno(), b"\nbc2ot: stopped immediately.\n")
            os._exit(ExitCode.INTERRUPTED)
        clock.stop()
        if notice:
            console.notify_from_signal(notice)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield clock
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, so that the terminal's echo is restored."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
