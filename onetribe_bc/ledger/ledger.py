"""The ledger of one store and one destination: what runs read and write.

Each call is one transaction, durable when it returns. None is held across an HTTP call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.ledger import schema
from onetribe_bc.ledger import states as rules
from onetribe_bc.ledger.batch import Batcher
from onetribe_bc.ledger.dialects import upsert
from onetribe_bc.ledger.inbox import Inbox
from onetribe_bc.ledger.locks import Locks
from onetribe_bc.ledger.rows import Attempt, Rows, Settlement
from onetribe_bc.ledger.runs import LiveRun, RunLog
from onetribe_bc.ledger.states import Disposition, Entry, Outcome, Policy, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.order import Order

OWED = (State.PENDING, State.SENDING, State.UNKNOWN)
"""The states of orders that a later run has to do something about."""

_PAGE = 1000
_ORDERS = schema.orders.c


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the ledger has it. `ended_at` is None while it runs, or if it was killed (as
    `outcome` says then) and no later run has noticed.
    """

    id: str
    command: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    seen: int
    delivered: int
    skipped: int
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where `sync` is: it began at `begins_at` and has seen all changes up to `synced_until`."""

    begins_at: datetime
    synced_until: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """Where all orders stand. `callbacks_waiting` counts orders that a callback named and nobody
    has looked at since, `oldest_owed_at` is when the longest owed one was first seen,
    `last_sync_at` when a sync last ended well, `synced_until` up to when it had seen all changes.
    """

    states: Mapping[State, int]
    skipped_reasons: Mapping[str, int]
    possible_duplicates: int
    callbacks_waiting: int
    oldest_owed_at: datetime | None
    last_delivered_at: datetime | None
    last_sync_at: datetime | None
    synced_until: datetime | None
    runs: Sequence[Run]

    @property
    def owed(self) -> int:
        """How many orders a later run has to do something about."""
        return sum(self.states.get(state, 0) for state in OWED)


@dataclass(frozen=True, slots=True)
class Seen:
    """An order that a run came across; `skip_reason` says why it is not eligible, if so."""

    order: Order
    skip_reason: str = ""


class Ledger:
    """One store's orders at one destination, for one run at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        *,
        store_hash: str,
        destination: str,
        policy: Policy | None = None,
    ) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._rows = Rows(store_hash=store_hash, destination=destination)
        self._batcher = Batcher(database, self._rows)
        self.policy = policy or Policy()
        """What this run may send."""
        self._log = RunLog(database, self._rows, self._clock)
        self._live: LiveRun
        self._failure: BaseException | None = None
        self._locks = Locks(database.path)
        self.inbox = Inbox(database, self._clock, store_hash=store_hash, destination=destination)
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

    def recover(self) -> list[int]:
        """Settle what dead runs had claimed, and return the ids; each run begins with that."""
        return self._log.recover()

    def record_counts(self, counts: Mapping[str, int]) -> None:
        """Keep the run's summary: seen, delivered, skipped, failed, unknown."""
        self._log.count(self._live.id, counts)

    # Orders

    def record(self, page: Sequence[Seen]) -> list[Disposition]:
        """Take note of a page of orders, and say of each what is to become of it."""
        return self._database.do(lambda c: self._enlist(c, page))

    def _enlist(self, connection: sa.Connection, page: Sequence[Seen]) -> list[Disposition]:
        now = self._clock.now()
        known = self._rows.entries(connection, [seen.order.id for seen in page])
        decisions: list[Disposition] = []
        changed: list[Entry] = []
        for seen in page:
            before = known.get(seen.order.id)
            after, decision = rules.record(before, seen.order, seen.skip_reason, self.policy, now)
            decisions.append(decision)
            if after != before:
                changed.append(after)
                known[seen.order.id] = after
        self._rows.write(connection, changed)
        return decisions

    def preview(self, page: Sequence[Seen]) -> list[Disposition]:
        """What `record` would say, without writing anything."""

        def work(connection: sa.Connection) -> list[Disposition]:
            now = self._clock.now()
            known = self._rows.entries(connection, [seen.order.id for seen in page])
            return [
                rules.record(known.get(s.order.id), s.order, s.skip_reason, self.policy, now)[1]
                for s in page
            ]

        return self._database.do(work)

    def claim(self, orders: Sequence[Order]) -> list[tuple[Entry, Disposition]]:
        """Take orders for sending: those with the decision SEND nobody else can have then."""
        waiting = [
            self._batcher.claim(order.id, partial(self._claim, order=order)) for order in orders
        ]
        return [claimed.result() for claimed in waiting]

    def _claim(self, entry: Entry, *, order: Order) -> tuple[Entry, Disposition]:
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

    def mark_gone(self, order_id: int) -> bool:
        """BigCommerce has no such order: an entry that was owed is gone. Whether there was one."""

        def work(connection: sa.Connection) -> bool:
            entry = self._rows.entries(connection, [order_id]).get(order_id)
            if entry is None:
                return False
            self._rows.write(connection, [rules.mark_gone(entry, self._clock.now())])
            return True

        return self._database.do(work)

    # Questions

    def status(self, *, runs: int = 5, wait_s: float | None = None) -> Status:
        """All of it, as of one moment, with the last few runs, the newest first. Raises
        LedgerError and BusyError, the latter also when the ledger does not answer in `wait_s`.
        """
        return self._database.do(lambda c: self._status(c, runs), wait_s=wait_s)

    def _status(self, connection: sa.Connection, runs: int) -> Status:
        mine = self._rows.of(schema.orders)
        states = sa.select(_ORDERS.state, sa.func.count()).where(mine).group_by(_ORDERS.state)
        reasons = (
            sa.select(_ORDERS.reason, sa.func.count())
            .where(mine, _ORDERS.state == State.SKIPPED)
            .group_by(_ORDERS.reason)
        )
        duplicates = sa.select(sa.func.sum(_ORDERS.arrivals - 1)).where(mine, _ORDERS.arrivals > 1)
        waiting = (
            sa.select(sa.func.count())
            .select_from(schema.callbacks)
            .where(self._rows.of(schema.callbacks))
        )
        oldest = sa.select(sa.func.min(_ORDERS.first_seen_at)).where(mine, _ORDERS.state.in_(OWED))
        newest = sa.select(sa.func.max(_ORDERS.delivered_at)).where(mine)
        last_sync = sa.select(sa.func.max(schema.runs.c.ended_at)).where(
            self._rows.of(schema.runs),
            schema.runs.c.command == "sync",
            schema.runs.c.outcome == "done",
        )
        last_runs = (
            sa.select(*(schema.runs.c[field.name] for field in fields(Run)))
            .where(self._rows.of(schema.runs))
            .order_by(schema.runs.c.started_at.desc(), schema.runs.c.id)
            .limit(runs)
        )
        bookmark = self._bookmark(connection)
        return Status(
            states={State(row[0]): row[1] for row in connection.execute(states)},
            skipped_reasons={row[0]: row[1] for row in connection.execute(reasons)},
            possible_duplicates=connection.execute(duplicates).scalar() or 0,
            callbacks_waiting=connection.execute(waiting).scalar_one(),
            oldest_owed_at=connection.execute(oldest).scalar(),
            last_delivered_at=connection.execute(newest).scalar(),
            last_sync_at=connection.execute(last_sync).scalar(),
            synced_until=None if bookmark is None else bookmark.synced_until,
            runs=[self._run(**row) for row in connection.execute(last_runs).mappings()],
        )

    def _run(self, **row: Any) -> Run:
        run = Run(**row)
        killed = run.ended_at is None and not self._locks.lives(run.id)
        return replace(run, outcome="killed") if killed else run

    def entry(self, order_id: int) -> Entry | None:
        """What is known of one order."""
        return self._database.do(lambda c: self._rows.entries(c, [order_id])).get(order_id)

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """What is known of some orders; those not known are left out."""
        return self._database.do(lambda c: self._rows.entries(c, ids))

    def attempts(self, order_id: int) -> list[Attempt]:
        """Every try at one order, oldest first."""
        return self._database.do(lambda c: self._rows.attempts(c, order_id))

    def iter_entries(self, states: Collection[State] = ()) -> Iterator[Entry]:
        """All entries, or those in some states, by id; read page by page."""
        after = 0
        while True:
            page = self._database.do(partial(self._page, after, states))
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].order_id

    def _page(
        self, after: int, states: Collection[State], connection: sa.Connection
    ) -> list[Entry]:
        return self._rows.page(connection, after, states, _PAGE)

    def known_elsewhere(self) -> int:
        """How many orders of this store the ledger knows at other One Tribe addresses."""
        key = self._rows.key
        query = (
            sa.select(sa.func.count())
            .select_from(schema.orders)
            .where(
                _ORDERS.store_hash == key["store_hash"], _ORDERS.destination != key["destination"]
            )
        )
        return self._database.do(lambda c: c.execute(query).scalar()) or 0

    def bookmark(self) -> Bookmark | None:
        """Where `sync` is; None before the first one."""
        return self._database.do(self._bookmark)

    def move_bookmark(self, bookmark: Bookmark, *, present: datetime) -> None:
        """Everything that changed between the two is in the ledger.

        It never goes back, unless a clock that was wrong had set it beyond the `present`.
        """

        def work(connection: sa.Connection) -> None:
            begins_at, synced_until = bookmark.begins_at, bookmark.synced_until
            before = self._bookmark(connection)
            if before is not None:
                begins_at = min(begins_at, before.begins_at)
                synced_until = max(synced_until, min(before.synced_until, present))
            row = {**self._rows.key, "begins_at": begins_at, "synced_until": synced_until}
            connection.execute(_SET_BOOKMARK[connection.dialect.name], row)

        self._database.do(work)

    def _bookmark(self, connection: sa.Connection) -> Bookmark | None:
        table = schema.bookmarks
        query = sa.select(table.c.begins_at, table.c.synced_until).where(self._rows.of(table))
        found = connection.execute(query).one_or_none()
        return None if found is None else Bookmark(*found)


_SET_BOOKMARK = upsert(schema.bookmarks)
