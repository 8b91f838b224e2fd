"""What the store indexes of an order, and the queries of `GET v2/orders` and `v2/orders/count`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import eq, ge, le
from typing import Any

from onetribe_bc.sandbox.dates import parse_date

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 250
_DATES = ("date_created", "date_modified")
DATE_FILTERS = tuple(f"{bound}_{name}" for bound in ("min", "max") for name in _DATES)

Filter = tuple[str, Callable[[Any, Any], bool], Any]
"""A field of OrderRow, a comparison, and the value to compare it with."""


class QueryError(ValueError):
    """A parameter that BigCommerce refuses; the message names it."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """The fields of an order that queries filter by. Dates are epoch seconds.

    `dice` are the random bits of an invented order.
    """

    id: int
    date_created: int
    date_modified: int
    status_id: int
    channel_id: int
    dice: int = 0


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """What a request asks for. Bounds are inclusive."""

    min_id: int
    max_id: float
    filters: tuple[Filter, ...]
    page: int
    limit: int

    def matches(self, row: OrderRow) -> bool:
        return self.min_id <= row.id <= self.max_id and all(
            fits(getattr(row, name), value) for name, fits, value in self.filters
        )


def row_of(fields: Mapping[str, Any]) -> OrderRow:
    """The index of an order as BigCommerce serves it.

    Raises ValueError if the id or a date is missing or malformed; the rest may be absent.
    """
    order_id = fields.get("id")
    if not isinstance(order_id, int) or isinstance(order_id, bool):
        raise ValueError("An order needs an integer id.")
    dates = [parse_date(str(fields.get(name, ""))) for name in _DATES]
    for name, at in zip(_DATES, dates, strict=True):
        if at is None:
            example = "'Tue, 05 Mar 2019 21:40:11 +0000'"
            raise ValueError(f"Order {order_id} needs {name} as RFC 2822, such as {example}.")
    created, modified = (int(at) for at in dates if at is not None)
    return OrderRow(
        id=order_id,
        date_created=created,
        date_modified=modified,
        status_id=int(fields.get("status_id", 0)),
        channel_id=int(fields.get("channel_id", 1)),
    )


def parse_query(params: Mapping[str, str]) -> OrderQuery:
    """Read a request's query. Raises QueryError for an invalid number or sort.

    BigCommerce has more filters and sorts; those that bc2ot uses are here. As users report of it, a
    date in another form is ignored, as is an unknown parameter. That a limit above 250 becomes 250
    is not documented.
    """
    if params.get("sort", "id:asc") not in ("id", "id:asc"):
        raise QueryError("The field 'sort' is invalid.")
    return OrderQuery(
        min_id=_read(params, "min_id"),
        max_id=_read(params, "max_id", math.inf),
        filters=tuple(_filters(params)),
        page=max(1, _read(params, "page", 1)),
        limit=min(_MAX_LIMIT, max(1, _read(params, "limit", _DEFAULT_LIMIT))),
    )


def _filters(params: Mapping[str, str]) -> Iterator[Filter]:
    for name in ("status_id", "channel_id"):
        if name in params:
            yield name, eq, _read(params, name)
    for bound, compare in (("min", ge), ("max", le)):
        for name in _DATES:
            at = parse_date(params.get(f"{bound}_{name}", ""))
            if at is not None:
                yield name, compare, at


def _read(params: Mapping[str, str], name: str, default: float = 0) -> Any:
    try:
        return int(params[name]) if name in params else default
    except ValueError:
        raise QueryError(f"The field '{name}' is invalid.") from None
