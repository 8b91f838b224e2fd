"""Sync, for cron: send what changed since the last time, and everything still owed.

It follows `date_modified`, since an order can be Incomplete for hours before it becomes real,
and looks back a while behind its bookmark for changes that show up late. Whatever was delivered
already is left alone, so looking twice costs a request and sends nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.clock import Clock
from onetribe_bc.commands.inbox import RETRY_AFTER, acknowledge, iter_callbacks
from onetribe_bc.dates import Window, format_time
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Page, iter_ids, iter_pages
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
from onetribe_bc.delivery.selection import skip_reason
from onetribe_bc.errors import InputError
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.ledger import Bookmark, Ledger
from onetribe_bc.ledger.states import State


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync looks at: changes from `since` on, or with None only those to come.

    `continues` says that nothing is left out between the bookmark and `since`.
    """

    since: datetime | None
    continues: bool


def plan_sync(
    ledger: Ledger, *, since: datetime | None, overlap: timedelta, now: datetime
) -> SyncPlan:
    """Where to begin: where the last sync ended, less the overlap, unless `since` is given.

    The first sync of all begins at `since`, or with None now; none looks back behind that
    unless it is asked to. Raises InputError for a `since` that is yet to come, and when the
    first sync to another address of One Tribe would leave out what the ledger knows.
    """
    bookmark = ledger.bookmark()
    if since is not None:
        if since > now:
            raise InputError(
                f"--since ({format_time(since, ZoneInfo('UTC'))}) is yet to come.",
                hint="Give a moment that has passed; without --since, the first sync begins now.",
            )
        return SyncPlan(since, continues=bookmark is None or since <= bookmark.synced_until)
    if bookmark is None:
        if others := ledger.known_elsewhere():
            raise InputError(
                f"One Tribe's address is not the one that {others:,} orders of this store went "
                "or were to go to: beginning now would leave out what was owed there.",
                hint="If the address is right, say from where: bc2ot sync --since 7d. It takes "
                "all of them as new.",
            )
        return SyncPlan(None, continues=True)
    # What lies ahead of now was written when a clock was wrong.
    begin = min(bookmark.synced_until, now) - overlap
    if bookmark.begins_at <= now:
        begin = max(begin, bookmark.begins_at)
    return SyncPlan(begin, continues=True)


def sync(
    context: Context,
    plan: SyncPlan,
    *,
    skip_status_ids: Collection[int],
    callbacks: bool = True,
) -> Generator[Report]:
    """Deliver, as `run` does. Orders that failed for good wait until they change or someone
    retries them. Without `callbacks`, what callbacks named is left to who takes them in. Raises
    BusyError at once while another run holds the store.
    """
    return run(
        context,
        "sync",
        _iter_pages(context, plan, callbacks=callbacks),
        skip_reason=partial(skip_reason, skip_status_ids),
        exclusive=True,
    )


def send_owed(context: Context, *, skip_status_ids: Collection[int]) -> Generator[Report]:
    """Deliver what is owed, and look at no changes: for a receiver, when `plan_sync` cannot tell
    from where on. It is no sync, and does not count as one. Raises as `sync` does.
    """
    return run(
        context,
        "serve",
        _iter_owed(context),
        skip_reason=partial(skip_reason, skip_status_ids),
        exclusive=True,
    )


def _iter_pages(context: Context, plan: SyncPlan, *, callbacks: bool) -> Iterator[Page]:
    """What changed, then what callbacks named, then what else is owed.

    The bookmark moves when all that changed is in the ledger: whoever takes the next page has
    entered the last one.
    """
    client, ledger = context.bigcommerce, context.ledger
    owed = _owed(context)
    named = {one.order_id: one for one in context.ledger.inbox.all()}
    if plan.since is None:
        present = client.time()
        start = min(present, context.clock.now())
        ledger.move_bookmark(Bookmark(start, start), present=present)
    else:
        changes = _Changes(client, plan.since, context.clock)
        for page in changes.iter_pages():
            owed.difference_update(order.id for order in page.orders)
            yield from acknowledge(context, page, named)
        if plan.continues:
            bookmark = Bookmark(plan.since, changes.seen_until)
            ledger.move_bookmark(bookmark, present=changes.present)
    owed.difference_update(_looked_after(context))
    if callbacks:
        yield from iter_callbacks(context)
    yield from iter_ids(client, each_of(owed))


def _iter_owed(context: Context) -> Iterator[Page]:
    """What is owed, but for what the inbox sees to."""
    owed = _owed(context).difference(_looked_after(context))
    yield from iter_ids(context.bigcommerce, each_of(owed))


def _owed(context: Context) -> set[int]:
    """The orders that a run has to send, changed or not."""
    held = not context.ledger.policy.resend_unknown
    states = (State.PENDING,) if held else (State.PENDING, State.UNKNOWN)
    return {entry.order_id for entry in context.ledger.iter_entries(states)}


def _looked_after(context: Context) -> Iterator[int]:
    """The orders that the inbox sees to: those due, and those looked at in vain a while ago.
    What is due much later was put off when a clock was wrong, and nobody knows until when.
    """
    now = context.clock.now()
    for one in context.ledger.inbox.all():
        if one.due_at <= now or (one.looks and one.due_at <= now + RETRY_AFTER[-1]):
            yield one.order_id


class _Changes:
    """The orders modified from `since` on, inside a window that the first answer freezes."""

    def __init__(self, client: BigCommerceClient, since: datetime, clock: Clock) -> None:
        self._client = client
        self._since = since
        self._clock = clock
        self.present = since
        """BigCommerce's own time at the first answer."""
        self.seen_until = since
        """Up to when no change was missed."""

    def iter_pages(self) -> Iterator[Page]:
        opening = OrderQuery(modified=Window(self._since, None))
        asked_at = self._clock.monotonic()
        rows = self._client.list_orders(opening)
        took = timedelta(seconds=self._clock.monotonic() - asked_at)
        now = self._clock.now()
        self.present = self._client.server_time or now
        # A change may fall between the look and the answer. The earlier of two clocks counts,
        # lest one that runs ahead once makes all later syncs look away.
        self.seen_until = min(self.present, now) - took
        if not rows:
            return
        yield Page([row for row in rows if opening.matches(row)])
        window = Window(self._since, max(self._since, self.present))
        yield from iter_pages(self._client, OrderQuery(rows[-1].id + 1, modified=window))
