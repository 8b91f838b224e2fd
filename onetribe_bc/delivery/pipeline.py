"""Deliver pages of orders with concurrent workers.

One thread fetches pages and records them in the ledger, workers claim and send their orders, and
the caller gets a report on each. The queue between them holds one page: fetching is one page ahead
of the workers, and memory does not grow with the number of orders.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial

from onetribe_bc.api.bigcommerce import PAGE_SIZE
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Page
from onetribe_bc.delivery.report import Report, Summary, unsent
from onetribe_bc.delivery.sender import Sender, Worker
from onetribe_bc.errors import InterruptedRunError
from onetribe_bc.ledger.ledger import Ledger, Seen
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.order import Order

SkipReason = Callable[[Order], str]
"""Returns why an order is not eligible; empty if it is."""

NOT_TRIED = "not tried: the run had stopped"
_FULL_S = 0.1
"""How often the fetcher checks for the end of the run while the queue is full."""

_EMPTY_S = 1.0
"""How often an idle worker checks whether the clock was stopped; other ends of the run wake it."""


def deliver_pages(
    pages: Iterable[Page],
    *,
    ledger: Ledger,
    sender: Sender,
    clock: Clock,
    skip_reason: SkipReason,
    limit: int | None = None,
) -> Generator[Report, None, None]:
    """Deliver the orders to send, at most `limit` of them; yield one report for each order.

    The error that ended the run early is raised after the last report, once everything in flight
    is settled: any error of `pages`, OneTribeUrlError, UnreachableError, LedgerError, BusyError,
    and InterruptedRunError if the clock is stopped.
    """
    pipeline = _Pipeline(ledger, sender, clock, skip_reason)
    try:
        yield from pipeline.run(pages, limit)
    finally:
        pipeline.stop()
    pipeline.raise_failure()


def preview_pages(
    pages: Iterable[Page], *, ledger: Ledger, skip_reason: SkipReason, limit: int | None = None
) -> Iterator[tuple[Report, Order | None]]:
    """Yield the reports that `deliver_pages` would start with, each with its order if there is
    one. Nothing is sent or written.
    """
    left = limit
    for page in pages:
        for report in (*_missing(page), *_unfetchable(page)):
            yield report, None
        seen = [Seen(order, skip_reason(order)) for order in page.orders]
        for item, decision in zip(seen, ledger.preview(seen), strict=True):
            if decision is not Disposition.TO_SEND:
                yield _report(ledger, item, decision), item.order
                continue
            yield Report(item.order.id, Disposition.TO_SEND), item.order
            left = None if left is None else left - 1
            if left == 0:
                return


class _Pipeline:
    """One fetcher and many workers, with a queue between them; reports go to the outbox."""

    def __init__(
        self, ledger: Ledger, sender: Sender, clock: Clock, skip_reason: SkipReason
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._clock = clock
        self._skip_reason = skip_reason
        self._fetched: queue.Queue[Order | None] = queue.Queue(PAGE_SIZE)
        self._outbox: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._failure_lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def run(self, pages: Iterable[Page], limit: int | None) -> Iterator[Report]:
        jobs = {"bc2ot-fetcher": partial(self._fetch, pages, limit)}
        for number in range(self._sender.workers):
            jobs[f"bc2ot-worker-{number}"] = partial(self._work, number)
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
        """Report orders that were queued just as the workers stopped."""
        while not self._fetched.empty():
            order = self._fetched.get_nowait()
            if order is not None:
                yield Report(order.id, Disposition.PENDING, NOT_TRIED)

    def stop(self) -> None:
        """Start nothing new, and wait for what is in flight."""
        self._end()
        for thread in self._threads:
            thread.join()

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
        """Start nothing new. Wake one idle worker; it ends, and wakes the next."""
        self._stopped.set()
        if self._fetched.empty():
            with suppress(queue.Full):
                self._fetched.put_nowait(None)

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
                if page.unfetchable:
                    self._ledger.inbox.defer(page.unfetchable)
                for report in _unfetchable(page):
                    self._outbox.put(report)
                left = self._record(list(page.orders), left)
                if left == 0 or self._halted():
                    break
        finally:
            self._put(None)

    def _record(self, orders: list[Order], left: int | None) -> int | None:
        """Record orders and queue those to send, at most `left`; return how many are left."""
        while orders and left != 0 and not self._halted():
            chunk, orders = (orders, []) if left is None else (orders[:left], orders[left:])
            seen = [Seen(order, self._skip_reason(order)) for order in chunk]
            for item, decision in zip(seen, self._ledger.record(seen), strict=True):
                if decision is not Disposition.TO_SEND:
                    self._outbox.put(_report(self._ledger, item, decision))
                    continue
                left = None if left is None else left - 1
                if not self._put(item.order):
                    self._not_tried(item.order)
        return left

    def _put(self, order: Order | None) -> bool:
        """Queue an order, unless the run ends while the queue is full. None ends the workers."""
        while not self._halted():
            try:
                self._fetched.put(order, timeout=_FULL_S)
            except queue.Full:
                continue
            return True
        self._end()
        return False

    # The workers

    def _work(self, number: int) -> None:
        worker = Worker(self._sender, number, self._clock, self._outbox.put)
        try:
            while (order := self._take(worker)) is not None:
                if self._halted():
                    self._not_tried(order)
                    continue
                worker.deliver(order)
                if self._sender.stopped is not None:
                    self._fail(self._sender.stopped)
        except BaseException as error:
            self._fail(error)  # before `finish` waits for the ledger
            raise
        finally:
            worker.finish()
            self._end_next()

    def _take(self, worker: Worker) -> Order | None:
        """Return the next order; if none is queued, settle the last one and wait."""
        with suppress(queue.Empty):
            return self._fetched.get_nowait()
        worker.settle()
        while True:
            try:
                return self._fetched.get(timeout=0 if self._halted() else _EMPTY_S)
            except queue.Empty:
                if self._halted():
                    return None

    def _end_next(self) -> None:
        """Wake the next worker, so that it ends, too."""
        with suppress(queue.Full):
            self._fetched.put_nowait(None)


def _missing(page: Page) -> Iterator[Report]:
    for order_id in page.missing:
        yield Report(order_id, Disposition.MISSING, "BigCommerce has no such order")


def _unfetchable(page: Page) -> Iterator[Report]:
    for order_id, reason in page.unfetchable:
        yield Report(order_id, Disposition.PENDING, reason)


def _report(ledger: Ledger, item: Seen, decision: Disposition) -> Report:
    if decision in (Disposition.HELD, Disposition.PENDING):
        return unsent(item.order.id, decision, ledger.entry(item.order.id))
    return Report(item.order.id, decision, item.skip_reason)


COUNTED_EVERY = 500
"""The run's counts are stored whenever this many orders are done, for `status`."""


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
    """Deliver the orders on the pages; yield a report on each as it is settled.

    Close it to end the run early: requests in flight are finished. Counts are added to `summary`.
    With `exclusive`, raises BusyError while another exclusive run holds the store. Raises what
    `deliver_pages` raises, after the last report.
    """
    summary = Summary() if summary is None else summary
    with context.ledger.run(command, exclusive=exclusive):
        reports = deliver_pages(
            pages,
            ledger=context.ledger,
            sender=context.sender,
            clock=context.clock,
            skip_reason=skip_reason,
            limit=limit,
        )
        try:
            # Close it before the run ends, even if the caller stops reading: no worker outlives it.
            with closing(reports):
                for report in reports:
                    summary.add(report)
                    if summary.seen % COUNTED_EVERY == 0:
                        context.ledger.record_counts(summary.counts())
                    yield report
        finally:
            context.ledger.record_counts(summary.counts())
