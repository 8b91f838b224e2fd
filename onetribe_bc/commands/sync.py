"""Sync, for cron: send what changed since the last sync, and everything still owed.

It selects orders by `date_modified`, since an order can be Incomplete for hours before it is
placed. It starts some time before its bookmark, for changes that BigCommerce lists late. Delivered
orders are not sent again, so the overlap costs requests but no deliveries.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.clock import Clock
from onetribe_bc.commands.inbox import acknowledge, iter_callbacks
from onetribe_bc.dates import Window, format_time
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Lister, Page, iter_ids, iter_pages
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import InputError
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.inbox import DEFERRED_FOR
from onetribe_bc.ledger.ledger import Bookmark, Ledger
from onetribe_bc.ledger.states import State
from onetribe_bc.text import plural


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """Which changes a sync covers: those from `since` on; None covers only future ones.

    `continues` is false if changes between the bookmark and `since` are left out.
    """

    since: datetime | None
    continues: bool


def plan_sync(
    ledger: Ledger, *, since: datetime | None, overlap: timedelta, now: datetime
) -> SyncPlan:
    """Start where the last sync ended, less the overlap, unless `since` is set.

    The first sync starts at `since`, or now if it is None; later ones never start before the
    first one did, unless `since` does. Raises InputError for a `since` in the future, and if the
    first sync to a new One Tribe URL would leave out orders that the ledger has.
    """
    bookmark = ledger.bookmark()
    if since is not None:
        if since > now:
            raise InputError(
                f"--since ({format_time(since, ZoneInfo('UTC'))}) is in the future.",
                hint="Use a time in the past; without --since, the first sync starts now.",
            )
        return SyncPlan(since, continues=bookmark is None or since <= bookmark.synced_until)
    if bookmark is None:
        if others := ledger.known_elsewhere():
            raise InputError(
                f"The ledger has {plural(others, 'order')} of this store for another One Tribe "
                "URL. A sync that starts now would leave out those that are still owed there.",
                hint="If the new URL is right, set the start: bc2ot sync --since 7d. It treats "
                "all orders as new.",
            )
        return SyncPlan(None, continues=True)
    # A bookmark in the future was set by a wrong clock.
    begin = min(bookmark.synced_until, now) - overlap
    if bookmark.begins_at <= now:
        begin = max(begin, bookmark.begins_at)
    return SyncPlan(begin, continues=True)


def sync(context: Context, plan: SyncPlan, *, callbacks: bool = True) -> Generator[Report]:
    """Deliver what changed and what is owed, as `run` does.

    Failed orders wait until they change or are retried. Without `callbacks`, a receiver sends the
    orders that callbacks named. Raises BusyError immediately if another run holds the store.
    """
    return run(
        context,
        "sync",
        _iter_pages(context, plan, callbacks=callbacks),
        skip_reason=context.skip_rule(),
        exclusive=True,
    )


def send_owed(context: Context) -> Generator[Report]:
    """Deliver owed orders only, for a receiver whose first sync still needs a start.

    It is not recorded as a sync. Raises what `sync` raises.
    """
    return run(
        context,
        "serve",
        _iter_owed(context),
        skip_reason=context.skip_rule(),
        exclusive=True,
    )


def _iter_pages(context: Context, plan: SyncPlan, *, callbacks: bool) -> Iterator[Page]:
    """Yield orders that changed, then those that callbacks named, then all others that are owed.

    The bookmark moves once all changes are in the ledger: the pipeline records each page before
    it takes the next one.
    """
    client, ledger = context.bigcommerce, context.ledger
    owed = _owed(context)
    named = {entry.order_id: entry for entry in ledger.inbox.all()}
    if plan.since is None:
        present = client.time()
        start = min(present, context.clock.now())
        ledger.move_bookmark(Bookmark(start, start), present=present)
    else:
        changes = _Changes(client, plan.since, context.clock)
        for page in changes.iter_pages():
            owed.difference_update(order.id for order in page.orders)
            owed.difference_update(order_id for order_id, _ in page.unfetchable)
            yield from acknowledge(context, page, named)
        if plan.continues:
            bookmark = Bookmark(plan.since, changes.seen_until)
            ledger.move_bookmark(bookmark, present=changes.present)
    owed.difference_update(_iter_inbox(context))
    if callbacks:
        yield from iter_callbacks(context)
    yield from iter_ids(client, each_of(owed))


def _iter_owed(context: Context) -> Iterator[Page]:
    """Yield the owed orders, except those that the inbox handles."""
    owed = _owed(context).difference(_iter_inbox(context))
    yield from iter_ids(context.bigcommerce, each_of(owed))


def _owed(context: Context) -> set[int]:
    """Return the ids of the orders to send, changed or not; unknown ones may not be due yet."""
    ledger = context.ledger
    return {
        entry.order_id
        for entry in ledger.iter_entries((State.PENDING, State.UNKNOWN))
        if entry.state is State.PENDING or not ledger.policy.holds(entry)
    }


def _iter_inbox(context: Context) -> Iterator[int]:
    """Return the ids of the orders that the inbox handles: those due now, and those to retry.

    An order that is due later than any retry was postponed by a wrong clock: the sync sends it.
    """
    now = context.clock.now()
    for entry in context.ledger.inbox.all():
        if entry.due_at <= now or (entry.looks and entry.due_at <= now + DEFERRED_FOR[-1]):
            yield entry.order_id


class _Changes:
    """The orders modified from `since` on, in a window that the first response fixes."""

    def __init__(self, client: BigCommerceClient, since: datetime, clock: Clock) -> None:
        self._client = client
        self._since = since
        self._clock = clock
        self.present = since
        """BigCommerce's own time of the first response."""
        self.seen_until = since
        """No change before this time was missed."""

    def iter_pages(self) -> Iterator[Page]:
        opening = OrderQuery(modified=Window(self._since, None))
        started_at = self._clock.monotonic()
        page, end = Lister(self._client).fetch(opening)
        took = timedelta(seconds=self._clock.monotonic() - started_at)
        now = self._clock.now()
        self.present = self._client.server_time or now
        # An order may change between the request and the response. Use the earlier of two clocks,
        # or one fast reading would make later syncs miss changes.
        self.seen_until = min(self.present, now) - took
        if end is None:
            return
        yield replace(page, orders=[order for order in page.orders if opening.matches(order)])
        window = Window(self._since, max(self._since, self.present))
        yield from iter_pages(self._client, OrderQuery(end + 1, modified=window))
