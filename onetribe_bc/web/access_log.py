"""The receiver's log: one line per callback and per delivery.

It never contains text from an unauthenticated client, and at most `REFUSALS_LOGGED` refusals a
minute: otherwise, anyone who can reach the receiver could fill the disk.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

from onetribe_bc.api.webhook import Callback
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.report import MEANINGS, Report, Severity
from onetribe_bc.ledger.states import Disposition

_log = logging.getLogger(__name__)

REFUSALS_LOGGED = 10
"""Refusals per minute that get a line each; the others are summarized."""

MAX_WAITING_LINES = 20_000
"""Lines that may wait to be written. When that many wait, further lines are dropped."""

_PERIOD_S = 60.0
_ROUTINE = frozenset({Disposition.ALREADY_DELIVERED, Disposition.CLAIMED})


class AccessLog:
    """Writes to the logger `onetribe_bc.web.access_log` until `close`.

    Thread-safe. A thread of its own writes, so that a slow log never delays a response.
    """

    def __init__(self, clock: Clock, max_waiting_lines: int = MAX_WAITING_LINES) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._period_ends_at = 0.0
        self._logged_refusals = 0
        self._unlogged_refusals: Counter[str] = Counter()
        lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
        queue = _BoundedQueue(lines, max_waiting_lines)
        self._logger = logging.Logger(__name__)
        self._logger.addHandler(queue)
        self._listener = QueueListener(lines, _Writer(queue))
        self._listener.start()

    def accept(self, callback: Callback) -> None:
        """Log a callback that is in the ledger."""
        self._logger.info("Callback %s for order %d: recorded.", callback.scope, callback.order_id)

    def ignore(self, callback: Callback) -> None:
        """Log a callback that needs no action."""
        self._logger.info("Callback %s: ignored, %s.", callback.scope, callback.ignored)

    def refuse(self, status: int, reason: str) -> None:
        """Log a refused request. `reason` must not quote the request."""
        with self._lock:
            self._start_period()
            self._logged_refusals += 1
            if self._logged_refusals > REFUSALS_LOGGED:
                self._unlogged_refusals[f"{status} {reason}"] += 1
                return
        self._logger.info("Refused a request with %d: %s.", status, reason)

    def settle(self, report: Report, waited_s: float | None) -> None:
        """Log an order's outcome, `waited_s` seconds after its callback if it had one."""
        with self._lock:
            self._start_period()
        order_id, meaning = report.order_id, MEANINGS[report.disposition]
        if report.disposition is Disposition.DELIVERED:
            after = "" if waited_s is None else f", {waited_s:.1f} s after its callback"
            self._logger.info("Order %d: delivered%s.", order_id, after)
        elif meaning.severity is Severity.FAILURE:
            text = "Order %d: %s. Why: bc2ot history %d"
            self._logger.warning(text, order_id, meaning.text, order_id)
        elif waited_s is not None and report.disposition not in _ROUTINE:
            text = "Order %d: %s, %.1f s after its callback."
            self._logger.info(text, order_id, meaning.text, waited_s)

    def close(self) -> None:
        """Log the refusals not logged yet, and write all lines that wait."""
        with self._lock:
            self._sum_up()
        self._listener.stop()

    def _start_period(self) -> None:
        now = self._clock.monotonic()
        if now >= self._period_ends_at:
            self._sum_up()
            self._logged_refusals, self._period_ends_at = 0, now + _PERIOD_S

    def _sum_up(self) -> None:
        refusals = self._unlogged_refusals
        if refusals:
            each = ", ".join(f"{reason}: {number:,}" for reason, number in refusals.most_common())
            self._logger.warning("Refused %d more requests: %s.", refusals.total(), each)
            refusals.clear()


class _BoundedQueue(QueueHandler):
    """Drops records, and counts them, while too many wait."""

    def __init__(self, lines: SimpleQueue[logging.LogRecord], max_waiting: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._max_waiting = max_waiting
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # formatted by the writer: its arguments never change

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() < self._max_waiting:
            self._lines.put(record)
        else:
            self._dropped += 1  # under the handler's lock

    def take_dropped(self) -> int:
        with self.lock or threading.Lock():
            dropped, self._dropped = self._dropped, 0
        return dropped


class _Writer(logging.Handler):
    """Passes records to the handlers of `_log`, in the listener's thread."""

    def __init__(self, queue: _BoundedQueue) -> None:
        super().__init__()
        self._queue = queue

    def emit(self, record: logging.LogRecord) -> None:
        if _log.isEnabledFor(record.levelno):
            _log.handle(record)
        if dropped := self._queue.take_dropped():
            _log.warning("Dropped %d log lines: the writer fell behind.", dropped)
