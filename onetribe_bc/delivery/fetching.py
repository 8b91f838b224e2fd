"""Fetch the orders of a run in as few requests as possible."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onetribe_bc.api.bigcommerce import LOOKUPS, PAGE_SIZE, BigCommerceClient, OrderQuery
from onetribe_bc.errors import NotFoundError
from onetribe_bc.ids import IdRange
from onetribe_bc.order import Order

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Orders, ascending by id, and requested ids that BigCommerce does not have."""

    orders: Sequence[Order] = ()
    missing: Sequence[int] = ()


def iter_pages(client: BigCommerceClient, query: OrderQuery) -> Iterator[Page]:
    """Yield the orders of `query`, page by page.

    BigCommerce ignores a filter that it does not understand, so rows that do not match are
    dropped, with one warning.
    """
    warned = False
    for rows in client.iter_pages(query):
        orders = [order for order in rows if query.matches(order)]
        if len(orders) < len(rows) and not warned:
            warned = True
            _log.warning(
                "BigCommerce returned orders that do not match the query, such as %s; "
                "they are ignored.",
                next(order.id for order in rows if not query.matches(order)),
            )
        yield Page(orders)


def iter_ids(
    client: BigCommerceClient, ranges: Sequence[IdRange], *, lookups: int = LOOKUPS
) -> Iterator[Page]:
    """Yield the orders with these ids, by list pages or single requests, whichever is cheaper.

    A page has up to 250 orders from its first id on, so it is cheaper as soon as two requested
    ids may be on it. Lists omit archived orders: a named id that was on no page is requested
    singly, and is missing if that fails. `ranges` ascend and do not overlap; `lookups` is that
    of `get_order`.
    """
    rest = list(ranges)
    while rest:
        group = _next_group(rest)
        last = group[-1].last
        if len(group) == 1 and group[0].named:
            yield _single(client, last, lookups)
            rest = rest[1:]
            continue
        rows = client.list_orders(OrderQuery(min_id=group[0].first, max_id=last))
        end = rows[-1].id if rows else last
        yield Page([row for row in rows if _contains(group, row.id)])
        found = {row.id for row in rows}
        for item in group:
            if item.named and item.last <= end and item.first not in found:
                yield _single(client, item.first, lookups)
        rest = _after(rest, end)


def _next_group(ranges: Sequence[IdRange]) -> Sequence[IdRange]:
    """Return the first ranges, as many as may share a page."""
    length = 1
    while length < min(len(ranges), PAGE_SIZE):
        if ranges[length].first - ranges[length - 1].last >= PAGE_SIZE:
            break
        length += 1
    return ranges[:length]


def _after(ranges: Sequence[IdRange], order_id: int) -> list[IdRange]:
    """Return the part of the ranges above an id."""
    index = bisect.bisect_left(ranges, order_id + 1, key=lambda item: item.last)
    rest = list(ranges[index:])
    if rest and rest[0].first <= order_id:
        rest[0] = IdRange(order_id + 1, rest[0].last)
    return rest


def _contains(ranges: Sequence[IdRange], order_id: int) -> bool:
    index = bisect.bisect_left(ranges, order_id, key=lambda item: item.last)
    return index < len(ranges) and ranges[index].first <= order_id


def _single(client: BigCommerceClient, order_id: int, lookups: int) -> Page:
    try:
        return Page([client.get_order(order_id, lookups=lookups)])
    except NotFoundError:
        return Page(missing=[order_id])
