"""Orders that callbacks named: fetched, and looked for again where BigCommerce lags."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""How long to wait for an order that a callback named and BigCommerce does not have: it may lag.
After the last of them the order is missing: an Incomplete one vanishes when its shopper starts
over.
"""

CLAIMED_RETRY_AFTER = tuple(timedelta(seconds=s) for s in (2, 4, 8, 15, 30, 60))
"""When to look again at an order that changed while another version of it was being sent; from
the last of them on, always so late.
"""

AT_ONCE = 40 * PAGE_SIZE
"""How many orders to look at together: those of a storm share their pages."""


def iter_callbacks(
    context: Context, *, handed_on: Callable[[Named], None] | None = None
) -> Iterator[Page]:
    """All orders that are due to be looked at; `handed_on` is told of each that is on a page.

    What was delivered is not even fetched, unless changes are to be sent.
    """
    drop = not context.ledger.policy.on_change
    while named := context.ledger.inbox.due(AT_ONCE, drop_delivered=drop):
        yield from iter_named(context, named, looks=1, handed_on=handed_on)


def iter_named(
    context: Context,
    named: Sequence[Named],
    *,
    looks: int,
    handed_on: Callable[[Named], None] | None = None,
) -> Iterator[Page]:
    """These orders, fetched and handed on; `looks` is how often to ask for one that BigCommerce
    does not have. That one stays in the inbox, on no page, until it is given up.
    """
    inbox, clock = context.ledger.inbox, context.clock
    due = {one.order_id: one for one in named}
    for page in iter_ids(context.bigcommerce, each_of(due), looks=looks):
        absent, now = [due[order_id] for order_id in page.missing], clock.now()
        later = [one for one in absent if one.looks < len(RETRY_AFTER)]
        for one in later:
            again = span(RETRY_AFTER[one.looks])
            _log.info("Order %d: BigCommerce has none such; again in %s.", one.order_id, again)
        inbox.postpone((one, now + RETRY_AFTER[one.looks]) for one in later)
        inbox.miss(one.order_id for one in later)
        lost = [one.order_id for one in absent if one.looks >= len(RETRY_AFTER)]
        if handed_on is not None:
            for order_id in (*lost, *(order.id for order in page.orders)):
                handed_on(due[order_id])
        yield from acknowledge(context, Page(page.orders, lost), due)


def acknowledge(context: Context, page: Page, named: Mapping[int, Named]) -> Iterator[Page]:
    """The page. Those of its orders that were named leave the inbox when the next page is asked
    for, but an order of which another version is being sent stays: whether this one is to be
    sent, too, shows only when that one is settled.
    """
    inbox, clock = context.ledger.inbox, context.clock
    orders = [order for order in page.orders if order.id in named]
    before = _entries(context, orders)
    yield page
    after = _entries(context, orders)
    kept = {
        order.id
        for order in orders
        if order.id in after and _is_crossed(order, before.get(order.id), after[order.id])
    }
    ended = [*page.missing, *(order.id for order in orders)]
    inbox.remove([named[i] for i in ended if i in named and i not in kept])
    now, most = clock.now(), len(CLAIMED_RETRY_AFTER) - 1
    inbox.postpone((named[i], now + CLAIMED_RETRY_AFTER[min(named[i].looks, most)]) for i in kept)


def _entries(context: Context, orders: Sequence[Order]) -> Mapping[int, Entry]:
    return context.ledger.entries([order.id for order in orders]) if orders else {}


def _is_crossed(order: Order, before: Entry | None, after: Entry) -> bool:
    """Whether another version was under way when this one was to be entered in the ledger."""
    if after.sha256 == order.sha256:
        return False  # this very version is being sent, or was
    if after.state is State.SENDING or (before is not None and before.state is State.SENDING):
        return True
    return after.attempts != (0 if before is None else before.attempts)
