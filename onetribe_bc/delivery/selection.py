"""Which orders a run covers, and which of them are not eligible."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeVar

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderCount, OrderQuery
from onetribe_bc.dates import Window
from onetribe_bc.delivery.fetching import Page, iter_ids, iter_pages
from onetribe_bc.errors import InputError, RejectedError, UnreachableError, WrongStoreError
from onetribe_bc.ids import IdRange
from onetribe_bc.order import Order
from onetribe_bc.statuses import STATUSES, find_status_ids

_log = logging.getLogger(__name__)

T = TypeVar("T")
By = Literal["created", "modified"]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """The orders that a user asked for. `ids` cannot be combined with dates or an ID range.

    `statuses` are names or IDs. `since` and `until` are aware UTC.
    """

    since: datetime | None = None
    until: datetime | None = None
    by: By = "created"
    ids: Sequence[IdRange] = ()
    from_id: int | None = None
    to_id: int | None = None
    statuses: Sequence[str] = ()
    channel_id: int | None = None

    def __post_init__(self) -> None:
        bounds = (self.since, self.until, self.from_id, self.to_id)
        if self.ids and any(bound is not None for bound in bounds):
            raise InputError(
                "--ids cannot be combined with dates or --from-id and --to-id.",
                hint="Use --from-id and --to-id together with dates.",
            )
        if self.from_id is not None and self.to_id is not None and self.to_id < self.from_id:
            raise InputError("--to-id is lower than --from-id.")


@dataclass(frozen=True, slots=True)
class Selection:
    """The orders of one run. `window` is None for a selection by IDs; `count` is the store's, or
    None if it was not requested or is not known.
    """

    query: OrderQuery
    ids: Sequence[IdRange] = ()
    status_ids: Collection[int] = ()
    window: Window | None = None
    by: By = "created"
    count: OrderCount | None = None

    @property
    def expected(self) -> int | None:
        """The number of orders, if it is known."""
        return None if self.count is None else self.count.total

    @property
    def most(self) -> int | None:
        """The most orders that there can be, if that is known."""
        if self.ids:
            return sum(item.last - item.first + 1 for item in self.ids)
        return self.expected

    def iter_pages(self, client: BigCommerceClient) -> Iterator[Page]:
        """Fetch the orders page by page."""
        pages = iter_ids(client, self.ids) if self.ids else iter_pages(client, self.query)
        for page in pages:
            yield replace(page, orders=[order for order in page.orders if self._includes(order)])

    def _includes(self, order: Order) -> bool:
        return self.query.matches(order) and (
            not self.status_ids or order.status_id in self.status_ids
        )


@dataclass(frozen=True, slots=True)
class SkipRule:
    """Which orders are not eligible: those with one of these statuses, those of other sales
    channels if some are set, and those created before a day, which starts in its time zone.
    """

    status_ids: Collection[int]
    channels: Collection[int] = ()
    not_before: datetime | None = None
    _warned: set[int] = field(default_factory=set)

    def __call__(self, order: Order) -> str:
        """Why the order is not eligible; empty if it is, or if that is not known."""
        if order.status_id not in STATUSES and not self._warned:
            self._warned.add(order.id)
            _log.warning(
                "Order %d has no status that bc2ot knows; such orders are not skipped.", order.id
            )
        if order.status_id is not None and order.status_id in self.status_ids:
            return f"status {STATUSES.get(order.status_id, order.status_id)}"
        if self.channels and order.channel_id not in (None, *self.channels):
            return f"channel {order.channel_id}"
        if self.not_before and order.date_created and order.date_created < self.not_before:
            return f"created before {self.not_before:%Y-%m-%d}"
        return ""


def resolve_statuses(client: BigCommerceClient, statuses: Iterable[str | int]) -> frozenset[int]:
    """Return the ids of statuses given by id or name; only a merchant's own name costs a request.

    Raises InputError for a status that the store does not have.
    """
    return find_status_ids(statuses, client.order_statuses)


def count_if_possible(count: Callable[[OrderQuery], T], query: OrderQuery) -> T | None:
    """Return the store's own count, or None, with a warning, if it has none to give."""
    try:
        return count(query)
    except (UnreachableError, RejectedError, WrongStoreError) as error:
        _log.warning("The number of orders is not known: %s", error)
        return None


def select(
    client: BigCommerceClient, order_filter: OrderFilter, *, now: Callable[[], datetime]
) -> Selection:
    """Resolve a filter to a selection with a fixed window.

    For dates, this costs one request for the count. The window ends at BigCommerce's time of the
    response, since this machine's clock may be wrong. Raises InputError for an inverted window or
    a status that the store does not have.
    """
    status_ids = resolve_statuses(client, order_filter.statuses)
    if order_filter.ids:
        query = OrderQuery(channel_id=order_filter.channel_id)
        return Selection(query, ids=order_filter.ids, status_ids=status_ids)
    open_window = Window(order_filter.since, order_filter.until)
    query = _query(order_filter, status_ids, open_window)
    count = count_if_possible(client.count_by_status, query)
    frozen_at = client.server_time or now()
    until = frozen_at if order_filter.until is None else min(order_filter.until, frozen_at)
    window = Window(order_filter.since, until)
    return Selection(
        _query(order_filter, status_ids, window),
        status_ids=status_ids,
        window=window,
        by=order_filter.by,
        count=count and count.only(status_ids),
    )


def _query(order_filter: OrderFilter, status_ids: Collection[int], window: Window) -> OrderQuery:
    return OrderQuery(
        min_id=order_filter.from_id or 1,
        max_id=order_filter.to_id,
        created=window if order_filter.by == "created" else None,
        modified=window if order_filter.by == "modified" else None,
        # BigCommerce filters by one status only; Selection filters the rows by several.
        status_id=next(iter(status_ids)) if len(status_ids) == 1 else None,
        channel_id=order_filter.channel_id,
    )
