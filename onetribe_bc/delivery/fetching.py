"""Fetch the orders of a run in as few requests as possible; no order stops the others."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onetribe_bc.api.bigcommerce import LOOKUPS, PAGE_SIZE, BigCommerceClient, OrderQuery
from onetribe_bc.api.rate_limit import MAX_WAIT_S
from onetribe_bc.errors import (
    BadResponseError,
    NoResponseError,
    NotFoundError,
    OutOfOrderError,
    RejectedError,
    RetryLaterError,
    UnreachableError,
)
from onetribe_bc.ids import IdRange
from onetribe_bc.order import MAX_ORDER_ID, Order

_log = logging.getLogger(__name__)

CANNOT_BE_FETCHED = "cannot be fetched: "

_Failure = UnreachableError | RejectedError
_FAILURES = (UnreachableError, RejectedError)
"""What may be one order's fault: BigCommerce also responds with a 4xx to a broken one."""

_NO_ORDER = 2**31 - 1
"""An ID that no order has: a list of it alone is empty, and shows that lists can be fetched."""

_DISTANCES = (1, 16, 256, 4096, 65_536, 2**20)
"""How far from an order that cannot be fetched to look for one that can."""


@dataclass(frozen=True, slots=True)
class Page:
    """Orders, ascending by id; requested ids that BigCommerce does not have; and orders that
    cannot be fetched while others can, by id with the reason.
    """

    orders: Sequence[Order] = ()
    missing: Sequence[int] = ()
    unfetchable: Sequence[tuple[int, str]] = ()


def iter_pages(client: BigCommerceClient, query: OrderQuery) -> Iterator[Page]:
    """Yield the orders of `query`, page by page.

    Each page starts after the last ID seen, so orders that are created, deleted or changed
    meanwhile neither repeat a row nor hide one. BigCommerce ignores a filter that it does not
    understand, so rows that do not match are dropped, with one warning.
    """
    lister, warned, min_id = Lister(client), False, query.min_id
    while query.max_id is None or min_id <= query.max_id:
        page, end = lister.fetch(replace(query, min_id=min_id))
        if end is None:
            return
        orders = [order for order in page.orders if query.matches(order)]
        if len(orders) < len(page.orders) and not warned:
            warned = True
            _log.warning(
                "BigCommerce returned orders that do not match the query, such as %s; "
                "they are ignored.",
                next(order.id for order in page.orders if not query.matches(order)),
            )
        yield replace(page, orders=orders)
        min_id = end + 1


def iter_ids(
    client: BigCommerceClient, ranges: Sequence[IdRange], *, lookups: int = LOOKUPS
) -> Iterator[Page]:
    """Yield the orders with these ids, by list pages or single requests, whichever is cheaper.

    A page has up to 250 orders from its first id on, so it is cheaper as soon as two requested
    ids may be on it. Lists omit archived orders: a named id that was on no page is requested
    singly, and is missing if that fails. `ranges` ascend and do not overlap; `lookups` is that
    of `get_order`.
    """
    lister, rest = Lister(client), list(ranges)
    while rest:
        group = _next_group(rest)
        last = group[-1].last
        if len(group) == 1 and group[0].named:
            yield lister.fetch_one(last, lookups=lookups)
            rest = rest[1:]
            continue
        page, end = lister.fetch(OrderQuery(min_id=group[0].first, max_id=last))
        end = last if end is None else end
        wanted = [order for order in page.orders if _contains(group, order.id)]
        failed = [each for each in page.unfetchable if _contains(group, each[0])]
        yield Page(wanted, unfetchable=failed)
        found = {order.id for order in page.orders} | {order_id for order_id, _ in failed}
        for item in group:
            if item.named and item.last <= end and item.first not in found:
                yield lister.fetch_one(item.first, lookups=lookups)
        rest = _after(rest, end)


