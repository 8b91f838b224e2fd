"""The ledger of one store and one destination: what runs read and write.

Each call is one transaction, durable when it returns. None is held across an HTTP call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.ledger import entry as rules
from onetribe_bc.ledger.batch import Batcher
from onetribe_bc.ledger.database import Database
from onetribe_bc.ledger.entry import Decision, Entry, Outcome, Policy
from onetribe_bc.ledger.rows import Rows, Settlement
from onetribe_bc.ledger.run_log import LiveRun, RunLog
from onetribe_bc.order import Order


@dataclass(frozen=True, slots=True)
class Seen:
    """An order that a run came across; `skip_reason` says why it is not eligible, if so."""

    order: Order
    skip_reason: str = ""


class Book:
    """One store's orders at one destination, for one run at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        store_hash: str,
        destination: str,
        policy: Policy | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rows = Rows(store_hash=store_hash, destination=destination)
        self._batcher = Batcher(database, self._rows)
        self.policy = policy or Policy()
        """What this run may send."""
        self._log = RunLog(database, self._rows, clock)
        self._live: LiveRun
        self._failure: BaseException | None = None
        self.store_hash = store_hash

    # Runs

    @contextmanager
    def run(self, command: str, *, workers: int = 1, exclusive: bool = False) -> Iterator[None]:
        """Be a run of so many workers, numbered from 0, that send and settle orders.

        What dead runs had claimed is taken over first. With `exclusive`, hold the store: a
        second such run raises BusyError.
        """
        with self._log.run(command, workers=workers, exclusive=exclusive) as self._live:
            yield

    def take_over(self) -> list[int]:
        """Settle what dead runs had claimed, and return the ids; each run begins with that."""
        return self._log.take_over()

    def record_counts(self, counts: Mapping[str, int]) -> None:
        """Keep the run's tally: seen, delivered, skipped, failed, unknown."""
        self._log.count(self._live.id, counts)

    # Orders

    def enlist(self, page: Sequence[Seen]) -> list[Decision]:
        """Take note of a page of orders, and say of each what is to become of it."""
        return self._database.do(lambda c: self._enlist(c, page))

    def _enlist(self, connection: sa.Connection, page: Sequence[Seen]) -> list[Decision]:
        now = self._clock.now()
        known = self._rows.entries(connection, [seen.order.id for seen in page])
        decisions: list[Decision] = []
        changed: list[Entry] = []
        for seen in page:
            before = known.get(seen.order.id)
            after, decision = rules.enlist(before, seen.order, seen.skip_reason, self.policy, now)
            decisions.append(decision)
            if after != before:
                changed.append(after)
                known[seen.order.id] = after
        self._rows.write(connection, changed)
        return decisions

    def preview(self, page: Sequence[Seen]) -> list[Decision]:
        """What `enlist` would say, without writing anything."""

        def work(connection: sa.Connection) -> list[Decision]:
            now = self._clock.now()
            known = self._rows.entries(connection, [seen.order.id for seen in page])
            return [
                rules.enlist(known.get(s.order.id), s.order, s.skip_reason, self.policy, now)[1]
                for s in page
            ]

        return self._database.do(work)

    def claim(self, orders: Sequence[Order]) -> list[tuple[Entry, Decision]]:
        """Take orders for sending: those with the decision SEND nobody else can have then."""
        waiting = [
            self._batcher.claim(order.id, partial(self._claim, order=order)) for order in orders
        ]
        return [claimed.result() for claimed in waiting]

    def _claim(self, entry: Entry, *, order: Order) -> tuple[Entry, Decision]:
        return rules.claim(entry, order, self.policy, self._live.id, self._clock.now())

    def release(self, claimed: Entry) -> None:
        """Give a claim back whose request never went out."""
        after = rules.settle(claimed, rules.RELEASED, self._clock.now())
        self._batcher.settle(Settlement(claimed, after, rules.RELEASED)).result()

    def sending(self, claimed: Entry, worker: int) -> None:
        """Say that the request of a claimed order goes out now, before it does.

        Raises LedgerError or BusyError when the worker's earlier outcome could not be written
        down: the order must not be sent then.
        """
        self._live.in_flight.sent(worker, claimed.order_id, claimed.attempts)

    def settle(
        self, claimed: Entry, outcome: Outcome, worker: int = 0
    ) -> tuple[Entry, Future[None]]:
        """Write down how the try ended; the future is done once that is durable.

        A worker need not wait for it before it sends its next order: until the ledger has the
        outcome, the run's record tells it. `flush` tells whether all went well.
        """
        self._live.in_flight.answered(worker, claimed.order_id, claimed.attempts, outcome)
        after = rules.settle(claimed, outcome, self._clock.now())
        written = self._batcher.settle(Settlement(claimed, after, outcome))
        self._live.in_flight.keep_until(worker, written)
        written.add_done_callback(self._note_failure)
        return after, written

    def flush(self) -> None:
        """Wait until all that was settled is durable. Raises LedgerError if any of it is not."""
        self._database.do(lambda _connection: None)
        if self._failure is not None:
            raise self._failure

    def _note_failure(self, written: Future[None]) -> None:
        self._failure = self._failure or written.exception()

    def lose(self, order_id: int) -> bool:
        """BigCommerce has no such order: an entry that was owed is gone. Whether there was one."""

        def work(connection: sa.Connection) -> bool:
            entry = self._rows.entries(connection, [order_id]).get(order_id)
            if entry is None:
                return False
            self._rows.write(connection, [rules.lose(entry, self._clock.now())])
            return True

        return self._database.do(work)
