"""`bc2ot backfill`."""

from __future__ import annotations

import os
from typing import Literal

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import (
    COMPLETION_VARIABLE,
    WHEN,
    Whole,
    command,
    dry_run_option,
    force_option,
    json_option,
    order_id,
    read_ids,
    until_option,
    window_bounds,
    workers_option,
)
from onetribe_bc.cli.running import describe, selection_json, show_preview, show_run, until_stopped
from onetribe_bc.cli.signals import ended_by_signals, interruptible
from onetribe_bc.cli.summary import status_text
from onetribe_bc.commands.backfill import backfill as run_backfill
from onetribe_bc.commands.backfill import preview
from onetribe_bc.delivery.context import Context as DeliveryContext
from onetribe_bc.delivery.context import open_context, policy_of
from onetribe_bc.delivery.selection import OrderFilter, Selection, select
from onetribe_bc.errors import ExitCode, InputError
from onetribe_bc.ledger.states import State
from onetribe_bc.statuses import STATUSES, status_name
from onetribe_bc.text import plural

UNASKED = 1_000
"""The most orders that a backfill by dates or IDs sends without asking."""


def _complete_statuses(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    found = [name for name in STATUSES.values() if name.lower().startswith(incomplete.lower())]
    if os.environ.get(COMPLETION_VARIABLE, "").startswith("bash"):
        # bash inserts completions unquoted.
        return [f'"{name}"' if " " in name else name for name in found]
    return found


def _is_confirmed(
    console: Console,
    context: DeliveryContext,
    selection: Selection,
    limit: int | None,
    *,
    bounded: bool,
    asks: bool,
) -> bool:
    """Show the orders of a backfill that is large or has no bounds, and ask if it `asks`."""
    rule = context.skip_rule()
    eligible: dict[str, int] = {}
    skipped: dict[str, int] = {}
    for status_id, number in selection.count.by_status.items() if selection.count else ():
        (skipped if status_id in rule.status_ids else eligible)[status_name(status_id)] = number
    most = selection.most
    if most is not None:
        most -= sum(skipped.values())
    if limit is not None:
        most = limit if most is None else min(most, limit)
    if most == 0 or (bounded and most is not None and most <= UNASKED):
        return True
    show = console.error if asks else console.info
    orders = "an unknown number of orders" if most is None else plural(most, "order")
    statuses = status_text(eligible)
    show(f"To send: at most {orders}{statuses and f' of these: {statuses}'}.")
    if any(skipped.values()):
        show(f"Skipped by orders.skip_statuses: {status_text(skipped)}.")
    if rule.channels:
        show(f"Only orders of channel {', '.join(map(str, rule.channels))} are sent.")
    if rule.not_before:
        show(f"Orders created before {rule.not_before:%Y-%m-%d} are skipped (orders.not_before).")
    policy = context.ledger.policy
    delivered = context.ledger.status(runs=0).states.get(State.DELIVERED, 0)
    if delivered and not (policy.force or policy.on_change):
        show(f"Not sent again: the {plural(delivered, 'order')} of this store delivered before.")
    if not asks:
        return True
    show("To count them by month and send none, add --dry-run.")
    with ended_by_signals():
        return console.confirm(f"Send up to {orders} to One Tribe? Each may cost you money.")


@command(
    "backfill",
    help="""Send every order in a date or ID range that One Tribe does not have yet.

    Running it again sends only what is still owed. Without dates or IDs, it sends every order in
    the store. As each order may cost you money, it then asks first, and also for more than 1,000
    orders; without a terminal, --yes is required for a backfill without dates or IDs.

    \b
    Examples:
      bc2ot backfill --since 30d
      bc2ot backfill --since 2026-01-01 --until 2026-01-31 --dry-run
      bc2ot backfill --ids 218,300-310
      bc2ot backfill --status Shipped --status 'Awaiting Fulfillment' --limit 10
    """,
    epilog=WHEN,
)
@click.option("--since", metavar="WHEN", help="Start of the range.  [default: the first order]")
@until_option
@click.option(
    "--by",
    type=click.Choice(["created", "modified"]),
    default="created",
    show_default=True,
    help="Which date of an order to use.",
)
@click.option(
    "--ids",
    metavar="IDS",
    help="Only these orders, instead of a date range: 218,300-310. `-` reads them from stdin.",
)
@click.option("--from-id", type=order_id, metavar="ID", help="First ID of the range.")
@click.option("--to-id", type=order_id, metavar="ID", help="Last ID of the range.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="STATUS",
    shell_complete=_complete_statuses,
    help="Only orders with this status, by name or ID. Repeatable.",
)
@click.option(
    "--channel",
    "channel_id",
    type=Whole(min=1),
    metavar="ID",
    help="Only orders from this sales channel, by its BigCommerce ID.",
)
@click.option(
    "--limit", type=Whole(min=1), metavar="N", help="Send at most N orders.  [default: no limit]"
)
@workers_option
@dry_run_option
@force_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def backfill(
    cli: Context,
    since: str | None,
    until: str | None,
    by: Literal["created", "modified"],
    ids: str | None,
    from_id: int | None,
    to_id: int | None,
    statuses: tuple[str, ...],
    channel_id: int | None,
    limit: int | None,
    workers: int | None,
    dry_run: bool,
    force: bool,
    yes: bool,
    as_json: bool,
) -> int:
    console = cli.console(json=as_json)
    bounded = any(bound is not None for bound in (since, until, ids, from_id, to_id))
    asks = not (yes or cli.no_input) and console.can_ask
    if not (bounded or asks or yes or dry_run):
        raise InputError(
            "A backfill without dates or IDs sends the whole store; it asks first, and needs a "
            "terminal.",
            hint="Pass dates (--since 30d), or --yes.",
        )
    settings = cli.settings(console, {"delivery.workers": workers} if workers else None)
    # Before signals are handled: reading stdin may block.
    ranges = () if ids is None else read_ids([ids])
    with interruptible(console) as clock:
        bounds = window_bounds(since, until, now=clock.now(), timezone=settings.timezone)
        order_filter = OrderFilter(
            *bounds,
            by=by,
            ids=ranges,
            from_id=from_id,
            to_id=to_id,
            statuses=statuses,
            channel_id=channel_id,
        )
        with open_context(settings, clock, policy_of(settings, force=force)) as context:
            selection = select(context.bigcommerce, order_filter, now=clock.now)
            store_hash = context.bigcommerce.store_hash
            console.info(describe(store_hash, selection, settings.timezone))
            if others := context.ledger.known_elsewhere():
                console.warning(
                    f"The ledger has {others:,} orders of this store for another One Tribe URL. "
                    "For this URL they count as new."
                )
            facts = selection_json(store_hash, selection)
            if dry_run:
                previews = until_stopped(preview(context, selection, limit=limit), clock)
                return show_preview(console, previews, facts, settings.timezone)
            if not _is_confirmed(console, context, selection, limit, bounded=bounded, asks=asks):
                console.info("Nothing was sent.")
                return ExitCode.DONE
            reports = run_backfill(context, selection, limit=limit)
            return show_run(console, reports, facts, expected=selection.expected)
