"""The receiver's log: one line for each callback and for each delivery.

What a stranger sends never gets into it, and not many lines about strangers: whoever can reach
the receiver could fill the disk with them. One thread writes, so that nobody who answers a
callback waits for the log.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter

from onetribe_bc.api.webhook import Callback
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.report import MEANINGS, Report, Severity
from onetribe_bc.ledger.states import Disposition

_log = logging.getLogger(__name__)

REFUSALS_TOLD = 10
"""How many refusals a minute get a line each; the others are summed up."""

LINES_AHEAD = 20_000
"""How many lines may wait to be written. When the log is stuck, further ones are lost."""

_PERIOD_S = 60.0
_ROUTINE = frozenset({Disposition.ALREADY_DELIVERED, Disposition.CLAIMED})
_Line = tuple[int, str, tuple[object, ...]]
"""A level, a text, and what is to be filled in."""


class Journal:
    """Writes to the log `onetribe_bc.web.journal` for any thread, until `close`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends_at = 0.0
        self._told = 0
        self._untold: Counter[str] = Counter()
        self._lost = 0
        self._lines: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="bc2ot-journal", daemon=True)
        self._thread.start()

    def accept(self, callback: Callback) -> None:
        """A callback is in the ledger."""
        self._tell("Callback %s for order %d: taken in.", callback.scope, callback.order_id)

    def ignore(self, callback: Callback) -> None:
        """A callback asks for nothing."""
        self._tell("Callback %s: ignored, %s.", callback.scope, callback.ignored)

    def refuse(self, status: int, reason: str) -> None:
        """A request was answered `status`, for a reason in words of ours."""
        with self._lock:
            untold = self._next_period()
            self._told += 1
            tell = self._told <= REFUSALS_TOLD
            if not tell:
                self._untold[f"{status} {reason}"] += 1
        self._sum_up(untold)
        if tell:
            self._tell("Refused a request with %d: %s.", status, reason)

    def settle(self, report: Report, waited_s: float | None) -> None:
        """What became of an order. What a sync finds in order again and again is not told."""
        with self._lock:
            untold = self._next_period()
        self._sum_up(untold)
        order_id, disposition = report.order_id, report.disposition.value
        if report.disposition is Disposition.DELIVERED:
            after = "" if waited_s is None else f", {waited_s:.1f} s after its callback"
            self._tell("Order %d: delivered%s.", order_id, after)
        elif MEANINGS[report.disposition].severity is Severity.FAILURE:
            text = "Order %d: %s. Why: bc2ot history %d"
            self._tell(text, order_id, disposition, order_id, level=logging.WARNING)
        elif waited_s is not None and report.disposition not in _ROUTINE:
            self._tell("Order %d: %s, %.1f s after its callback.", order_id, disposition, waited_s)

    def close(self) -> None:
        """Tell what was not told, and write all of it."""
        with self._lock:
            untold, self._untold = self._untold, Counter()
        self._sum_up(untold)
        self._lines.put(None)
        self._thread.join()

    def _tell(self, text: str, *values: object, level: int = logging.INFO) -> None:
        if not _log.isEnabledFor(level):
            return
        if self._lines.qsize() < LINES_AHEAD:
            self._lines.put((level, text, values))
        else:
            with self._lock:
                self._lost += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            level, text, values = line
            _log.log(level, text, *values)
            with self._lock:
                lost, self._lost = self._lost, 0
            if lost:
                _log.warning("%d lines are missing here: the log did not keep up.", lost)

    def _sum_up(self, untold: Counter[str]) -> None:
        if untold:
            each = ", ".join(f"{reason}: {number:,}" for reason, number in untold.most_common())
            text = "Refused %d more requests: %s."
            self._tell(text, untold.total(), each, level=logging.WARNING)

    def _next_period(self) -> Counter[str]:
        """Begin one when the last is over; what was not told in it."""
        now = self._clock.monotonic()
        if now < self._ends_at:
            return Counter()
        untold, self._untold = self._untold, Counter()
        self._told, self._ends_at = 0, now + _PERIOD_S
        return untold
