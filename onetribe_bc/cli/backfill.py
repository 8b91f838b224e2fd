"""`bc2ot backfill`."""

from __future__ import annotations

import click

from onetribe_bc.cli.completion import complete_statuses
from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import (
    WHEN,
    Whole,
    force_option,
    json_option,
    order_id,
    read_ids,
    window_bounds,
    workers_option,
)


@click.command(epilog=WHEN)
@click.option(
    "--since", metavar="WHEN", help="Orders from here on.  [default: from the first one on]"
)
@click.option("--until", metavar="WHEN", help="Up to and including this.  [default: now]")
@click.option(
    "--by",
    type=click.Choice(["created", "modified"]),
    default="created",
    show_default=True,
    help="Which date of an order counts.",
)
@click.option(
    "--ids",
    metavar="IDS",
    help="Only these, instead of a date range: 218,300-310. `-` reads them from stdin.",
)
@click.option("--from-id", type=order_id, metavar="ID", help="From this id on.")
@click.option("--to-id", type=order_id, metavar="ID", help="Up to this id.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="STATUS",
    shell_complete=complete_statuses,
    help="Only orders with this status, by name or id. Repeatable.",
)
@click.option(
    "--channel",
    "channel_id",
    type=Whole(min=1),
    metavar="ID",
    help="Only orders of this sales channel, by BigCommerce's id of it.",
)
@click.option(
    "--limit",
    type=Whole(min=1),
    metavar="N",
    help="Send at most N orders.  [default: all of them]",
)
@workers_option
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@force_option
@json_option
@pass_invocation
def backfill(
    invocation: Invocation,
    since: str | None,
    until: str | None,
    by: str,
    ids: str | None,
    from_id: int | None,
    to_id: int | None,
    statuses: tuple[str, ...],
    channel_id: int | None,
    limit: int | None,
    workers: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Send every order of a date or id range that One Tribe does not have yet.

    Running it again sends only what is still owed. Without dates or ids it takes every order
    of the store.

    \b
    Examples:
      bc2ot backfill --since 30d
      bc2ot backfill --since 2026-01-01 --until 2026-01-31 --dry-run
      bc2ot backfill --ids 218,300-310
      bc2ot backfill --status Shipped --status 'Awaiting Fulfillment' --limit 10
    """
    from onetribe_bc.cli.running import about, describe, show_preview, show_run, until_stopped
    from onetribe_bc.commands.backfill import backfill as run_backfill
    from onetribe_bc.commands.backfill import preview
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.delivery.selection import OrderFilter, select

    console = invocation.console(json=as_json)
    settings = invocation.settings(console, {"delivery.workers": workers} if workers else None)
    ranges = () if ids is None else read_ids([ids])  # Ctrl-C ends the wait for stdin
    with interruptible(console) as clock:
        bounds = window_bounds(since, until, now=clock.now(), timezone=settings.timezone)
        request = OrderFilter(
            *bounds,
            by="modified" if by == "modified" else "created",
            ids=ranges,
            from_id=from_id,
            to_id=to_id,
            statuses=statuses,
            channel_id=channel_id,
        )
        with open_context(settings, clock, policy_of(settings, force=force)) as context:
            client = context.bigcommerce
            selection = select(client, request, now=clock.now)
            console.say(describe(client.store_hash, selection, settings.timezone))
            if others := context.ledger.known_elsewhere():
                console.warn(
                    f"The ledger has {others:,} orders of this store for another address of One "
                    "Tribe. For this one they count as new."
                )
            facts = about(client.store_hash, selection) if as_json else None
            if dry_run:
                previews = preview(context, selection, limit=limit)
                looked_at = (report for report, _ in until_stopped(previews, clock))
                return show_preview(console, looked_at, facts)
            reports = run_backfill(context, selection, limit=limit)
            return show_run(console, reports, expected=selection.expected, facts=facts)
