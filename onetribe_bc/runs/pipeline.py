"""From pages of orders to deliveries, by many workers at once.

One thread fetches pages and enters them in the ledger; the workers deliver; whoever iterates
gets a report on every order. The queue in between holds one page, so that fetching is one page
ahead of the workers and memory does not grow with the number of orders.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from onetribe_bc.api.bigcommerce import PAGE_SIZE
from onetribe_bc.clock import Clock
from onetribe_bc.delivery import KIND_OF_DECISION, Courier, Kind, Report
from onetribe_bc.errors import InterruptedRunError
from onetribe_bc.fetching import Page
from onetribe_bc.ledger.book import Book, Seen
from onetribe_bc.ledger.entry import Decision
from onetribe_bc.order import Order

SkipReason = Callable[[Order], str]
"""Says why an order is not eligible, or nothing."""

NOT_TRIED = "not tried: the run stopped before"
_PUT_TIMEOUT_S = 0.1


def deliver_pages(
    pages: Iterable[Page],
    *,
    book: Book,
    courier: Courier,
    clock: Clock,
    skip_reason: SkipReason,
    limit: int | None = None,
) -> Iterator[Report]:
    """Deliver what is to be delivered, `limit` orders at the most; one report for each order.

    Whatever ends the run early is raised after the last report, when all is settled that was
    under way: what `pages` raises, AddressError, UnreachableError, LedgerError, BusyError, and
    InterruptedRunError when the clock is told to stop.
    """
    pipeline = _Pipeline(book, courier, clock, skip_reason)
    try:
        yield from pipeline.run(pages, limit)
    finally:
        pipeline.stop()
    book.flush()
    pipeline.raise_failure()


def preview_pages(
    pages: Iterable[Page], *, book: Book, skip_reason: SkipReason, limit: int | None = None
) -> Iterator[tuple[Report, Order | None]]:
    """The reports that `deliver_pages` would begin with, each with its order where there is
    one; nothing is sent or written.
    """
    left = limit
    for page in pages:
        for report in _missing(page):
            yield report, None
        seen = [Seen(order, skip_reason(order)) for order in page.orders]
        for item, decision in zip(seen, book.preview(seen), strict=True):
            if decision is not Decision.SEND:
                yield _report(item, decision), item.order
                continue
            yield Report(item.order.id, Kind.TO_SEND), item.order
            left = None if left is None else left - 1
            if left == 0:
                return


class _Pipeline:
    def __init__(self, book: Book, courier: Courier, clock: Clock, skip_reason: SkipReason) -> None:
        self._book = book
        self._courier = courier
        self._clock = clock
        self._skip_reason = skip_reason
        self._inbox: queue.Queue[Order | None] = queue.Queue(PAGE_SIZE)
        self._outbox: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._failure_lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def run(self, pages: Iterable[Page], limit: int | None) -> Iterator[Report]:
        workers = [partial(self._work, thread) for thread in range(self._courier.threads)]
        jobs = [lambda: self._feed(pages, limit), *workers]
        for number, job in enumerate(jobs):
            name = f"bc2ot-worker-{number}" if number else "bc2ot-fetcher"
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

    def stop(self) -> None:
        """Take in nothing new, and wait for what is under way."""
        self._stopped.set()
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
        self._stopped.set()

    def _halted(self) -> bool:
        return self._stopped.is_set() or self._clock.stopping

    # The fetcher

    def _feed(self, pages: Iterable[Page], limit: int | None) -> None:
        try:
            left = limit
            for page in pages:
                for report in _missing(page):
                    self._book.lose(report.order_id)
                    self._outbox.put(report)
                left = self._feed_orders(list(page.orders), left)
                if left == 0 or self._halted():
                    break
        finally:
            for _ in range(self._courier.threads):
                self._put(None)

    def _feed_orders(self, orders: list[Order], left: int | None) -> int | None:
        """Enter orders and hand on those to be sent; never more of them than `left`."""
        while orders and left != 0:
            chunk, orders = (orders, []) if left is None else (orders[:left], orders[left:])
            seen = [Seen(order, self._skip_reason(order)) for order in chunk]
            for item, decision in zip(seen, self._book.enlist(seen), strict=True):
                if decision is not Decision.SEND:
                    self._outbox.put(_report(item, decision))
                    continue
                left = None if left is None else left - 1
                if not self._put(item.order):
                    self._outbox.put(Report(item.order.id, Kind.PENDING, NOT_TRIED))
            if self._halted():
                break
        return left

    def _put(self, item: Order | None) -> bool:
        """Into the queue, unless the run ends while it is full. Workers never miss their end:
        when the run ends they look for it themselves.
        """
        while not self._halted():
            try:
                self._inbox.put(item, timeout=_PUT_TIMEOUT_S)
            except queue.Full:
                continue
            return True
        return False

    # The workers

    def _work(self, thread: int) -> None:
        while (order := self._take()) is not None:
            if self._halted():
                self._outbox.put(Report(order.id, Kind.PENDING, NOT_TRIED))
                continue
            try:
                report = self._courier.deliver(order, thread)
            except BaseException as error:  # noqa: BLE001 - raised again by raise_failure
                report = Report(order.id, Kind.PENDING, str(error))
                self._fail(error)
            self._outbox.put(report)
            if self._courier.stopped is not None:
                self._fail(self._courier.stopped)

    def _take(self) -> Order | None:
        while True:
            try:
                return self._inbox.get(timeout=_PUT_TIMEOUT_S)
            except queue.Empty:
                if self._halted():
                    return None


def _missing(page: Page) -> Iterator[Report]:
    for order_id in page.missing:
        yield Report(order_id, Kind.MISSING, "BigCommerce has no such order")


def _report(item: Seen, decision: Decision) -> Report:
    return Report(item.order.id, KIND_OF_DECISION[decision], item.skip_reason)
