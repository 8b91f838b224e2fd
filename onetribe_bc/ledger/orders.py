"""Rows of orders and attempts, within a transaction: recorded, claimed and settled.

Rows are made, then locked in the order of their ids, then changed; an order is never overwritten
unseen. Each function may run twice, also after its first commit, with the same result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from onetribe_bc.ledger import schema
from onetribe_bc.ledger import states as rules
from onetribe_bc.ledger.engine import Row, Statement, Transaction, Values, in_each_dialect, within
from onetribe_bc.ledger.states import (
    ABANDONED,
    Disposition,
    Entry,
    Gap,
    Outcome,
    Policy,
    State,
)
from onetribe_bc.order import Order


@dataclass(frozen=True, slots=True)
class Key:
    """One store and One Tribe destination: what a ledger is about."""

    store_hash: str
    destination: str

    @property
    def values(self) -> dict[str, Any]:
        """Its columns."""
        return {"store_hash": self.store_hash, "destination": self.destination}


@dataclass(frozen=True, slots=True)
class Seen:
    """An order that a run came across; `skip_reason` says why it is not eligible, if so."""

    order: Order
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one attempt: the order as it was claimed, and the outcome."""

    claimed: Entry
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class StepRequest:
    """What one worker of a run wants written: see `Ledger.step`."""

    key: Key
    run_id: str
    worker: int
    policy: Policy
    now: datetime
    settle: Settlement | None
    claim: Order | None


@dataclass(frozen=True, slots=True)
class Step:
    """What a step wrote: the entry after its settlement, and the entry to claim: it is claimed if
    the disposition is TO_SEND.
    """

    settled: Entry | None = None
    entry: Entry | None = None
    disposition: Disposition | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at sending one order."""

    order_id: int
    number: int
    run_id: str
    started_at: datetime
    ended_at: datetime
    result: str
    reason: str
    sha256: str | None
    answer_status: int | None
    answer: str


def of(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that a row is of one store and destination: see `Key.values`."""
    return sa.and_(*(table.c[n] == sa.bindparam(n) for n in ("store_hash", "destination")))


_ORDERS = schema.orders.c
_ATTEMPTS = schema.attempts.c
_COLUMNS = Entry._fields
_NAMES = (*_COLUMNS, "store_hash", "destination")
_CHANGEABLE = tuple(name for name in _COLUMNS if name != "order_id")

SELECT_ENTRIES = sa.select(*(_ORDERS[name] for name in _COLUMNS)).where(of(schema.orders))


def _by_id(*, locked: bool) -> Statement:
    """Select the rows with the ids in `ids`, and lock them in the order of the list.

    On PostgreSQL row by row: until a table is analyzed, any other plan may scan the whole store.
    """
    ids = sa.bindparam("ids", type_=Values(sa.BigInteger))
    listed = sa.func.unnest(ids).table_valued("id").render_derived()
    row = SELECT_ENTRIES.where(_ORDERS.order_id == listed.c.id).limit(1)
    one = (row.with_for_update() if locked else row).lateral("one")
    return {
        "sqlite": SELECT_ENTRIES.where(within(_ORDERS.order_id, "ids")),
        "postgresql": sa.select(one).select_from(listed.join(one, sa.true())),
    }


_BY_ID = _by_id(locked=False)
_LOCK = _by_id(locked=True)
_CLAIMS_OF = (
    sa.select(_ORDERS.store_hash, _ORDERS.destination, *(_ORDERS[name] for name in _COLUMNS))
    .where(schema.IS_SENDING, within(_ORDERS.run_id, "run_ids"))
    .order_by(_ORDERS.store_hash, _ORDERS.destination, _ORDERS.order_id)
    .with_for_update()
)
_INSERT = in_each_dialect(schema.orders, lambda insert: insert.on_conflict_do_nothing())
_UPDATE = (
    sa.update(schema.orders)
    .where(of(schema.orders), _ORDERS.order_id == sa.bindparam("order_id"))
    .values({name: sa.bindparam(name, type_=_ORDERS[name].type) for name in _CHANGEABLE})
)
_INSERT_ATTEMPT = sa.insert(schema.attempts).values(
    {c.name: sa.bindparam(c.name, type_=c.type) for c in schema.attempts.c if c.name != "id"}
)
_KEPT_ATTEMPT = sa.select(_ATTEMPTS.id).where(
    of(schema.attempts),
    _ATTEMPTS.order_id == sa.bindparam("order_id"),
    _ATTEMPTS.run_id == sa.bindparam("run_id"),
    _ATTEMPTS.number == sa.bindparam("number"),
)
_HISTORY = (
    sa.select(*(_ATTEMPTS[field.name] for field in fields(Attempt)))
    .where(of(schema.attempts), _ATTEMPTS.order_id == sa.bindparam("order_id"))
    .order_by(_ATTEMPTS.id)
)


