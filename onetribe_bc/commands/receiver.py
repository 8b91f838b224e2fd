"""The receiver: record the orders that callbacks name, and deliver them as they arrive.

One thread runs deliveries from the inbox without end. Another runs the periodic sync, for
callbacks that never came and for orders still owed after an outage. Both use the same clients, so
they share the rate limits.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from datetime import datetime, timedelta

from onetribe_bc.api.rate_limit import MAX_WAIT_S, full_jitter
from onetribe_bc.clock import Clock
from onetribe_bc.commands.inbox import CLAIMED_RETRY_AFTER, iter_callbacks
from onetribe_bc.commands.sync import plan_sync, send_owed, sync
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import Clients, Context, policy_of
from onetribe_bc.delivery.fetching import Page
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.errors import (
    Bc2otError,
    BusyError,
    ConfigurationError,
    InputError,
    InterruptedRunError,
    LedgerError,
    RefusedError,
    UnreachableError,
)
from onetribe_bc.ledger.inbox import Named
from onetribe_bc.ledger.ledger import Status
from onetribe_bc.ledger.states import Disposition

_log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often to check for orders that are due, when no callback arrives."""

GATHER_S = 0.1
"""How long to collect more callbacks after one: orders that arrive together share a request."""

REFUSED_WAIT_S = 60.0
"""How long to wait after credentials or a URL were refused: only the merchant can fix that."""

BUSY_WAIT_S = 60.0
"""How long to leave owed orders to another process that holds the store."""

OUTAGE_AFTER_S = 60.0
"""A service that cannot be reached for longer makes the receiver not ready."""

RECOVER_EVERY_S = 30.0
"""How often to recover the claims of processes that died."""

RESEND_AFTER = timedelta(seconds=30)
"""How long to wait before an order that may have arrived is sent again. After that, only syncs send
it again, at longer intervals: a service that responds too late would get many copies.
"""

KEPT_WAITING = 10_000
"""For how many orders to keep the time of the callback, to report how long delivery took."""

_NOT_FINAL = frozenset({Disposition.CLAIMED, Disposition.PENDING, Disposition.UNKNOWN})
"""Another report on the order may follow, from the other thread or a later attempt."""

Observe = Callable[[Report, float | None], None]
"""Called for each settled order, with the seconds since its callback if one named it."""


