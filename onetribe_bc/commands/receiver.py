"""The receiver: takes in the orders that callbacks name, and delivers them as they come.

One thread keeps a run going that delivers what is in the inbox; another does what `sync` does,
now and then, for callbacks that never came and for what an outage left owed. Both work through
the same clients, so that the services' limits hold for them together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from datetime import datetime
from functools import partial

from onetribe_bc.api.rate_limit import MAX_WAIT_S, full_jitter
from onetribe_bc.clock import Clock
from onetribe_bc.commands.inbox import CLAIMED_RETRY_AFTER, iter_callbacks
from onetribe_bc.commands.sync import plan_sync, send_owed, sync
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import Clients, Context, make_context, policy_of
from onetribe_bc.delivery.fetching import Page
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.selection import resolve_statuses, skip_reason
from onetribe_bc.errors import (
    Bc2otError,
    BusyError,
    ConfigurationError,
    InputError,
    InterruptedRunError,
    LedgerError,
    RefusedError,
)
from onetribe_bc.ledger.inbox import Inbox, Named
from onetribe_bc.ledger.ledger import Ledger, Status
from onetribe_bc.ledger.states import Disposition

_log = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often to look for orders whose time has come, when no callback comes."""

GATHER_S = 0.1
"""How long to wait for more callbacks after one: orders that come together share a request."""

REFUSED_WAIT_S = 60.0
"""How long to wait after credentials or an address were refused: only a person can mend that."""

BUSY_WAIT_S = 60.0
"""How long to leave orders that are owed to another process that holds the store."""

KEPT_WAITING = 10_000
"""Of how many orders is known since when they wait: only for telling how long it took."""

RECOVER_EVERY_S = 60.0
"""How often to take over what other processes had claimed when they died."""

_NOT_THE_END = frozenset({Disposition.CLAIMED, Disposition.PENDING, Disposition.UNKNOWN})
"""After these there is, or may be, another report on the order: of our other thread, or of a later
try.
"""

_OURS_TO_MEND = (ConfigurationError, InputError)

Observe = Callable[[Report, float | None], None]
"""Told of each order as it is settled, and how many seconds after its callback, if one named it."""


