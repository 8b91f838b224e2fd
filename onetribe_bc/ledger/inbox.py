"""The inbox: orders named by callbacks and not yet processed.

A callback says that something happened to an order, not what. So an order is in the inbox once,
however many callbacks name it, until it is fetched after the last of them. An order that is new to
the ledger is owed from its first callback on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Insert, Statement, Transaction, in_each_dialect
from onetribe_bc.ledger.orders import Key, of
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database

NOT_FETCHED = "named by a callback, not fetched yet"
NOT_IN_STORE = "named by a callback, and BigCommerce does not have it yet"

DEFERRED_FOR = tuple(timedelta(minutes=m) for m in (5, 15, 60, 240, 720, 1440))
"""How long to leave an order alone that cannot be fetched. The last wait repeats."""

TAKEN_FOR = timedelta(seconds=60)
"""After so long another receiver gets the orders that one took."""

TAKEN_MOST = 1000
"""How many orders a receiver takes at once from a shared inbox."""

_CALLBACKS = schema.callbacks.c


@dataclass(frozen=True, slots=True)
class Named:
    """An order to process. `received` counts the callbacks since `received_at`, `looks` the
    lookups without success: BigCommerce did not have it, or another version was being sent.
    """

    order_id: int
    received_at: datetime
    received: int
    due_at: datetime
    looks: int


class Inbox:
    """The orders that callbacks named, of one store and destination."""

    def __init__(self, database: Database, clock: Clock, key: Key) -> None:
        self._database = database
        self._clock = clock
        self._key = key

    def put(self, order_id: int, *, after: timedelta = timedelta()) -> Future[None]:
        """Record that a callback named an order, due after so long; done once that is durable."""
        now = self._clock.now()
        row = {**self._key.values, "order_id": order_id, "received_at": now, "due_at": now + after}
        return self._database.submit(_put, row)

    def due(self, limit: int, *, drop_delivered: bool = False) -> list[Named]:
        """Return orders that are due, the longest waiting first. With `drop_delivered`, delivered
        orders leave the inbox: their changes are of no interest.

        Where several receivers share the inbox, no other one gets them for `TAKEN_FOR`.
        """
        now, shared = self._clock.now(), self._database.engine.shares_inbox
        most = min(limit, TAKEN_MOST) if shared else limit
        query = {"now": now, "until": now + TAKEN_FOR, "limit": most}

        def take(transaction: Transaction) -> list[Named]:
            if drop_delivered:
                transaction.run(_DROP_DELIVERED, self._key.values)
            return self._select(transaction, _TAKE if shared else _DUE, **query)

        # Not on the reading connection: on SQLite, a reader holds up the next commit.
        taken = self._database.do(take)
        return sorted(taken, key=lambda named: (named.received_at, named.order_id))

    def all(self) -> list[Named]:
        """Return all orders, due now or later."""
        return self._database.read(lambda transaction: self._select(transaction, _ALL))

    def find(self, order_id: int) -> Named | None:
        """Return one order, if it is in the inbox, due now or later."""
        found = self._database.read(lambda t: self._select(t, _FIND, order_id=order_id))
        return found[0] if found else None

    def remove(self, processed: Iterable[Named]) -> None:
        """Remove orders that were processed; the ledger has what was seen. One that another
        callback named meanwhile stays, also if another process had removed it before that.
        """
        self._change(_REMOVE, [self._one(named) for named in processed])

    def postpone(self, named: Iterable[tuple[Named, datetime]]) -> None:
        """Make orders due again at a time, after a lookup without success, unless another callback
        makes them due before.
        """
        self._change(
            _POSTPONE, [{**self._one(one), "at": at, "number": one.looks + 1} for one, at in named]
        )

    def miss(self, order_ids: Iterable[int]) -> None:
        """Note that BigCommerce does not have these orders yet, where a callback alone is why
        they are owed.
        """
        ids = sorted(order_ids)
        self._change(_MISS, [{**self._key.values, "order_id": order_id} for order_id in ids])

    def defer(self, failed: Iterable[tuple[int, str]]) -> None:
        """Record that orders cannot be fetched, each with the reason: they are owed, and due again
        after growing waits.
        """
        now, ordered = self._clock.now(), sorted(failed)

        def work(transaction: Transaction) -> None:
            for order_id, reason in ordered:
                this = {**self._key.values, "order_id": order_id}
                known = self._select(transaction, _FIND, order_id=order_id)
                looks = known[0].looks if known else 0
                due_at = now + DEFERRED_FOR[min(looks, len(DEFERRED_FOR) - 1)]
                if known:
                    again = {"at": due_at, "number": looks + 1}
                    transaction.run(_POSTPONE, {**self._one(known[0]), **again})
                else:
                    new = {**this, "received_at": now, "due_at": due_at, "looks": 1}
                    transaction.run(_DEFER, new)
                    transaction.run(_OWE, new)
                transaction.run(_EXPLAIN, {**this, "why": reason})

        self._database.do(work)

    def _one(self, named: Named) -> dict[str, Any]:
        since, count = named.received_at, named.received
        return {**self._key.values, "order_id": named.order_id, "since": since, "count": count}

    def _change(self, statement: Statement, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._database.do(lambda transaction: transaction.run(statement, *rows))

    def _select(self, transaction: Transaction, query: Statement, **values: Any) -> list[Named]:
        return [Named(*row) for row in transaction.rows(query, **self._key.values, **values)]


def count(transaction: Transaction, key: Key) -> int:
    """Return how many orders are in the inbox."""
    return int(transaction.rows(_COUNT, **key.values)[0][0])


def _put(transaction: Transaction, rows: Sequence[dict[str, Any]]) -> list[None]:
    """Write callbacks together, in the order of their ids.

    If it runs twice, `received` counts them twice, which only makes `remove` leave a newer one.
    """
    ordered = sorted(rows, key=lambda row: (row["store_hash"], row["destination"], row["order_id"]))
    transaction.run(_PUT, *ordered)
    transaction.run(_OWE, *ordered)
    return [None] * len(rows)


def _insert_or_renew(insert: Insert) -> sa.Insert:
    """Another callback makes an order due again, also one that BigCommerce did not have."""
    given = {name: sa.bindparam(name, type_=_CALLBACKS[name].type) for name in _GIVEN}
    first = insert.values(**given, received=1, looks=0)
    again = {"received": _CALLBACKS.received + 1, "looks": 0, "due_at": first.excluded.due_at}
    return first.on_conflict_do_update(index_elements=_KEYS, set_=again)


def _insert_deferred(insert: Insert) -> sa.Insert:
    given = {name: sa.bindparam(name, type_=_CALLBACKS[name].type) for name in (*_GIVEN, "looks")}
    return insert.values(**given, received=1).on_conflict_do_nothing()


def _owe(insert: Insert) -> sa.Insert:
    """An order that the ledger does not know is owed; others stay as they are."""
    received_at = sa.bindparam("received_at", type_=schema.Moment)
    fresh = {
        "state": State.PENDING.value,
        "reason": NOT_FETCHED,
        "attempts": 0,
        "arrivals": 0,
        "deliveries": 0,
        "answer": "",
        "first_seen_at": received_at,
        "updated_at": received_at,
        **{name: sa.bindparam(name) for name in _KEYS},
    }
    return insert.values(**fresh).on_conflict_do_nothing()


_KEYS = [column.name for column in schema.orders.primary_key]
_GIVEN = (*_KEYS, "received_at", "due_at")
_PUT = in_each_dialect(schema.callbacks, _insert_or_renew)
_DEFER = in_each_dialect(schema.callbacks, _insert_deferred)
_OWE = in_each_dialect(schema.orders, _owe)
_OF = of(schema.callbacks)
_THIS = _CALLBACKS.order_id == sa.bindparam("order_id")
_ONE = sa.and_(
    _OF,
    _THIS,
    _CALLBACKS.received_at == sa.bindparam("since", type_=schema.Moment),
    _CALLBACKS.received == sa.bindparam("count"),
)
_ALL = sa.select(*(_CALLBACKS[field.name] for field in fields(Named))).where(_OF)
_COUNT = sa.select(sa.func.count()).select_from(schema.callbacks).where(_OF)
_FIND = _ALL.where(_THIS)
_DUE = (
    _ALL.where(_CALLBACKS.due_at <= sa.bindparam("now", type_=schema.Moment))
    .order_by(_CALLBACKS.due_at, _CALLBACKS.order_id)
    .limit(sa.bindparam("limit"))
)
_FREE = (
    sa.select(_CALLBACKS.order_id)
    .where(_OF, _CALLBACKS.due_at <= sa.bindparam("now", type_=schema.Moment))
    .order_by(_CALLBACKS.due_at, _CALLBACKS.order_id)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("free")
)
_TAKE = (
    sa.update(schema.callbacks)
    .where(_OF, _CALLBACKS.order_id == _FREE.c.order_id)
    .values(due_at=sa.bindparam("until", type_=schema.Moment))
    .returning(*(_CALLBACKS[field.name] for field in fields(Named)))
)
_REMOVE = sa.delete(schema.callbacks).where(_ONE)
_DELIVERED = (
    sa.select(schema.orders.c.order_id)
    .where(
        schema.orders.c.store_hash == _CALLBACKS.store_hash,
        schema.orders.c.destination == _CALLBACKS.destination,
        schema.orders.c.order_id == _CALLBACKS.order_id,
        schema.orders.c.state == State.DELIVERED.value,
    )
    .exists()
)
_DROP_DELIVERED = sa.delete(schema.callbacks).where(_OF, _DELIVERED)
_IS_PENDING = sa.and_(
    of(schema.orders),
    schema.orders.c.order_id == sa.bindparam("order_id"),
    schema.orders.c.state == State.PENDING.value,
)
_EXPLAIN = (
    sa.update(schema.orders)
    .where(_IS_PENDING)
    .values(reason=sa.bindparam("why", type_=schema.Text(300)))
)
_MISS = (
    sa.update(schema.orders)
    .where(_IS_PENDING, schema.orders.c.reason == NOT_FETCHED)
    .values(reason=NOT_IN_STORE)
)
_POSTPONE = (
    sa.update(schema.callbacks)
    .where(_ONE)
    .values(due_at=sa.bindparam("at", type_=schema.Moment), looks=sa.bindparam("number"))
)
