"""The orders of the simulated store. Every method may be called from any thread, at any time."""

from __future__ import annotations

import random
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from onetribe_bc.sandbox.dates import format_date
from onetribe_bc.sandbox.invented_orders import FIRST_ID, OrderFactory
from onetribe_bc.sandbox.messages import json_object
from onetribe_bc.sandbox.orders import OrderQuery, OrderRow, row_of
from onetribe_bc.sandbox.statuses import AWAITING_FULFILLMENT, INCOMPLETE, STATUSES


class OrderStore:
    """Orders by id. An invented one is kept as its index and written when it is served.

    `now` gives the server's clock in epoch seconds: it dates what is added or changed.
    """

    def __init__(self, factory: OrderFactory, count: int, now: Callable[[], int]) -> None:
        self._factory = factory
        self._now = now
        self._lock = threading.RLock()
        self._dice = random.Random(f"{factory.seed}:added")
        self._rows = {row.id: row for row in factory.rows(count)}
        self._ids = list(self._rows)
        self._given: dict[int, bytes] = {}
        self._changed: dict[int, dict[str, Any]] = {}
        self._highest = self._ids[-1] if self._ids else FIRST_ID - 1

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._rows

    def ids(self) -> tuple[int, ...]:
        """Every order's id, ascending."""
        with self._lock:
            return tuple(self._ids)

    def row(self, order_id: int) -> OrderRow:
        """The index of an order. Raises KeyError for an unknown one."""
        return self._rows[order_id]

    def raw(self, order_id: int) -> bytes:
        """The exact bytes served, alone and in a list. Raises KeyError for an unknown order."""
        with self._lock:
            if order_id in self._given:
                return self._given[order_id]
            return self._factory.encode(order_id, self._fields(order_id))

    def add(self, raw: bytes | None = None, /, **fields: object) -> int:
        """Add an order and return its id.

        Either an invented one, new by the server's clock, with `fields` in place of what was
        invented (without `id` it comes after every id ever used), or the order `raw`, JSON that is
        served byte for byte. Raises ValueError for an id that exists or a malformed order.
        """
        with self._lock:
            if raw is not None:
                row = row_of(json_object(raw))
                self._insert(row)
                self._given[row.id] = raw
                return row.id
            order_id = fields.pop("id", self._highest + 1)
            if not isinstance(order_id, int):
                raise ValueError("An order needs an integer id.")
            now = self._now()
            dice = self._dice.getrandbits(32)
            self._insert(self._factory.row(order_id, AWAITING_FULFILLMENT, now, now, dice))
            try:
                self._change(order_id, fields)
            except ValueError:
                self.remove(order_id)
                raise
            return order_id

    def modify(self, order_id: int, /, **fields: object) -> None:
        """Change fields; `date_modified` becomes the server's now unless it is among them.

        A new `status_id` brings its `status` and `custom_status`. Raises KeyError for an unknown
        order, ValueError for an invalid value.
        """
        with self._lock:
            self._change(order_id, {"date_modified": format_date(self._now())} | fields)

    def complete(self, order_id: int, status_id: int = AWAITING_FULFILLMENT) -> None:
        """End the checkout of an Incomplete order, which keeps its id.

        Raises KeyError for an unknown order, ValueError if it is not Incomplete.
        """
        with self._lock:
            if self._rows[order_id].status_id != INCOMPLETE:
                raise ValueError(f"Order {order_id} is not Incomplete.")
            self.modify(order_id, status_id=status_id)

    def remove(self, order_id: int) -> None:
        """Delete an order. Raises KeyError for an unknown one."""
        with self._lock:
            del self._rows[order_id]
            del self._ids[bisect_left(self._ids, order_id)]
            self._given.pop(order_id, None)
            self._changed.pop(order_id, None)

    def page(self, query: OrderQuery) -> dict[int, bytes]:
        """The orders of one page, each as its bytes, by id."""
        start = (query.page - 1) * query.limit
        with self._lock:
            rows = islice(self._matching(query), start, start + query.limit)
            return {row.id: self.raw(row.id) for row in rows}

    def counts(self, query: OrderQuery) -> dict[int, int]:
        """How many orders pass the filters, by status id."""
        counts = dict.fromkeys(STATUSES, 0)
        with self._lock:
            for row in self._matching(query):
                counts[row.status_id] += 1
        return counts

    def _matching(self, query: OrderQuery) -> Iterator[OrderRow]:
        for order_id in islice(self._ids, bisect_left(self._ids, query.min_id), None):
            if order_id > query.max_id:
                return
            row = self._rows[order_id]
            if query.matches(row):
                yield row

    def _insert(self, row: OrderRow) -> None:
        if row.id in self._rows:
            raise ValueError(f"Order {row.id} exists.")
        self._rows[row.id] = row
        insort(self._ids, row.id)
        self._highest = max(self._highest, row.id)

    def _fields(self, order_id: int) -> dict[str, Any]:
        if order_id in self._changed:
            return self._changed[order_id]
        if order_id in self._given:
            return json_object(self._given[order_id])
        return self._factory.fields(self._rows[order_id])

    def _change(self, order_id: int, fields: dict[str, object]) -> None:
        status_id = fields.get("status_id")
        if status_id is not None:
            if not isinstance(status_id, int) or status_id not in STATUSES:
                raise ValueError(f"There is no order status {status_id}.")
            status = STATUSES[status_id]
            fields = {"status": status.name, "custom_status": status.custom_label} | fields
        changed = self._fields(order_id) | fields
        row = row_of(changed)
        if row.id != order_id:
            raise ValueError("The id of an order does not change.")
        self._changed[order_id] = changed
        self._rows[order_id] = row
        self._given.pop(order_id, None)
