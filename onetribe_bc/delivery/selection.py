"""Which orders a run is about: what was asked for, made exact and frozen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.dates import Window
from onetribe_bc.delivery.fetching import Page, iter_ids, iter_pages
from onetribe_bc.errors import InputError
from onetribe_bc.ids import IdRange
from onetribe_bc.order import Order
from onetribe_bc.statuses import STATUSES, find_status_ids

By = Literal["created", "modified"]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What was asked for. `ids` stand alone; everything else may be combined.

    `statuses` are names or ids. `since` and `until` are aware UTC.
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
                "--ids names the orders already; it cannot be combined with dates or --from-id "
                "and --to-id.",
                hint="Use --from-id and --to-id together with dates.",
            )
        if self.from_id is not None and self.to_id is not None and self.to_id < self.from_id:
            raise InputError("--to-id is below --from-id: there is no order in between.")


@dataclass(frozen=True, slots=True)
class Selection:
    """The orders of one run. `window` is None for a selection by ids; `expected` is the store's
    own count, None where it was not asked.
    """

    query: OrderQuery
    ids: Sequence[IdRange] = ()
    status_ids: Collection[int] = ()
    window: Window | None = None
    by: By = "created"
    expected: int | None = None
    skip_status_ids: Collection[int] = field(default=())

    def iter_pages(self, client: BigCommerceClient) -> Iterator[Page]:
        """The orders, fetched page by page."""
        pages = iter_ids(client, self.ids) if self.ids else iter_pages(client, self.query)
        for page in pages:
            orders = [order for order in page.orders if self._selects(order)]
            yield Page(orders, page.missing)

    def skip_reason(self, order: Order) -> str:
        """Why an order is not eligible; empty if it is."""
        return skip_reason(self.skip_status_ids, order)

    def _selects(self, order: Order) -> bool:
        if self.status_ids and order.status_id not in self.status_ids:
            return False
        return self.query.channel_id is None or order.channel_id in (None, self.query.channel_id)


def skip_reason(skip_status_ids: Collection[int], order: Order) -> str:
    """Why an order is not eligible; empty if it is. A status it does not tell is no reason."""
    if order.status_id is None or order.status_id not in skip_status_ids:
        return ""
    return f"status {STATUSES.get(order.status_id, order.status_id)}"


def resolve_statuses(client: BigCommerceClient, statuses: Iterable[str | int]) -> frozenset[int]:
    """Return the ids of statuses given by id or name; only a merchant's name costs a request.

    Raises InputError for a status that the store does not have.
    """
    return find_status_ids(statuses, client.order_statuses)


def select(
    client: BigCommerceClient,
    request: OrderFilter,
    *,
    skip_statuses: Sequence[str | int],
    now: Callable[[], datetime],
) -> Selection:
    """Make a request exact. Costs one request for the count, whose answer also tells
    BigCommerce's time: the window ends there, not at this machine's idea of now. Statuses that
    the merchant named cost another.

    Raises InputError for an inverted window or a status that the store does not have.
    """
    status_ids = resolve_statuses(client, request.statuses)
    skip_ids = resolve_statuses(client, skip_statuses)
    if request.ids:
        query = OrderQuery(channel_id=request.channel_id)
        return Selection(query, ids=request.ids, status_ids=status_ids, skip_status_ids=skip_ids)
    asked = _query(request, status_ids, Window(request.since, request.until))
    expected = client.count_orders(asked)
    frozen_at = client.server_time or now()
    until = frozen_at if request.until is None else min(request.until, frozen_at)
    window = Window(request.since, until)
    return Selection(
        _query(request, status_ids, window),
        status_ids=status_ids,
        window=window,
        by=request.by,
        expected=expected,
        skip_status_ids=skip_ids,
    )


def _query(request: OrderFilter, status_ids: Collection[int], window: Window) -> OrderQuery:
    return OrderQuery(
        min_id=request.from_id or 1,
        max_id=request.to_id,
        created=window if request.by == "created" else None,
        modified=window if request.by == "modified" else None,
        # BigCommerce filters by one status only; several are picked from the rows.
        status_id=next(iter(status_ids)) if len(status_ids) == 1 else None,
        channel_id=request.channel_id,
    )