def read(transaction: Transaction, key: Key, ids: Collection[int]) -> dict[int, Entry]:
    """Return the entries with these ids, those that exist; not locked."""
    rows = transaction.rows(_BY_ID, **key.values, ids=ids)
    return {row[0]: Entry._make(row) for row in rows}


def history(transaction: Transaction, key: Key, order_id: int) -> list[Attempt]:
    """Return every attempt at one order, oldest first."""
    rows = transaction.rows(_HISTORY, **key.values, order_id=order_id)
    return [Attempt(*row) for row in rows]


class Rows:
    """The entries of one store and destination that a transaction changes."""

    def __init__(self, transaction: Transaction, key: Key) -> None:
        self._transaction = transaction
        self._key = key
        self._before: dict[int, Entry] = {}
        self._entries: dict[int, Entry] = {}
        self._attempts: list[dict[str, Any]] = []

    def lock(self, ids: Collection[int]) -> dict[int, Entry]:
        """Lock the rows with these ids, and return those that exist."""
        rows = self._transaction.rows(_LOCK, **self._key.values, ids=sorted(ids))
        locked = {row[0]: Entry._make(row) for row in rows}
        self._before.update(locked)
        self._entries.update(locked)
        return locked

    def create(self, entries: Iterable[Entry]) -> None:
        """Insert rows where there are none."""
        new = sorted(entries, key=lambda entry: entry.order_id)
        self._transaction.run_tuples(_INSERT, _NAMES, map(self._row, new))

    def get(self, order_id: int) -> Entry | None:
        """Return an entry as it stands in this transaction, if its row is locked."""
        return self._entries.get(order_id)

    def ensure(self, order_id: int, now: datetime) -> Entry:
        """Return an entry as it stands; a row that was lost, as by a failover, is made again."""
        if order_id not in self._entries:
            self.create([Entry(order_id, State.PENDING, first_seen_at=now, updated_at=now)])
            self.lock([order_id])
        return self._entries[order_id]

    def put(self, entry: Entry) -> None:
        """Change an entry whose row is locked."""
        self._entries[entry.order_id] = entry

    def settle(self, settlement: Settlement, now: datetime) -> Entry:
        """Settle a claim, and return the entry after it."""
        claimed, outcome = settlement.claimed, settlement.outcome
        entry = self._entries.get(claimed.order_id)
        if entry is not None and entry.is_same_claim(claimed):
            return self._settled(claimed, rules.settle(entry, outcome, now), outcome)
        if outcome.state is None or self._is_kept(claimed):
            return entry or claimed  # settled already: by the run that recovered it, or by us
        entry = self.ensure(claimed.order_id, now)
        return self._settled(claimed, rules.settle_late(entry, outcome, now), outcome)

    def _settled(self, claimed: Entry, after: Entry, outcome: Outcome) -> Entry:
        self.put(after)
        if outcome.state is not None:
            self._attempts.append(self._attempt(claimed, after, outcome))
        return after

    def _is_kept(self, claimed: Entry) -> bool:
        return bool(
            self._transaction.rows(
                _KEPT_ATTEMPT,
                **self._key.values,
                order_id=claimed.order_id,
                run_id=claimed.run_id,
                number=claimed.attempts,
            )
        )

    def write(self) -> None:
        """Write what has changed: settled claims before the new ones of the same workers."""
        changed = [
            entry
            for order_id, entry in self._entries.items()
            if entry is not self._before[order_id] and entry != self._before[order_id]
        ]
        changed.sort(key=lambda entry: entry.state is State.SENDING)
        self._transaction.run_tuples(_UPDATE, _NAMES, map(self._row, changed))
        self._transaction.run(_INSERT_ATTEMPT, *self._attempts)

    def _row(self, entry: Entry) -> Row:
        return (*entry, self._key.store_hash, self._key.destination)

    def _attempt(self, claimed: Entry, after: Entry, outcome: Outcome) -> dict[str, Any]:
        return {
            **self._key.values,
            "order_id": claimed.order_id,
            "number": claimed.attempts,
            "run_id": claimed.run_id,
            "started_at": claimed.sent_at,
            "ended_at": after.updated_at,
            "result": outcome.state and outcome.state.value,
            "reason": outcome.reason,
            "sha256": claimed.sha256,
            "answer_status": outcome.answer_status,
            "answer": outcome.answer,
        }


