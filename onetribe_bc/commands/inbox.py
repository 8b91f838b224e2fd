"""Fetch the orders that callbacks named, and retry those that BigCommerce does not list yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from onetribe_bc.api.bigcommerce import PAGE_SIZE
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Page, iter_ids
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.inbox import Named
from onetribe_bc.ledger.states import Entry, State
from onetribe_bc.order import Order
from onetribe_bc.text import span

_log = logging.getLogger(__name__)

RETRY_AFTER = tuple(timedelta(seconds=s) for s in (5, 15, 60, 300, 900))
"""How long to wait for an order that BigCommerce does not have: it may lag behind its callback.
After the last wait, the order is missing; an Incomplete one vanishes when its shopper starts over.
"""

CLAIMED_RETRY_AFTER = tuple(timedelta(seconds=s) for s in (2, 4, 8, 15, 30, 60))
"""How long to wait for an order that changed while another version of it was being sent. The last
wait repeats.
"""

BATCH = 40 * PAGE_SIZE
"""How many orders to fetch together: those of a burst share their pages."""


def iter_callbacks(
    context: Context, *, on_fetched: Callable[[Named], None] | None = None
) -> Iterator[Page]:
    """Yield all orders in the inbox that are due; `on_fetched` is called for each one on a page.

    A delivered order is not even fetched, unless the policy sends changes.
    """
    drop = not context.ledger.policy.on_change
    while named := context.ledger.inbox.due(BATCH, drop_delivered=drop):
        yield from iter_named(context, named, lookups=1, on_fetched=on_fetched)


def iter_named(
    context: Context,
    named: Sequence[Named],
    *,
    lookups: int,
    on_fetched: Callable[[Named], None] | None = None,
) -> Iterator[Page]:
    """Fetch these orders. After `lookups` requests without success, an order counts as not found.

    Such an order is on no page and stays in the inbox, until its last retry.
    """
    inbox, clock = context.ledger.inbox, context.clock
    due = {entry.order_id: entry for entry in named}
    for page in iter_ids(context.bigcommerce, each_of(due), lookups=lookups):
        absent, now = [due[order_id] for order_id in page.missing], clock.now()
        retried = [entry for entry in absent if entry.looks < len(RETRY_AFTER)]
        for entry in retried:
            wait = span(RETRY_AFTER[entry.looks])
            _log.info("Order %d: not found at BigCommerce; retrying in %s.", entry.order_id, wait)
        inbox.postpone((entry, now + RETRY_AFTER[entry.looks]) for entry in retried)
        inbox.miss(entry.order_id for entry in retried)
        missing = [entry.order_id for entry in absent if entry.looks >= len(RETRY_AFTER)]
        if on_fetched is not None:
            failed = [order_id for order_id, _ in page.unfetchable]
            for order_id in (*missing, *failed, *(order.id for order in page.orders)):
                on_fetched(due[order_id])
        yield from acknowledge(context, replace(page, missing=missing), due)


def acknowledge(context: Context, page: Page, named: Mapping[int, Named]) -> Iterator[Page]:
    """Yield the page; once it is recorded, remove its orders from the inbox.

    An order stays if another version of it is being sent: whether this version must also be sent
    is known only when that one is settled.
    """
    inbox, clock = context.ledger.inbox, context.clock
    orders = [order for order in page.orders if order.id in named]
    before = _entries(context, orders)
    yield page
    # The pipeline asked for the next page, so this one is in the ledger.
    after = _entries(context, orders)
    kept = {
        order.id
        for order in orders
        if order.id in after and _is_crossed(order, before.get(order.id), after[order.id])
    }
    processed = [*page.missing, *(order.id for order in orders)]
    inbox.remove([named[i] for i in processed if i in named and i not in kept])
    now, last = clock.now(), len(CLAIMED_RETRY_AFTER) - 1
    inbox.postpone((named[i], now + CLAIMED_RETRY_AFTER[min(named[i].looks, last)]) for i in kept)


def _entries(context: Context, orders: Sequence[Order]) -> Mapping[int, Entry]:
    return context.ledger.entries([order.id for order in orders]) if orders else {}


def _is_crossed(order: Order, before: Entry | None, after: Entry) -> bool:
    """Whether another version was in flight when this one was recorded."""
    if after.sha256 == order.sha256:
        return False  # this version is, or was, the one being sent
    if after.state is State.SENDING or (before is not None and before.state is State.SENDING):
        return True
    return after.attempts != (0 if before is None else before.attempts)
