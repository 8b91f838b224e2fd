"""The ledger of one store and one destination: what the rest of bc2ot reads and writes.

Each change is one transaction, durable when the call returns; none spans an HTTP request. Reads
use a connection of their own: they neither wait for changes nor hold them up.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger import inbox, meta, orders, runs, schema
from onetribe_bc.ledger.engine import LiveRun, Transaction, upsert
from onetribe_bc.ledger.inbox import Inbox
from onetribe_bc.ledger.listing import EVERY, EntryFilter, page_query
from onetribe_bc.ledger.orders import Attempt, Key, Seen, Settlement, Step, StepRequest, of
from onetribe_bc.ledger.runs import Run
from onetribe_bc.ledger.states import OWED, Disposition, Entry, Gap, Policy, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.order import Order

__all__ = [
    "Attempt",
    "Bookmark",
    "Database",
    "Ledger",
    "Run",
    "Seen",
    "Settlement",
    "Status",
    "Step",
]

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where `sync` is: it began at `begins_at` and has seen all changes up to `synced_until`."""

    begins_at: datetime
    synced_until: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """Where all orders stand. `callbacks_waiting` counts the orders in the inbox,
    `oldest_owed_at` is when the longest owed order was first seen, `last_sync_at` when a sync
    last succeeded, `synced_until` up to when it had seen all changes.
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
        self._key = Key(store_hash.lower(), destination)
        self._run_id = ""
        self._live: LiveRun
        self._gap: Gap | None = None
        self.policy = policy or Policy()
        """What this run may send."""
        self.inbox = Inbox(database, self._clock, self._key)
        self.store_hash = self._key.store_hash
        self.destination = destination

    # Runs

    @contextmanager
    def run(self, command: str, *, exclusive: bool = False) -> Iterator[None]:
        """Register a run, recover the claims of dead ones, and end it on exit.

        With `exclusive`, hold the store: a second such run raises BusyError. Raises LedgerError
        if the ledger is an older copy of what it was.
        """
        run_id = secrets.token_hex(8)
        with self._database.engine.live(run_id) as live:
            self.recover()
            try:
                self._database.do(partial(self._start, run_id, command, live, exclusive=exclusive))
            except BusyError:
                live.clean = True
                raise
            self._run_id, self._live = run_id, live
            outcome = "done"
            try:
                yield
            except BaseException as error:
                outcome = runs.why(error)
                raise
            finally:
                now = self._clock.now()
                live.clean = self._database.do(lambda t: runs.end(t, run_id, outcome, now))

    def _start(
        self,
        run_id: str,
        command: str,
        live: LiveRun,
        transaction: Transaction,
        *,
        exclusive: bool,
    ) -> None:
        meta.check_moved(transaction, self._database.engine.label)  # since it was opened
        self._refuse_older_copy(transaction)
        self._gap = _gap(transaction)
        now = self._clock.now()
        runs.start(transaction, self._key, run_id, command, now, exclusive=exclusive)
        live.begin(transaction)

    def check_newest(self) -> None:
        """Raise LedgerError if the ledger is an older copy of what it was."""
        self._database.read(self._refuse_older_copy)

    def _refuse_older_copy(self, transaction: Transaction) -> None:
        if (missing := self._missing(transaction)) is None:
            return
        known, until = missing
        since = "an unknown time" if known is None else f"{known:%F %T} UTC"
        raise LedgerError(
            f"The ledger {self._database.engine.label} is an older copy: it misses what was sent "
            f"from {since} to {until:%F %T} UTC.",
            hint="Put the newer file back. Without one: bc2ot ledger accept. Orders of that "
            "period are then sent again where the ledger does not know them, and flagged.",
        )

    def recover(self) -> list[int]:
        """Settle what dead runs had claimed; return the ids of this store's orders among it."""
        found = runs.recover(self._database, self._clock.now())
        return [order_id for key, order_id in found if key == self._key]

    def record_counts(self, counts: Mapping[str, int]) -> None:
        """Store the run's summary: seen, delivered, skipped, failed, unknown."""
        self._database.do(lambda transaction: runs.count(transaction, self._run_id, counts))

    def accept(self) -> Gap | None:
        """Go on with an older copy that was put back, and with runs that are not proven dead.

        What is sent of the missing period is a possible duplicate from now on. Returns the
        period, None if nothing is missing.
        """
        now = self._clock.now()
        runs.recover(self._database, now, accept=True)

        def work(transaction: Transaction) -> Gap | None:
            missing = self._missing(transaction)
            if missing is None:
                return None
            gap = Gap(now, missing[1])
            transaction.run(_SUSPECT, {})
            meta.write(transaction, gap_accepted_at=str(now), gap_until=str(gap.until))
            return gap

        return self._database.do(work)

    def _missing(self, transaction: Transaction) -> tuple[datetime | None, datetime] | None:
        """From when to when the ledger misses what was sent, if it is an older copy."""
        until = self._database.engine.last_claim()
        known: datetime | None = transaction.rows(_LAST_CLAIM)[0][0]
        gap = _gap(transaction)
        accepted = gap.until if gap is not None else None
        if until is None or any(at is not None and at >= until for at in (known, accepted)):
            return None
        return known, until

    # Orders

    def record(self, page: Sequence[Seen]) -> list[Disposition]:
        """Record a page of orders, and return what is to become of each."""
        now = self._clock.now()
        return self._database.do(
            lambda t: orders.record(t, self._key, page, self.policy, now, self._gap)
        )

    def preview(self, page: Sequence[Seen]) -> list[Disposition]:
        """Return what `record` would, without writing anything."""
        known = self.entries([seen.order.id for seen in page])
        return orders.decide(known, page, self.policy, self._clock.now(), None)[0]

    def step(
        self, worker: int, settle: Settlement | None = None, claim: Order | None = None
    ) -> Step:
        """Settle a worker's last order and claim its next, in one commit.

        A worker has at most one claim: it settles that before or while it claims another.
        """
        now = self._clock.now()
        request = StepRequest(self._key, self._run_id, worker, self.policy, now, settle, claim)
        step = self._database.submit(orders.step, request).result()
        if step.disposition is Disposition.TO_SEND:
            self._live.sent(now)
        return step

    def check_lease(self) -> None:
        """Raise BusyError if the run may no longer hold its claims. Called before each POST."""
        self._live.check()

    def mark_gone(self, order_id: int) -> bool:
        """Record that BigCommerce has no such order; whether the ledger knew it."""
        now = self._clock.now()
        return self._database.do(lambda t: orders.mark_gone(t, self._key, order_id, now))

    # Questions

    def held(self) -> int:
        """Return how many unknown orders wait for a person."""
        return sum(map(self.policy.holds, self.iter_entries((State.UNKNOWN,))))

    def status(self, *, runs: int = 5, wait_s: float | None = None) -> Status:
        """Return where all orders stand, with the last few runs, the newest first.

        Raises LedgerError; BusyError also if the ledger stays locked for `wait_s`.
        """
        return self._database.read(lambda t: self._status(t, runs), wait_s=wait_s)

    def _status(self, transaction: Transaction, limit: int) -> Status:
        of_this = self._key.values
        states: dict[State, int] = {}
        reasons: dict[str, int] = {}
        last_delivered_at = None
        for name, reason, number, latest in transaction.rows(_COUNTS, **of_this):
            state = State(name)
            if state is State.DELIVERED:
                last_delivered_at = latest
            if number:
                states[state] = states.get(state, 0) + number
                if state is State.SKIPPED:
                    reasons[reason] = number
        bookmark = _bookmark(transaction, self._key)
        return Status(
            states=states,
            skipped_reasons=reasons,
            possible_duplicates=transaction.rows(_DUPLICATES, **of_this)[0][0],
            callbacks_waiting=inbox.count(transaction, self._key),
            oldest_owed_at=transaction.rows(_OLDEST_OWED, **of_this)[0][0],
            last_delivered_at=last_delivered_at,
            last_sync_at=transaction.rows(_LAST_SYNC, **of_this)[0][0],
            synced_until=None if bookmark is None else bookmark.synced_until,
            runs=list(runs.last(transaction, self._database.engine, self._key, limit)),
        )

    def entry(self, order_id: int) -> Entry | None:
        """Return what is known of one order."""
        return self.entries([order_id]).get(order_id)

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """Return what is known of some orders; unknown ones are left out."""
        return self._database.read(lambda t: orders.read(t, self._key, ids))

    def attempts(self, order_id: int) -> list[Attempt]:
        """Return every attempt at one order, oldest first."""
        return self._database.read(lambda t: orders.history(t, self._key, order_id))

    def iter_entries(
        self, states: Collection[State] = (), matching: EntryFilter = EVERY
    ) -> Iterator[Entry]:
        """Yield all entries, or those in some states, by id; read page by page."""
        query = page_query(tuple(sorted(set(states))), tuple(matching.values))
        given = {**self._key.values, **matching.values, "after": 0, "limit": _PAGE}
        while True:
            page = self._database.read(lambda transaction: transaction.rows(query, **given))
            yield from filter(matching.matches, map(Entry._make, page))
            if len(page) < _PAGE:
                return
            given["after"] = page[-1][0]

    def known_elsewhere(self) -> int:
        """Return how many orders of this store the ledger knows for other One Tribe URLs."""
        return self._database.read(lambda t: t.rows(_ELSEWHERE, **self._key.values)[0][0]) or 0

    def check_writable(self, *, wait_s: float | None = None) -> None:
        """Write something, durably. Raises LedgerError, BusyError."""
        self._database.check_writable(wait_s=wait_s)

    # The bookmark

    def bookmark(self) -> Bookmark | None:
        """Return where `sync` is; None before the first one."""
        return self._database.read(lambda transaction: _bookmark(transaction, self._key))

    def move_bookmark(self, bookmark: Bookmark, *, present: datetime) -> None:
        """Note that everything that changed between the two times is in the ledger.

        It never goes back, unless a clock that was wrong had set it beyond the `present`.
        """

        def work(transaction: Transaction) -> None:
            begins_at, synced_until = bookmark.begins_at, bookmark.synced_until
            before = _bookmark(transaction, self._key)
            if before is not None:
                begins_at = min(begins_at, before.begins_at)
                synced_until = max(synced_until, min(before.synced_until, present))
            row = {**self._key.values, "begins_at": begins_at, "synced_until": synced_until}
            transaction.run(_SET_BOOKMARK, row)

        self._database.do(work)