class Receiver:
    """Delivers the orders that callbacks name until its clock is stopped.

    `accept`, `status` and `problem` may be called from any thread.
    """

    def __init__(
        self, settings: Settings, clients: Clients, clock: Clock, observe: Observe
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._observe = observe
        self._policy = policy_of(settings, retry_failed=False)
        self._ledger = clients.ledger(self._policy)
        self._inbox = self._ledger.inbox
        self._arrived = threading.Event()
        self._sync_now = threading.Event()
        self._waiting: dict[int, datetime] = {}
        self._waiting_lock = threading.Lock()
        self._problems: dict[str, Bc2otError] = {}
        self._unreachable_since: float | None = None
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(name, work), name=f"bc2ot-{name}", daemon=True
            )
            for name, work in (("deliveries", self._deliver), ("sync", self._sync))
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """After the clock was stopped, wait for work in flight; return whether all of it ended."""
        self._arrived.set()
        self._sync_now.set()
        # In real time, whatever clock the threads use.
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def accept(self, order_id: int) -> Future[None]:
        """Record an order that a callback named. It is durable once the future is done.

        The future may fail with LedgerError or BusyError. Raises LedgerError.
        """
        written = self._inbox.put(order_id)
        # Not earlier: another connection reads the inbox, and sees only what is committed.
        written.add_done_callback(lambda _written: self._arrived.set())
        return written

    def status(self, wait_s: float) -> Status:
        """Return the state of all orders. Raises LedgerError, and BusyError after `wait_s`."""
        return self._ledger.status(runs=0, wait_s=wait_s)

    def problem(self, wait_s: float) -> str:
        """Return why the receiver is not ready, without details; empty if it is ready.

        The ledger has `wait_s` seconds to respond.
        """
        try:
            self._clients.database.check_writable(wait_s=wait_s)
        except Bc2otError:
            return "the ledger cannot be written"
        if not all(thread.is_alive() for thread in self._threads):
            return "the workers are not running"
        problems = list(self._problems.values())
        for kind, text in (
            (RefusedError, "credentials or a URL are refused"),
            (LedgerError, "the ledger failed"),
            ((ConfigurationError, InputError), "the configuration is wrong"),
        ):
            if any(isinstance(problem, kind) for problem in problems):
                return text
        if self._clients.bigcommerce.imposed.is_long or self._clients.onetribe.imposed.is_long:
            return "a service asks to wait"
        since = self._unreachable_since
        if since is not None and self._clock.monotonic() - since > OUTAGE_AFTER_S:
            return "a service cannot be reached"
        return ""

    def _repeat(self, name: str, work: Callable[[], None]) -> None:
        """Repeat `work`, with backoff after failures, until the clock stops."""
        failures = 0
        with suppress(InterruptedRunError):
            while not self._clock.stopping:
                started_at = self._clock.monotonic()
                try:
                    work()
                    failures = 0
                except InterruptedRunError:
                    raise
                except Exception as error:  # noqa: BLE001 - nothing may end a receiver
                    if self._clock.stopping:
                        return
                    lasted_s = self._clock.monotonic() - started_at
                    failures = 1 if lasted_s > MAX_WAIT_S else failures + 1
                    self._back_off(name, error, failures)

    def _back_off(self, name: str, error: Exception, failures: int) -> None:
        """Log a failure and wait. Raises InterruptedRunError."""
        wait_s = full_jitter(failures, self._clock.random())
        if isinstance(error, RefusedError):
            wait_s = REFUSED_WAIT_S
        if isinstance(error, UnreachableError) and self._unreachable_since is None:
            self._unreachable_since = self._clock.monotonic()
        if isinstance(error, Bc2otError):
            self._problems[name] = error
            _log.warning("%s: %s. Retrying in %.0f s.", name, str(error).rstrip("."), wait_s)
        else:
            # The text of any other exception may quote an order.
            _log.error("%s: a bug: %s. Retrying in %.0f s.", name, type(error).__name__, wait_s)
            _log.debug("%s", _where(error))
        self._clock.sleep(wait_s)

    def _recovered(self) -> None:
        self._problems.clear()
        self._unreachable_since = None

    def _follow(self, reports: Generator[Report]) -> None:
        with closing(reports):
            for report in reports:
                if report.disposition is Disposition.CLAIMED and self._policy.on_change:
                    self._put_back(report.order_id)
                is_unknown = report.disposition is Disposition.UNKNOWN
                resends = self._policy.resend_unknown and self._policy.allows_copy(1)
                if is_unknown and resends and not report.possible_duplicates:
                    self._inbox.put(report.order_id, after=RESEND_AFTER).result()
                if report.disposition is Disposition.DELIVERED:
                    self._recovered()  # both services work
                self._observe(report, self._waited_s(report))

    def _put_back(self, order_id: int) -> None:
        """Retry an order of which another version is being sent: this one may also be owed.

        It is still in the inbox, unless it was claimed after it was recorded.
        """
        if self._inbox.find(order_id) is None:
            self._inbox.put(order_id, after=CLAIMED_RETRY_AFTER[0]).result()

    def _waited_s(self, report: Report) -> float | None:
        """Return the seconds since the order's callback, or None if it had none."""
        with self._waiting_lock:
            received_at = self._waiting.get(report.order_id)
            if report.disposition not in _NOT_FINAL:
                self._waiting.pop(report.order_id, None)
        return None if received_at is None else (self._clock.now() - received_at).total_seconds()

    # Deliveries

    def _deliver(self) -> None:
        """Run until something fails."""
        context, summary = self._clients.context(self._policy), Summary()
        reports = run(
            context,
            "serve",
            self._iter_pages(context, summary),
            skip_reason=context.skip_rule(),
            exclusive=False,
            summary=summary,
        )
        try:
            self._follow(reports)
        except InterruptedRunError:
            raise
        except Exception:
            # A sync sends the orders that were recorded and not sent.
            self._sync_now.set()
            raise

    def _iter_pages(self, context: Context, summary: Summary) -> Iterator[Page]:
        ledger, recorded = context.ledger, summary.counts()
        recovered_at = self._clock.monotonic()
        while True:
            yield from iter_callbacks(context, on_fetched=self._note_callback)
            # Other runs do this at their end; this run has none.
            counts = summary.counts()
            if counts != recorded:
                ledger.record_counts(counts)
                recorded = counts
            if self._clock.monotonic() - recovered_at >= RECOVER_EVERY_S:
                recovered_at = self._clock.monotonic()
                if ledger.recover():
                    self._sync_now.set()
            if self._arrived.wait(POLL_S):
                self._arrived.clear()
                self._clock.sleep(GATHER_S)
            yield Page()  # lets the pipeline check whether to stop

    def _note_callback(self, named: Named) -> None:
        with self._waiting_lock:
            self._waiting.setdefault(named.order_id, named.received_at)
            if len(self._waiting) > KEPT_WAITING:
                del self._waiting[next(iter(self._waiting))]

    # The periodic sync

    def _sync(self) -> None:
        """Sync once, and wait for the next time."""
        wait_s = self._settings.receiver.sync_every.total_seconds()
        self._sync_now.clear()
        try:
            self._follow(self._start_sync(self._clients.context(self._policy)))
            self._recovered()  # everything owed was sent
        except BusyError as error:
            _log.info("sync: %s", error)
            wait_s = min(wait_s, BUSY_WAIT_S) or BUSY_WAIT_S
        self._wait_for_sync(wait_s)

    def _start_sync(self, context: Context) -> Generator[Report]:
        """Sync; if the merchant has to set its start first, send only owed orders."""
        overlap, now = self._settings.sync.overlap, self._clock.now()
        try:
            plan = plan_sync(context.ledger, since=None, overlap=overlap, now=now)
        except InputError as error:
            _log.warning("sync: %s %s", error, error.hint)
            return send_owed(context)
        return sync(context, plan, callbacks=False)

    def _wait_for_sync(self, wait_s: float) -> None:
        """Wait until the next sync is due or orders were left owed; with 0, only for the latter.

        A sync that ended elsewhere meanwhile puts it off. Raises InterruptedRunError.
        """
        since, until = self._clock.now(), self._clock.monotonic() + wait_s
        while not self._sync_now.wait(POLL_S):
            if self._clock.stopping:
                raise InterruptedRunError("The receiver was stopped.")
            if wait_s and self._clock.monotonic() >= until:
                last = self._ledger.status(runs=0).last_sync_at
                if last is None or last <= since:
                    return
                since = last
                until += (
                    last + self._settings.receiver.sync_every - self._clock.now()
                ).total_seconds()


def _where(error: BaseException) -> str:
    """Return where a bug occurred, without any values."""
    frames = traceback.extract_tb(error.__traceback__)
    return ", ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
