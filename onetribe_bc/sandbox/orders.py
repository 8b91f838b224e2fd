"""What the store indexes of an order, and the queries of `GET v2/orders` and `v2/orders/count`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter, eq, ge, le
from typing import Any

from onetribe_bc.sandbox.dates import parse_date

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 250
_DATES = ("date_created", "date_modified")
DATE_FILTERS = tuple(f"{bound}_{name}" for bound in ("min", "max") for name in _DATES)

Filter = tuple[str, Callable[[Any, Any], bool], Any]
"""A field of OrderRow, a comparison, and the value to compare it with."""
_EXACT: dict[str, Callable[[str], object]] = {
    "status_id": int,
    "channel_id": int,
    "customer_id": int,
    "email": str.lower,
    "payment_method": str,
    "cart_id": str,
}
SORTS: dict[str, Callable[[OrderRow], tuple[Any, ...]]] = {
    name: attrgetter(name, "id")
    for name in ("id", "customer_id", *_DATES, "status_id", "channel_id", "external_id")
}
"""BigCommerce does not document the order of equal rows; here it is by id."""


class QueryError(ValueError):
    """A parameter that BigCommerce refuses; the message names it."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """The fields by which BigCommerce filters and sorts.

    Dates are epoch seconds, `total` is total_inc_tax in 1/10,000, `email` is in lower case, and
    `external_id` is "" for none.
    """

    id: int
    date_created: int
    date_modified: int
    status_id: int
    channel_id: int
    customer_id: int
    total: int
    payment_method: str
    email: str
    external_id: str
    cart_id: str


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """What a request asks for. Bounds are inclusive."""

    min_id: int
    max_id: float
    filters: tuple[Filter, ...]
    sort: str
    descending: bool
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
        customer_id=int(fields.get("customer_id", 0)),
        total=round(float(fields.get("total_inc_tax", "0")) * 10_000),
        payment_method=str(fields.get("payment_method", "")),
        email=str((fields.get("billing_address") or {}).get("email", "")).lower(),
        external_id=str(fields.get("external_id") or ""),
        cart_id=str(fields.get("cart_id", "")),
    )


def parse_query(params: Mapping[str, str]) -> OrderQuery:
    """Read a request's query. Raises QueryError for an invalid number or sort.

    As users report of BigCommerce, a date in another form is ignored, as is an unknown parameter.
    That a limit above 250 becomes 250 is not documented.
    """
    sort, _, direction = params.get("sort", "id:asc").partition(":")
    if sort not in SORTS or direction not in ("", "asc", "desc"):
        raise QueryError("The field 'sort' is invalid.")
    return OrderQuery(
        min_id=_read(params, "min_id", int, 0),
        max_id=_read(params, "max_id", int, math.inf),
        filters=tuple(_filters(params)),
        sort=sort,
        descending=direction == "desc",
        page=max(1, _read(params, "page", int, 1)),
        limit=min(_MAX_LIMIT, max(1, _read(params, "limit", int, _DEFAULT_LIMIT))),
    )


def _filters(params: Mapping[str, str]) -> Iterator[Filter]:
    for name, read in _EXACT.items():
        if name in params:
            yield name, eq, _read(params, name, read, None)
    for bound, compare in (("min", ge), ("max", le)):
        for name in _DATES:
            at = parse_date(params.get(f"{bound}_{name}", ""))
            if at is not None:
                yield name, compare, at
        total = _read(params, f"{bound}_total", _total, None)
        if total is not None:
            yield "total", compare, total


def _read(params: Mapping[str, str], name: str, read: Callable[[str], Any], default: Any) -> Any:
    if name not in params:
        return default
    try:
        return read(params[name])
    except (ValueError, OverflowError):
        raise QueryError(f"The field '{name}' is invalid.") from None


def _total(text: str) -> int:
    return round(float(text) * 10_000)