class Receiver:
    """Delivers what callbacks name until its clock is stopped. `take_in` is for any thread."""

    def __init__(
        self, settings: Settings, clients: Clients, clock: Clock, observe: Observe
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._observe = observe
        self._policy = policy_of(settings, retry_failed=False)
        store_hash, destination = clients.bigcommerce.store_hash, clients.onetribe.destination
        self._inbox = Inbox(clients.ledger, clock, store_hash=store_hash, destination=destination)
        self._ledger = Ledger(clients.ledger, store_hash=store_hash, destination=destination)
        self._arrived = threading.Event()
        self._sync_now = threading.Event()
        self._waiting: dict[int, datetime] = {}
        self._waiting_lock = threading.Lock()
        self._troubles: dict[str, Bc2otError] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to deliver, in threads of its own."""
        for name, work in (("deliveries", self._deliver), ("sync", self._sync)):
            thread = threading.Thread(
                target=self._repeat, args=(name, work), name=f"bc2ot-{name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for what is in flight when the clock was stopped. Whether all of it has ended."""
        self._arrived.set()  # nobody needs to wait for callbacks any more, nor for the next beat
        self._sync_now.set()
        # Threads are waited for in real time, whatever clock they go by themselves.
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def take_in(self, order_id: int) -> Future[None]:
        """A callback named an order; durable once the future is done, which may have a LedgerError
        or BusyError. Callbacks that come together may share one. Raises LedgerError.
        """
        written = self._inbox.put(order_id)
        if not self._arrived.is_set():
            self._arrived.set()
        return written

    def status(self, wait_s: float) -> Status:
        """Where all orders stand. Raises LedgerError and BusyError, the latter after `wait_s`."""
        return self._ledger.status(runs=0, wait_s=wait_s)

    def problem(self, wait_s: float) -> str:
        """Why callbacks should go elsewhere for now, without details; empty when all is well. The
        ledger has `wait_s` to answer.
        """
        try:
            self._clients.ledger.check_writable(wait_s=wait_s)
        except Bc2otError:
            return "the ledger cannot be written"
        if not self._threads or not all(thread.is_alive() for thread in self._threads):
            return "the workers are not running"
        troubles = list(self._troubles.values())
        if any(isinstance(trouble, RefusedError) for trouble in troubles):
            return "credentials or an address are refused"
        if any(isinstance(trouble, LedgerError) for trouble in troubles):
            return "the ledger failed"
        if any(isinstance(trouble, _OURS_TO_MEND) for trouble in troubles):
            return "the configuration is wrong"
        return ""

    # Keeping at it

    def _repeat(self, name: str, work: Callable[[], None]) -> None:
        """Do it again and again, whatever goes wrong, until the clock is stopped."""
        failures = 0
        with suppress(InterruptedRunError):
            while not self._clock.stopping:
                began_at = self._clock.monotonic()
                try:
                    work()
                    failures = 0
                except InterruptedRunError:
                    raise
                except Exception as error:  # noqa: BLE001 - nothing may end a receiver
                    if self._clock.stopping:
                        return
                    lasted_s = self._clock.monotonic() - began_at
                    failures = 1 if lasted_s > MAX_WAIT_S else failures + 1
                    self._wait(name, error, failures)

    def _wait(self, name: str, error: Exception, failures: int) -> None:
        """Wait after a failure. Raises InterruptedRunError."""
        wait_s = full_jitter(failures, self._clock.random())
        if isinstance(error, RefusedError):
            wait_s = REFUSED_WAIT_S
        if isinstance(error, Bc2otError):
            self._troubles[name] = error
            _log.warning("%s: %s. Going on in %.0f s.", name, str(error).rstrip("."), wait_s)
        else:
            # The text of a bug may hold anything.
            _log.error("%s: a bug: %s. Going on in %.0f s.", name, type(error).__name__, wait_s)
            _log.debug("%s", _where(error))
        self._clock.sleep(wait_s)

    # Deliveries

    def _deliver(self) -> None:
        """One run, for as long as it goes well."""
        context = make_context(self._settings, self._clients, self._clock, self._policy)
        summary = Summary()
        reports = run(
            context,
            "serve",
            self._iter_pages(context, summary),
            skip_reason=self._skip_reason(context),
            exclusive=False,
            summary=summary,
        )
        try:
            self._follow(reports)
        except InterruptedRunError:
            raise
        except Exception:
            # What it had entered in the ledger and not sent is a sync's to send.
            self._sync_now.set()
            raise

    def _iter_pages(self, context: Context, summary: Summary) -> Iterator[Page]:
        ledger, counted, recovered_at = context.ledger, summary.counts(), self._clock.monotonic()
        while True:
            yield from iter_callbacks(context, handed_on=self._handed_on)
            # What other runs do at their end, this one does whenever it has nothing to do.
            ledger.flush()
            counts = summary.counts()
            if counts != counted:
                ledger.record_counts(counts)
                counted = counts
            if self._clock.monotonic() - recovered_at >= RECOVER_EVERY_S:
                recovered_at = self._clock.monotonic()
                if ledger.recover():
                    self._sync_now.set()
            if self._arrived.wait(IDLE_S):
                self._arrived.clear()
                self._clock.sleep(GATHER_S)
            yield Page()  # so that whoever reads can see whether to stop

    def _handed_on(self, named: Named) -> None:
        with self._waiting_lock:
            self._waiting[named.order_id] = named.received_at
            if len(self._waiting) > KEPT_WAITING:
                del self._waiting[next(iter(self._waiting))]

    def _skip_reason(self, context: Context) -> Callable[..., str]:
        skip = self._settings.orders.skip_statuses
        return partial(skip_reason, resolve_statuses(context.bigcommerce, skip))

    def _follow(self, reports: Generator[Report]) -> None:
        with closing(reports):
            for report in reports:
                self._note(report)

    def _note(self, report: Report) -> None:
        if report.disposition is Disposition.CLAIMED and self._policy.on_change:
            self._put_back(report.order_id)
        if report.disposition is Disposition.DELIVERED:
            self._troubles.clear()  # both services took what we gave them
        self._observe(report, self._waited_s(report))

    def _put_back(self, order_id: int) -> None:
        """Another version of it is being sent: whether this one is to be sent, too, shows then.
        It is in the inbox still, unless it was claimed after it had been entered.
        """
        if self._inbox.find(order_id) is None:
            self._inbox.put(order_id, after=CLAIMED_RETRY_AFTER[0]).result()

    def _waited_s(self, report: Report) -> float | None:
        """How long ago its callback came, if one named it."""
        with self._waiting_lock:
            received_at = self._waiting.get(report.order_id)
            if report.disposition not in _NOT_THE_END:
                self._waiting.pop(report.order_id, None)
        return None if received_at is None else (self._clock.now() - received_at).total_seconds()

    # The safety net

    def _sync(self) -> None:
        """One sync, and the wait for the next."""
        every_s = self._settings.receiver.sync_every.total_seconds()
        context = make_context(self._settings, self._clients, self._clock, self._policy)
        skip = resolve_statuses(context.bigcommerce, self._settings.orders.skip_statuses)
        self._sync_now.clear()
        try:
            self._follow(self._catch_up(context, skip))
            self._troubles.clear()  # whatever was owed went out
        except BusyError as error:
            _log.info("sync: %s", error)
            every_s = min(every_s, BUSY_WAIT_S) or BUSY_WAIT_S
        self._rest(every_s)

    def _catch_up(self, context: Context, skip: Collection[int]) -> Generator[Report]:
        """A sync; where only a person can say from when on, what is owed at least."""
        overlap, now = self._settings.sync.overlap, self._clock.now()
        try:
            plan = plan_sync(context.ledger, since=None, overlap=overlap, now=now)
        except InputError as error:
            _log.warning("sync: %s %s", error, error.hint)
            return send_owed(context, skip_status_ids=skip)
        return sync(context, plan, skip_status_ids=skip, callbacks=False)

    def _rest(self, every_s: float) -> None:
        """Until the next beat, or until something was left owed. Raises InterruptedRunError."""
        until = self._clock.monotonic() + every_s
        while not self._sync_now.wait(IDLE_S):
            if self._clock.stopping:
                raise InterruptedRunError("The receiver was asked to stop.")
            if every_s and self._clock.monotonic() >= until:
                return


def _where(error: BaseException) -> str:
    """Where a bug struck, without any value."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return ", ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
