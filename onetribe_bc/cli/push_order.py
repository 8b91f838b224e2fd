"""`bc2ot push-order`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import command, force_option, json_option, read_ids
from onetribe_bc.cli.running import delivering, show_run, until_stopped
from onetribe_bc.cli.summary import problem_line
from onetribe_bc.commands.backfill import backfill, preview
from onetribe_bc.delivery.context import policy_of
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.order import Order


@command(
    "push-order",
    help="""Fetch each order and send it to One Tribe. ID is an order's ID, a range such as
    300-310, or `-` for IDs from stdin.

    Delivered orders are not sent again, unless you pass --force. The exit code is 1 if One Tribe
    does not have every order afterwards.

    \b
    Examples:
      bc2ot push-order 218
      bc2ot push-order 218 --dry-run
      cut -d, -f1 orders.csv | bc2ot push-order -
    """,
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--dry-run", is_flag=True, help="Print exactly what would be sent, and send nothing.")
@force_option
@json_option
def push_order(
    cli: Context, ids: tuple[str, ...], dry_run: bool, force: bool, as_json: bool
) -> int:
    if dry_run and as_json:
        raise click.UsageError("--dry-run prints the orders unchanged; omit --json.")
    console = cli.console(json=as_json)
    settings = cli.settings(console)
    order_filter = OrderFilter(ids=read_ids(ids))
    with delivering(console, settings, policy_of(settings, force=force)) as context:
        selection = select(context.bigcommerce, order_filter, now=context.clock.now)
        if dry_run:
            return _print_bodies(console, until_stopped(preview(context, selection), context.clock))
        reports = backfill(context, selection, command="push-order", exclusive=False)
        facts = {"store_hash": context.bigcommerce.store_hash}
        return show_run(console, reports, facts, strict=True)


def _print_bodies(console: Console, previews: Iterator[tuple[Report, Order | None]]) -> int:
    """Print each request body unchanged, separated by line breaks."""
    summary = Summary(strict=True)
    for report, order in previews:
        if report.disposition is Disposition.TO_SEND and order is not None:
            is_first = not summary.dispositions[Disposition.TO_SEND]
            console.raw(order.body if is_first else b"\n" + order.body)
        else:
            console.error(problem_line(report))
        summary.add(report)
    if summary.dispositions[Disposition.ALREADY_DELIVERED]:
        console.info("Delivered orders are sent again only with --force.")
    return summary.exit_code
