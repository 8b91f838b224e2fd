"""Questions to the ledger about one store and destination: what is where, what is owed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from onetribe_bc.ledger import schema
from onetribe_bc.ledger.database import Database
from onetribe_bc.ledger.dialects import upsert
from onetribe_bc.ledger.entry import Entry, State
from onetribe_bc.ledger.locks import Locks
from onetribe_bc.ledger.rows import Attempt, Rows

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


class Inventory:
    """Reads the ledger; writes nothing but the bookmark."""

    def __init__(self, database: Database, *, store_hash: str, destination: str) -> None:
        self._database = database
        self._rows = Rows(store_hash=store_hash, destination=destination)
        self._locks = Locks(database.path)

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
