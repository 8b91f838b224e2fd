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
from onetribe_bc.dates import Window, written
from onetribe_bc.delivery import Report
from onetribe_bc.errors import InputError
from onetribe_bc.fetching import Page, iter_ids, iter_pages
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.entry import State
from onetribe_bc.ledger.inventory import Bookmark, Inventory
from onetribe_bc.runs.inbox import LOOK_AGAIN_AFTER, hand_on, iter_callbacks
from onetribe_bc.runs.run import run
from onetribe_bc.runs.selection import skip_reason
from onetribe_bc.runs.services import Services


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync looks at: changes from `since` on, or with None only those to come.

    `continues` says that nothing is left out between the bookmark and `since`.
    """

    since: datetime | None
    continues: bool


def plan_sync(
    inventory: Inventory, *, since: datetime | None, overlap: timedelta, now: datetime
) -> SyncPlan:
    """Where to begin: where the last sync ended, less the overlap, unless `since` is given.

    The first sync of all begins at `since`, or with None now; none looks back behind that
    unless it is asked to. Raises InputError for a `since` that is yet to come, and when the
    first sync to another address of One Tribe would leave out what the ledger knows.
    """
    bookmark = inventory.bookmark()
    if since is not None:
        if since > now:
            raise InputError(
                f"--since ({written(since, ZoneInfo('UTC'))}) is yet to come.",
                hint="Give a moment that has passed; without --since, the first sync begins now.",
            )
        return SyncPlan(since, continues=bookmark is None or since <= bookmark.synced_until)
    if bookmark is None:
        if others := inventory.known_elsewhere():
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
    services: Services,
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
        services,
        "sync",
        _iter_pages(services, plan, callbacks=callbacks),
        skip_reason=partial(skip_reason, skip_status_ids),
        exclusive=True,
    )


def send_owed(services: Services, *, skip_status_ids: Collection[int]) -> Generator[Report]:
    """Deliver what is owed, and look at no changes: for a receiver, when `plan_sync` cannot tell
    from where on. It is no sync, and does not count as one. Raises as `sync` does.
    """
    return run(
        services,
        "serve",
        _iter_owed(services),
        skip_reason=partial(skip_reason, skip_status_ids),
        exclusive=True,
    )


def _iter_pages(services: Services, plan: SyncPlan, *, callbacks: bool) -> Iterator[Page]:
    """What changed, then what callbacks named, then what else is owed.

    The bookmark moves when all that changed is in the ledger: whoever takes the next page has
    entered the last one.
    """
    client, inventory = services.bigcommerce, services.inventory
    owed = _owed(services)
    named = {one.order_id: one for one in services.inbox.all()}
    if plan.since is None:
        present = client.time()
        start = min(present, services.clock.now())
        inventory.move_bookmark(Bookmark(start, start), present=present)
    else:
        changes = _Changes(client, plan.since, services.clock)
        for page in changes.iter_pages():
            owed.difference_update(order.id for order in page.orders)
            yield from hand_on(services, page, named)
        if plan.continues:
            bookmark = Bookmark(plan.since, changes.seen_until)
            inventory.move_bookmark(bookmark, present=changes.present)
    owed.difference_update(_looked_after(services))
    if callbacks:
        yield from iter_callbacks(services)
    yield from iter_ids(client, each_of(owed))


def _iter_owed(services: Services) -> Iterator[Page]:
    """What is owed, but for what the inbox sees to."""
    owed = _owed(services).difference(_looked_after(services))
    yield from iter_ids(services.bigcommerce, each_of(owed))


def _owed(services: Services) -> set[int]:
    """The orders that a run has to send, changed or not."""
    held = not services.book.policy.resend_unknown
    states = (State.PENDING,) if held else (State.PENDING, State.UNKNOWN)
    return {entry.order_id for entry in services.inventory.iter_entries(states)}


def _looked_after(services: Services) -> Iterator[int]:
    """The orders that the inbox sees to: those due, and those looked at in vain a while ago.
    What is due much later was put off when a clock was wrong, and nobody knows until when.
    """
    now = services.clock.now()
    for one in services.inbox.all():
        if one.due_at <= now or (one.looks and one.due_at <= now + LOOK_AGAIN_AFTER[-1]):
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
