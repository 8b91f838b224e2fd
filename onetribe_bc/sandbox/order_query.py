"""The query of `GET v2/orders` and `v2/orders/count`, and whether an order fits it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from onetribe_bc.sandbox.dates import parse_date
from onetribe_bc.sandbox.order_row import OrderRow

DEFAULT_LIMIT = 50
MAX_LIMIT = 250
DATE_FILTERS = ("min_date_created", "max_date_created", "min_date_modified", "max_date_modified")

_Default = TypeVar("_Default")
SortKey = Callable[[OrderRow], tuple[object, ...]]
SORTS: dict[str, SortKey] = {
    "id": lambda row: (row.id,),
    "customer_id": lambda row: (row.customer_id, row.id),
    "date_created": lambda row: (row.date_created, row.id),
    "date_modified": lambda row: (row.date_modified, row.id),
    "status_id": lambda row: (row.status_id, row.id),
    "channel_id": lambda row: (row.channel_id, row.id),
    "external_id": lambda row: (row.external_id or "", row.id),
}
"""By BigCommerce's name. It does not say how equal rows are ordered; here it is by id."""


class QueryError(ValueError):
    """A parameter that BigCommerce refuses; the message names it."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """What a request asks for. Dates are epoch seconds, totals 1/10,000; bounds are inclusive."""

    min_id: int = 0
    max_id: float = math.inf
    min_date_created: float = -math.inf
    max_date_created: float = math.inf
    min_date_modified: float = -math.inf
    max_date_modified: float = math.inf
    min_total: float = -math.inf
    max_total: float = math.inf
    status_id: int | None = None
    channel_id: int | None = None
    customer_id: int | None = None
    email: str | None = None
    payment_method: str | None = None
    cart_id: str | None = None
    sort: str = "id"
    descending: bool = False
    page: int = 1
    limit: int = DEFAULT_LIMIT

    def fits(self, row: OrderRow) -> bool:
        """Whether the order passes every filter."""
        return (
            self.min_id <= row.id <= self.max_id
            and self.min_date_modified <= row.date_modified <= self.max_date_modified
            and self.min_date_created <= row.date_created <= self.max_date_created
            and self.min_total <= row.total <= self.max_total
            and (self.status_id is None or row.status_id == self.status_id)
            and (self.channel_id is None or row.channel_id == self.channel_id)
            and (self.customer_id is None or row.customer_id == self.customer_id)
            and (self.email is None or row.email.lower() == self.email.lower())
            and (self.payment_method is None or row.payment_method == self.payment_method)
            and (self.cart_id is None or row.cart_id == self.cart_id)
        )


def parse_query(params: Mapping[str, str]) -> OrderQuery:
    """Read a request's query. Raises QueryError for a number or a sort that is none.

    A date in a wrong form is ignored, as users report of BigCommerce, and so is a parameter it does
    not know. That a limit above 250 becomes 250 is not documented.
    """
    sort, _, direction = params.get("sort", "id:asc").partition(":")
    if sort not in SORTS or direction not in ("", "asc", "desc"):
        raise QueryError("The field 'sort' is invalid.")
    return OrderQuery(
        min_id=_integer(params, "min_id", 0),
        max_id=_integer(params, "max_id", math.inf),
        min_date_created=_date(params, "min_date_created", -math.inf),
        max_date_created=_date(params, "max_date_created", math.inf),
        min_date_modified=_date(params, "min_date_modified", -math.inf),
        max_date_modified=_date(params, "max_date_modified", math.inf),
        min_total=_total(params, "min_total", -math.inf),
        max_total=_total(params, "max_total", math.inf),
        status_id=_integer(params, "status_id", None),
        channel_id=_integer(params, "channel_id", None),
        customer_id=_integer(params, "customer_id", None),
        email=params.get("email"),
        payment_method=params.get("payment_method"),
        cart_id=params.get("cart_id"),
        sort=sort,
        descending=direction == "desc",
        page=max(1, _integer(params, "page", 1)),
        limit=min(MAX_LIMIT, max(1, _integer(params, "limit", DEFAULT_LIMIT))),
    )


def _integer(params: Mapping[str, str], name: str, default: _Default) -> int | _Default:
    text = params.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise QueryError(f"The field '{name}' is invalid.") from None


def _total(params: Mapping[str, str], name: str, default: float) -> float:
    text = params.get(name)
    if text is None:
        return default
    try:
        return round(float(text) * 10_000)
    except (ValueError, OverflowError):
        raise QueryError(f"The field '{name}' is invalid.") from None


def _date(params: Mapping[str, str], name: str, default: float) -> float:
    parsed = parse_date(params.get(name, ""))
    return default if parsed is None else parsed