def _bookmark(transaction: Transaction, key: Key) -> Bookmark | None:
    row = transaction.row(_BOOKMARK, **key.values)
    return None if row is None else Bookmark(*row)


def _gap(transaction: Transaction) -> Gap | None:
    """The period whose sendings somebody accepted to miss."""
    values = meta.read(transaction)
    if "gap_until" not in values:
        return None
    return Gap(*(datetime.fromisoformat(values[key]) for key in ("gap_accepted_at", "gap_until")))


_ORDERS = schema.orders.c
_COUNTS = (
    sa.select(
        schema.counts.c.state,
        schema.counts.c.reason,
        sa.cast(sa.func.sum(schema.counts.c.number), sa.BigInteger),
        sa.func.max(schema.counts.c.latest, type_=schema.Moment),
    )
    .where(of(schema.counts))
    .group_by(schema.counts.c.state, schema.counts.c.reason)
)
_LAST_CLAIM = sa.select(sa.func.max(schema.counts.c.latest, type_=schema.Moment)).where(
    schema.counts.c.state == State.SENDING.value
)
_ELSEWHERE = sa.select(sa.cast(sa.func.sum(schema.counts.c.number), sa.BigInteger)).where(
    schema.counts.c.store_hash == sa.bindparam("store_hash"),
    schema.counts.c.destination != sa.bindparam("destination"),
)
_DUPLICATES = sa.select(sa.func.coalesce(sa.func.sum(_ORDERS.arrivals - 1), 0)).where(
    of(schema.orders), schema.DUPLICATED
)
_OLDEST_OWED = sa.select(sa.func.min(_ORDERS.first_seen_at, type_=schema.Moment)).where(
    of(schema.orders), schema.UNDELIVERED, sa.or_(*(_ORDERS.state == s.value for s in OWED))
)
_LAST_SYNC = sa.select(sa.func.max(schema.runs.c.ended_at, type_=schema.Moment)).where(
    of(schema.runs), schema.runs.c.command == "sync", schema.runs.c.outcome == "done"
)
_BOOKMARK = sa.select(schema.bookmarks.c.begins_at, schema.bookmarks.c.synced_until).where(
    of(schema.bookmarks)
)
_SET_BOOKMARK = upsert(schema.bookmarks)
_SUSPECT = sa.update(schema.orders).where(schema.UNDELIVERED).values(arrivals=_ORDERS.arrivals + 1)