class Lister:
    """Lists orders, and singles out those that cannot be fetched.

    A page that fails is asked for in halves, down to one order. Raises what stops all orders:
    RefusedError and OutOfOrderError, or the failure itself if nothing can be fetched.
    """

    def __init__(self, client: BigCommerceClient) -> None:
        self._client = client
        self._size = PAGE_SIZE
        self._fetched = 0
        self._grow_after = PAGE_SIZE
        self._has_grown = False
        self._is_wary = False
        self._works = False

    def fetch(self, query: OrderQuery) -> tuple[Page, int | None]:
        """Return the next page of `query`, and up to which ID it covers; None after the last."""
        while True:
            try:
                return self._list(query, attempts=1 if self._is_wary else None)
            except _FAILURES as error:
                _raise_unless_splittable(error)
                if not self._is_wary:
                    self._is_wary, self._works = True, False
                    self._check_lists(query, error)
                if self._size == 1:
                    return self._single_out(query, error)
                if self._has_grown:
                    self._grow_after *= 2
                self._size, self._fetched, self._has_grown = self._size // 2, 0, False

    def fetch_one(self, order_id: int, *, lookups: int = 1, attempts: int | None = None) -> Page:
        """Return a page with one order: fetched, missing, or unfetchable."""
        try:
            return self._get(order_id, lookups=lookups, attempts=attempts)
        except _FAILURES as error:
            _raise_unless_splittable(error)
            self._check_others(order_id, error)
        try:
            return self._get(order_id, lookups=lookups, attempts=1)  # the outage may be over
        except _FAILURES as error:
            _raise_unless_splittable(error)
            return Page(unfetchable=[(order_id, f"{CANNOT_BE_FETCHED}{error}")])

    def _get(self, order_id: int, *, lookups: int, attempts: int | None) -> Page:
        try:
            order = self._client.get_order(order_id, lookups=lookups, attempts=attempts)
        except NotFoundError:
            return Page(missing=[order_id])
        self._works = True
        return Page([order])

    def _list(self, query: OrderQuery, *, attempts: int | None) -> tuple[Page, int | None]:
        rows = self._client.list_orders(query, limit=self._size, attempts=attempts)
        self._fetched += len(rows)
        self._is_wary = self._is_wary and self._size < PAGE_SIZE
        self._has_grown = self._fetched >= self._grow_after and self._size < PAGE_SIZE
        if self._has_grown:
            self._size, self._fetched = min(2 * self._size, PAGE_SIZE), 0
        orders = [row for row in rows if isinstance(row, Order)]
        unreadable = [row for row in rows if not isinstance(row, Order)]
        self._works = self._works or bool(orders)
        failed = [(row.id, f"{CANNOT_BE_FETCHED}its response {row.reason}") for row in unreadable]
        return Page(orders, unfetchable=failed), rows[-1].id if rows else None

    def _single_out(self, query: OrderQuery, error: _Failure) -> tuple[Page, int | None]:
        """Find the first order of `query`, for which the list fails, and fetch it alone."""
        low, width = query.min_id, 1
        last = query.max_id or MAX_ORDER_ID
        high: int | None = None
        while low <= last and (high is None or low < high):
            middle = min(low + width - 1, last) if high is None else (low + high) // 2
            try:
                page, end = self._list(replace(query, min_id=low, max_id=middle), attempts=1)
            except _FAILURES as again:
                _raise_unless_splittable(again)
                high = middle
                continue
            if end is not None:
                return page, end  # it can be fetched now
            low, width = middle + 1, width * 2
        if high is None:
            raise error
        self._size, self._fetched, self._grow_after = PAGE_SIZE, 0, PAGE_SIZE
        page = self.fetch_one(low, attempts=2)
        if page.missing:  # the list fails for it, so it is there
            self._check_others(low, error)
            page = Page(unfetchable=[(low, f"{CANNOT_BE_FETCHED}{error}")])
        return page, low

    def _check_lists(self, query: OrderQuery, error: _Failure) -> None:
        """Raise `error` if not even an empty list can be fetched with the filters of `query`."""
        try:
            empty = replace(query, min_id=_NO_ORDER, max_id=_NO_ORDER)
            self._client.list_orders(empty, limit=1, attempts=2)
        except OutOfOrderError:
            return
        except _FAILURES:
            raise error from None

    def _check_others(self, order_id: int, error: _Failure) -> None:
        """Raise `error` unless another order could be fetched since the last failure."""
        works, self._works = self._works, False
        before = (OrderQuery(max(1, order_id - n), order_id - 1) for n in _DISTANCES)
        after = (OrderQuery(order_id + n) for n in _DISTANCES)
        for query in (*after, *before):
            if works:
                return
            try:
                rows = self._client.list_orders(query, limit=1, attempts=1)
            except _FAILURES:
                continue
            works = any(isinstance(row, Order) for row in rows)
        if not works:
            raise error


def _raise_unless_splittable(error: _Failure) -> None:
    """Raise an error that cannot be one order's."""
    if isinstance(error, RetryLaterError):
        asks_all = error.status == 429 or (error.retry_after_s or 0) > MAX_WAIT_S
        if not asks_all:
            return
    elif isinstance(error, NoResponseError | BadResponseError | RejectedError) and not isinstance(
        error, OutOfOrderError
    ):
        return
    raise error


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
