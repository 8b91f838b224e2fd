"""Orders that BigCommerce's callbacks named and nobody has looked at since.

A callback says that something happened to an order, not what. So an order is here once, however
many callbacks named it, until it was fetched after the last of them; one that the ledger did
not know is owed from the first of them on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.dialects import Insert, in_each_dialect
from onetribe_bc.ledger.rows import Rows
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database

NOT_FETCHED = "named by a callback, not fetched yet"
NOT_IN_STORE = "named by a callback, and BigCommerce does not have it yet"

_CALLBACKS = schema.callbacks.c


@dataclass(frozen=True, slots=True)
class Named:
    """An order to look at. `received` counts the callbacks since `received_at`, `looks` how often
    it was looked at in vain: BigCommerce did not have it, or another version was being sent.
    """

    order_id: int
    received_at: datetime
    received: int
    due_at: datetime
    looks: int


class Inbox:
    """What callbacks named, of one store and destination."""

    def __init__(
        self, database: Database, clock: Clock, *, store_hash: str, destination: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._rows = Rows(store_hash=store_hash, destination=destination)
        self._of = {"of_store": store_hash, "of_destination": destination}
        self._lock = threading.Lock()
        self._open: tuple[list[dict[str, object]], Future[None]] | None = None

    def put(self, order_id: int, *, after: timedelta = timedelta()) -> Future[None]:
        """Take note that a callback named an order, to be looked at so much later; done once
        that is durable.
        """
        now = self._clock.now()
        row = {**self._rows.key, "order_id": order_id, "received_at": now, "due_at": now + after}
        with self._lock:
            # One that is done and still open never got as far as a transaction.
            if self._open is None or self._open[1].done():
                rows = [row]
                self._open = rows, self._database.submit(lambda c: self._write(c, rows))
            else:
                self._open[0].append(row)
            return self._open[1]

    def _write(self, connection: sa.Connection, rows: list[dict[str, object]]) -> None:
        """What came together is written together. May run twice, when the first transaction did
        not come about.
        """
        with self._lock:
            if self._open is not None and self._open[0] is rows:
                self._open = None
        connection.execute(_PUT[connection.dialect.name], rows)
        connection.execute(_OWE[connection.dialect.name], rows)

    def due(self, limit: int, *, drop_delivered: bool = False) -> list[Named]:
        """Orders to look at by now, those that wait longest first. With `drop_delivered`, those
        that are delivered leave the inbox: for whom their changes are of no interest.
        """
        values = {**self._of, "now": self._clock.now(), "most": limit}

        def work(connection: sa.Connection) -> list[Named]:
            if drop_delivered:
                connection.execute(_DROP_DELIVERED, self._of)
            return [Named(*row) for row in connection.execute(_DUE, values)]

        return self._database.do(work)

    def all(self) -> list[Named]:
        """All orders that are to be looked at, now or later."""
        return self._database.do(lambda c: [Named(*row) for row in c.execute(_ALL, self._of)])

    def find(self, order_id: int) -> Named | None:
        """One order, if it is to be looked at, now or later."""
        values = {**self._of, "id": order_id}

        def work(connection: sa.Connection) -> Named | None:
            row = connection.execute(_FIND, values).one_or_none()
            return None if row is None else Named(*row)

        return self._database.do(work)

    def remove(self, looked_at: Iterable[Named]) -> None:
        """They were looked at, and the ledger has what was seen. One that another callback named
        meanwhile stays, also if somebody else had removed it before that callback.
        """
        self._change(_REMOVE, [self._one(named) for named in looked_at])

    def postpone(self, named: Iterable[tuple[Named, datetime]]) -> None:
        """These orders were looked at in vain: look again then, unless another callback makes
        them due before.
        """
        rows = [{**self._one(one), "at": at, "number": one.looks + 1} for one, at in named]
        self._change(_POSTPONE, rows)

    def miss(self, order_ids: Iterable[int]) -> None:
        """BigCommerce does not have these orders yet: the ledger says so of those that are owed
        for no other reason than a callback.
        """
        self._change(_MISS, [{**self._of, "id": order_id} for order_id in order_ids])

    def _one(self, named: Named) -> dict[str, object]:
        since, count = named.received_at, named.received
        return {**self._of, "id": named.order_id, "since": since, "count": count}

    def _change(self, statement: sa.Executable, rows: list[dict[str, object]]) -> None:
        if rows:
            self._database.do(lambda c: c.execute(statement, rows))


def _put(insert: Insert) -> sa.Insert:
    """Another callback makes an order due anew, also one that BigCommerce did not have."""
    first = insert.values(received=1, looks=0)
    again = {"received": _CALLBACKS.received + 1, "looks": 0, "due_at": first.excluded.due_at}
    return first.on_conflict_do_update(index_elements=_KEYS, set_=again)


def _owe(insert: Insert) -> sa.Insert:
    """An order that the ledger does not know is owed; the others stay as they are."""
    fresh = {
        "state": State.PENDING.value,
        "reason": NOT_FETCHED,
        "attempts": 0,
        "arrivals": 0,
        "deliveries": 0,
        "answer": "",
        "first_seen_at": sa.bindparam("received_at", type_=schema.Moment),
        "updated_at": sa.bindparam("received_at", type_=schema.Moment),
        **{name: sa.bindparam(name) for name in _KEYS},
    }
    return insert.values(**fresh).on_conflict_do_nothing()


_KEYS = [column.name for column in schema.orders.primary_key]
_PUT = in_each_dialect(schema.callbacks, _put)
_OWE = in_each_dialect(schema.orders, _owe)
_OF = sa.and_(
    _CALLBACKS.store_hash == sa.bindparam("of_store"),
    _CALLBACKS.destination == sa.bindparam("of_destination"),
)
_ONE = sa.and_(
    _OF,
    _CALLBACKS.order_id == sa.bindparam("id"),
    _CALLBACKS.received_at == sa.bindparam("since", type_=schema.Moment),
    _CALLBACKS.received == sa.bindparam("count"),
)
_ALL = sa.select(*(_CALLBACKS[field.name] for field in fields(Named))).where(_OF)
_FIND = _ALL.where(_CALLBACKS.order_id == sa.bindparam("id"))
_DUE = (
    _ALL.where(_CALLBACKS.due_at <= sa.bindparam("now", type_=schema.Moment))
    .order_by(_CALLBACKS.due_at, _CALLBACKS.order_id)
    .limit(sa.bindparam("most"))
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
_MISS = (
    sa.update(schema.orders)
    .where(
        schema.orders.c.store_hash == sa.bindparam("of_store"),
        schema.orders.c.destination == sa.bindparam("of_destination"),
        schema.orders.c.order_id == sa.bindparam("id"),
        schema.orders.c.state == State.PENDING.value,
        schema.orders.c.reason == NOT_FETCHED,
    )
    .values(reason=NOT_IN_STORE)
)
_POSTPONE = (
    sa.update(schema.callbacks)
    .where(_ONE)
    .values(due_at=sa.bindparam("at", type_=schema.Moment), looks=sa.bindparam("number"))
)