def record(
    transaction: Transaction,
    key: Key,
    page: Sequence[Seen],
    policy: Policy,
    now: datetime,
    gap: Gap | None,
) -> list[Disposition]:
    """Record a page of orders; return what is to become of each."""
    known: dict[int, Entry] = read(transaction, key, [seen.order.id for seen in page])
    decided, changed = decide(known, page, policy, now, gap)
    if not changed:
        return decided
    rows = Rows(transaction, key)
    rows.create(entry for order_id, entry in changed.items() if order_id not in known)
    # Decided again on the locked rows: another process may have been faster.
    known.update(rows.lock(changed))
    decided, changed = decide(known, page, policy, now, gap)
    for entry in changed.values():
        rows.put(entry)
    rows.write()
    return decided


def decide(
    known: Mapping[int, Entry],
    page: Sequence[Seen],
    policy: Policy,
    now: datetime,
    gap: Gap | None,
) -> tuple[list[Disposition], dict[int, Entry]]:
    """Return what `record` would say of each order, and the entries that it would change."""
    current, changed = dict(known), {}
    dispositions = []
    for seen in page:
        before = current.get(seen.order.id)
        after, disposition = rules.record(before, seen.order, seen.skip_reason, policy, now, gap)
        dispositions.append(disposition)
        if after != before:
            current[after.order_id] = changed[after.order_id] = after
    return dispositions, changed


def step(transaction: Transaction, requests: Sequence[StepRequest]) -> list[Step]:
    """Settle and claim for many workers, maybe of several runs, in one transaction."""
    by_key: dict[Key, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        by_key[request.key].append(index)
    steps: dict[int, Step] = {}
    for key in sorted(by_key, key=lambda key: (key.store_hash, key.destination)):
        indexes = by_key[key]
        done = _step(Rows(transaction, key), [requests[index] for index in indexes])
        steps.update(zip(indexes, done, strict=True))
    return [steps[index] for index in range(len(requests))]


def _step(rows: Rows, requests: Sequence[StepRequest]) -> Iterator[Step]:
    rows.lock(set(_ids(requests)))
    # All settlements come first: nobody's claim waits for another worker's settlement.
    settled = [None if r.settle is None else rows.settle(r.settle, r.now) for r in requests]
    claims = [_claim(rows, request) for request in requests]
    rows.write()
    for after, (claimed, disposition) in zip(settled, claims, strict=True):
        yield Step(after, claimed, disposition)


def _ids(requests: Iterable[StepRequest]) -> Iterator[int]:
    for request in requests:
        if request.settle is not None:
            yield request.settle.claimed.order_id
        if request.claim is not None:
            yield request.claim.id


def _claim(rows: Rows, request: StepRequest) -> tuple[Entry | None, Disposition | None]:
    order = request.claim
    if order is None:
        return None, None
    entry = rows.ensure(order.id, request.now)
    claimed, disposition = rules.claim(
        entry, order, request.policy, request.run_id, request.worker, request.now
    )
    if disposition is Disposition.TO_SEND:
        rows.put(claimed)
    return claimed, disposition


def mark_gone(transaction: Transaction, key: Key, order_id: int, now: datetime) -> bool:
    """Mark an order as gone; whether the ledger knows it."""
    rows = Rows(transaction, key)
    rows.lock([order_id])
    entry = rows.get(order_id)
    if entry is None:
        return False
    rows.put(rules.mark_gone(entry, now))
    rows.write()
    return True


def abandon(
    transaction: Transaction, run_ids: Collection[str], now: datetime
) -> list[tuple[Key, int]]:
    """Settle the claims of dead runs, of any store, and return which orders they were."""
    claims: dict[Key, list[Entry]] = defaultdict(list)
    for store_hash, destination, *row in transaction.rows(_CLAIMS_OF, run_ids=sorted(run_ids)):
        claims[Key(store_hash, destination)].append(Entry._make(row))
    for key, claimed in claims.items():
        rows = Rows(transaction, key)
        rows.lock([entry.order_id for entry in claimed])
        for entry in claimed:
            rows.settle(Settlement(entry, ABANDONED), now)
        rows.write()
    return [(key, entry.order_id) for key, claimed in claims.items() for entry in claimed]
