"""From pages of orders to deliveries, by many workers at once.

One thread fetches pages and enters them in the ledger, one claims orders ahead, the workers
send; whoever iterates gets a report on every order. The first queue holds one page, so that
fetching is one page ahead of the workers and memory does not grow with the number of orders.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import TypeVar

from onetribe_bc.api.bigcommerce import PAGE_SIZE
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Page
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.sender import Sender
from onetribe_bc.errors import Bc2otError, InterruptedRunError
from onetribe_bc.ledger.ledger import Ledger, Seen
from onetribe_bc.ledger.states import Disposition, Entry
from onetribe_bc.order import Order

SkipReason = Callable[[Order], str]
"""Says why an order is not eligible, or nothing."""

NOT_TRIED = "not tried: the run stopped before"
_FULL_S = 0.1
"""How often a stage that waits for room looks whether the run has ended."""

_EMPTY_S = 1.0
"""How often one that waits for work looks whether the clock was stopped: any other end wakes it."""

T = TypeVar("T")


def deliver_pages(
    pages: Iterable[Page],
    *,
    ledger: Ledger,
    sender: Sender,
    clock: Clock,
    skip_reason: SkipReason,
    limit: int | None = None,
) -> Generator[Report, None, None]:
    """Deliver what is to be delivered, `limit` orders at the most; one report for each order.

    Whatever ends the run early is raised after the last report, when all is settled that was
    under way: what `pages` raises, OneTribeUrlError, UnreachableError, LedgerError, BusyError, and
    InterruptedRunError when the clock is told to stop.
    """
    pipeline = _Pipeline(ledger, sender, clock, skip_reason)
    try:
        yield from pipeline.run(pages, limit)
    finally:
        pipeline.stop()
    ledger.flush()
    pipeline.raise_failure()


def preview_pages(
    pages: Iterable[Page], *, ledger: Ledger, skip_reason: SkipReason, limit: int | None = None
) -> Iterator[tuple[Report, Order | None]]:
    """The reports that `deliver_pages` would begin with, each with its order where there is
    one; nothing is sent or written.
    """
    left = limit
    for page in pages:
        for report in _missing(page):
            yield report, None
        seen = [Seen(order, skip_reason(order)) for order in page.orders]
        for item, decision in zip(seen, ledger.preview(seen), strict=True):
            if decision is not Disposition.TO_SEND:
                yield _report(item, decision), item.order
                continue
            yield Report(item.order.id, Disposition.TO_SEND), item.order
            left = None if left is None else left - 1
            if left == 0:
                return


class _Pipeline:
    """One fetcher, one claimer, many workers; a queue between two stages, reports to the outbox.

    Claiming ahead hides what a durable claim costs: a worker that has sent one order finds the
    next one claimed. What was claimed and not sent when the run ends is given back.
    """

    def __init__(
        self, ledger: Ledger, sender: Sender, clock: Clock, skip_reason: SkipReason
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._clock = clock
        self._skip_reason = skip_reason
        self._ahead = max(1, sender.workers // 2)
        self._fetched: queue.Queue[Order | None] = queue.Queue(PAGE_SIZE)
        self._claimed: queue.Queue[tuple[Order, Entry] | None] = queue.Queue(self._ahead)
        self._outbox: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._failure_lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def run(self, pages: Iterable[Page], limit: int | None) -> Iterator[Report]:
        jobs = {"bc2ot-fetcher": partial(self._fetch, pages, limit), "bc2ot-claimer": self._claim}
        for worker in range(self._sender.workers):
            jobs[f"bc2ot-worker-{worker}"] = partial(self._deliver, worker)
        for name, job in jobs.items():
            thread = threading.Thread(target=self._guard, args=(job,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        ended = 0
        while ended < len(jobs):
            report = self._outbox.get()
            if report is None:
                ended += 1
            else:
                yield report
        yield from self._leftovers()

    def _leftovers(self) -> Iterator[Report]:
        """What was put into a queue in the moment that the other side saw the run end."""
        while not self._claimed.empty():
            item = self._claimed.get_nowait()
            if item is not None:
                self._sender.release(item[1])
                yield Report(item[0].id, Disposition.PENDING, NOT_TRIED)
        while not self._fetched.empty():
            order = self._fetched.get_nowait()
            if order is not None:
                yield Report(order.id, Disposition.PENDING, NOT_TRIED)

    def stop(self) -> None:
        """Take in nothing new, and wait for what is under way."""
        self._end()
        for thread in self._threads:
            thread.join()
        for _ in self._leftovers():
            pass  # nobody listens any more

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._clock.stopping:
            raise InterruptedRunError("The run was interrupted.")

    def _guard(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again by raise_failure
            self._fail(error)
        finally:
            self._outbox.put(None)

    def _fail(self, error: BaseException) -> None:
        with self._failure_lock:
            self._failure = self._failure or error
        self._end()

    def _end(self) -> None:
        """Take in nothing new. Of those that wait for work at a queue one is woken, and ends,
        and wakes the next.
        """
        self._stopped.set()
        for queue_ in (self._fetched, self._claimed):
            if queue_.empty():
                with suppress(queue.Full):
                    queue_.put_nowait(None)

    def _halted(self) -> bool:
        return self._stopped.is_set() or self._clock.stopping

    def _not_tried(self, order: Order) -> None:
        self._outbox.put(Report(order.id, Disposition.PENDING, NOT_TRIED))

    # The fetcher

    def _fetch(self, pages: Iterable[Page], limit: int | None) -> None:
        try:
            left = limit
            for page in pages:
                for report in _missing(page):
                    self._ledger.mark_gone(report.order_id)
                    self._outbox.put(report)
                left = self._enlist(list(page.orders), left)
                if left == 0 or self._halted():
                    break
        finally:
            self._put(self._fetched, None)

    def _enlist(self, orders: list[Order], left: int | None) -> int | None:
        """Enter orders and hand on those to be sent; never more of them than `left`."""
        while orders and left != 0 and not self._halted():
            chunk, orders = (orders, []) if left is None else (orders[:left], orders[left:])
            seen = [Seen(order, self._skip_reason(order)) for order in chunk]
            for item, decision in zip(seen, self._ledger.record(seen), strict=True):
                if decision is not Disposition.TO_SEND:
                    self._outbox.put(_report(item, decision))
                    continue
                left = None if left is None else left - 1
                if not self._put(self._fetched, item.order):
                    self._not_tried(item.order)
        return left

    # The claimer

    def _claim(self) -> None:
        try:
            while orders := self._take_some():
                if self._halted():
                    for order in orders:
                        self._not_tried(order)
                    continue
                try:
                    claims = self._ledger.claim(orders)
                except Bc2otError:
                    for order in orders:
                        self._not_tried(order)
                    raise
                for order, (entry, decision) in zip(orders, claims, strict=True):
                    if decision is not Disposition.TO_SEND:
                        self._outbox.put(Report(order.id, decision, entry.reason))
                    elif not self._put(self._claimed, (order, entry)):
                        self._sender.release(entry)
                        self._not_tried(order)
        finally:
            for _ in range(self._sender.workers):
                self._put(self._claimed, None)

    def _take_some(self) -> list[Order]:
        """The next orders, as many as are there at once; none at the end."""
        order = self._take(self._fetched)
        orders: list[Order] = []
        while order is not None:
            orders.append(order)
            if len(orders) == self._ahead or self._fetched.empty():
                break
            order = self._fetched.get_nowait()
            if order is None:
                self._fetched.put(None)
        return orders

    # The workers

    def _deliver(self, worker: int) -> None:
        while (item := self._take(self._claimed)) is not None:
            order, claimed = item
            try:
                if self._halted():
                    self._sender.release(claimed)
                    self._not_tried(order)
                    continue
                report = self._sender.deliver(order, claimed, worker)
            except BaseException as error:  # noqa: BLE001 - raised again by raise_failure
                # Only our own errors are free of values that may be secret.
                reason = str(error) if isinstance(error, Bc2otError) else type(error).__name__
                report = Report(order.id, Disposition.PENDING, reason)
                self._fail(error)
            self._outbox.put(report)
            if self._sender.stopped is not None:
                self._fail(self._sender.stopped)

    # The queues

    def _put(self, queue_: queue.Queue[T], item: T) -> bool:
        """Into the queue, unless the run ends while it is full. The other side never misses its
        end: when the run ends, it looks for that itself.
        """
        while not self._halted():
            try:
                queue_.put(item, timeout=_FULL_S)
            except queue.Full:
                continue
            return True
        self._end()
        return False

    def _take(self, queue_: queue.Queue[T | None]) -> T | None:
        while True:
            try:
                item = queue_.get(timeout=0 if self._halted() else _EMPTY_S)
            except queue.Empty:
                if not self._halted():
                    continue
                item = None
            if item is None and self._halted():
                self._end()
            return item


def _missing(page: Page) -> Iterator[Report]:
    for order_id in page.missing:
        yield Report(order_id, Disposition.MISSING, "BigCommerce has no such order")


def _report(item: Seen, decision: Disposition) -> Report:
    return Report(item.order.id, decision, item.skip_reason)


COUNTED_EVERY = 500
"""After so many orders the ledger is told how far the run has come, for `status`."""


def run(
    context: Context,
    command: str,
    pages: Iterable[Page],
    *,
    skip_reason: SkipReason,
    exclusive: bool,
    limit: int | None = None,
    summary: Summary | None = None,
) -> Generator[Report, None, None]:
    """Deliver what is on the pages; yields a report on each order as it is settled. Close it
    to end the run early: what is in flight is finished. `summary`, an empty one, is counted in.

    With `exclusive`, raises BusyError at once while another exclusive run holds the store.
    Raises what `deliver_pages` raises after the last report.
    """
    summary = Summary() if summary is None else summary
    with context.ledger.run(command, workers=context.sender.workers, exclusive=exclusive):
        reports = deliver_pages(
            pages,
            ledger=context.ledger,
            sender=context.sender,
            clock=context.clock,
            skip_reason=skip_reason,
            limit=limit,
        )
        try:
            # Closed before the run ends, should our reader turn away: no worker outlives its run.
            with closing(reports):
                for report in reports:
                    summary.add(report)
                    if summary.seen % COUNTED_EVERY == 0:
                        context.ledger.record_counts(summary.counts())
                    yield report
        finally:
            context.ledger.record_counts(summary.counts())
