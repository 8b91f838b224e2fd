"""The ledger of one store and one destination: what runs read and write.

Each call is one transaction, durable when it returns. None is held across an HTTP call.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.ledger import entry as rules
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.batch import Batcher
from onetribe_bc.ledger.database import Database
from onetribe_bc.ledger.entry import Decision, Entry, Outcome, Policy, State
from onetribe_bc.ledger.locks import Locks
from onetribe_bc.ledger.rows import Attempt, Rows, Settlement
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
        self._policy = policy or Policy()
        self._locks = Locks(database.path)
        self._run_id = ""
        self._failure: BaseException | None = None
        self.store_hash = store_hash

    # Runs

    @contextmanager
    def run(self, command: str, *, exclusive: bool = False) -> Iterator[str]:
        """Be a run: own claims until the end, and take over what dead runs left.

        With `exclusive`, hold the store: a second such run raises BusyError.
        """
        if exclusive:
            with self._locks.store(self.store_hash), self.run(command) as run_id:
                yield run_id
            return
        self._run_id = secrets.token_hex(8)
        lock = self._locks.take_run(self._run_id)
        try:
            self._start_run(command)
            self.take_over()
            outcome = "ended by a bug"
            try:
                yield self._run_id
                outcome = "done"
            except Exception as error:
                outcome = type(error).__name__
                raise
            finally:
                self._end_run(outcome)
        finally:
            self._locks.end_run(lock)

    def _start_run(self, command: str) -> None:
        row = {
            **self._rows.key,
            "id": self._run_id,
            "command": command,
            "started_at": self._clock.now(),
            "outcome": "running",
            **dict.fromkeys(("seen", "delivered", "skipped", "failed", "unknown"), 0),
        }
        self._database.do(lambda c: c.execute(sa.insert(schema.runs).values(row)))

    def _end_run(self, outcome: str) -> None:
        row = {"ended_at": self._clock.now(), "outcome": outcome}
        statement = sa.update(schema.runs).where(schema.runs.c.id == self._run_id).values(row)
        self._database.do(lambda c: c.execute(statement))

    def record_counts(self, counts: Mapping[str, int]) -> None:
        """Keep the run's tally: seen, delivered, skipped, failed, unknown."""
        statement = sa.update(schema.runs).where(schema.runs.c.id == self._run_id).values(**counts)
        self._database.do(lambda c: c.execute(statement))

    def take_over(self) -> list[int]:
        """Orders that dead runs were sending become unknown; returns their ids."""
        mine = self._rows.of(schema.orders)
        orders = schema.orders
        owners = self._database.do(
            lambda c: list(
                c.execute(
                    sa.select(orders.c.run_id)
                    .where(mine, orders.c.state == State.SENDING)
                    .distinct()
                ).scalars()
            )
        )
        dead = [
            run_id for run_id in owners if run_id != self._run_id and self._locks.is_dead(run_id)
        ]
        return self._database.do(lambda c: self._abandon(c, dead)) if dead else []

    def _abandon(self, connection: sa.Connection, dead: Sequence[str]) -> list[int]:
        now = self._clock.now()
        settlements = [
            Settlement(entry, rules.settle(entry, rules.ABANDONED, now), rules.ABANDONED)
            for entry in self._rows.sending_by(connection, dead)
        ]
        self._rows.write(connection, [one.after for one in settlements])
        self._rows.write_attempts(connection, settlements)
        runs = schema.runs
        connection.execute(
            sa.update(runs)
            .where(runs.c.id.in_(dead), runs.c.ended_at.is_(None))
            .values(ended_at=now, outcome="killed")
        )
        return [one.claimed.order_id for one in settlements]

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
            after, decision = rules.enlist(before, seen.order, seen.skip_reason, self._policy, now)
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
                rules.enlist(known.get(s.order.id), s.order, s.skip_reason, self._policy, now)[1]
                for s in page
            ]

        return self._database.do(work)

    def claim(self, order: Order) -> tuple[Entry, Decision]:
        """Take an order for sending, if the decision is SEND: nobody else can have it then."""

        def rule(entry: Entry) -> tuple[Entry, Decision]:
            return rules.claim(entry, order, self._policy, self._run_id, self._clock.now())

        return self._batcher.claim(order.id, rule).result()

    def settle(self, claimed: Entry, outcome: Outcome) -> tuple[Entry, Future[None]]:
        """Write down how the try ended; the future is done once that is durable.

        What is handed in later is never durable before it, so a worker need not wait for it
        before it claims its next order. `flush` tells whether all went well.
        """
        after = rules.settle(claimed, outcome, self._clock.now())
        written = self._batcher.settle(Settlement(claimed, after, outcome))
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

    # Questions

    def entry(self, order_id: int) -> Entry | None:
        """What is known of one order."""
        return self._database.do(lambda c: self._rows.entries(c, [order_id])).get(order_id)

    def attempts(self, order_id: int) -> list[Attempt]:
        """Every try at one order, oldest first."""
        return self._database.do(lambda c: self._rows.attempts(c, order_id))

    def counts(self) -> dict[State, int]:
        """How many orders are in each state; states without any are absent."""
        state = schema.orders.c.state
        query = (
            sa.select(state, sa.func.count()).where(self._rows.of(schema.orders)).group_by(state)
        )
        rows = self._database.do(lambda c: list(c.execute(query)))
        return {State(name): number for name, number in rows}

    def possible_duplicates(self) -> int:
        """How many copies beyond the first One Tribe may have, over all orders."""
        arrivals = schema.orders.c.arrivals
        query = sa.select(sa.func.sum(arrivals - 1)).where(
            self._rows.of(schema.orders), arrivals > 1
        )
        return self._database.do(lambda c: c.execute(query).scalar()) or 0
