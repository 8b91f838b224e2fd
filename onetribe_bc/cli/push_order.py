"""`bc2ot push-order`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import force_option, json_option, read_ids

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.delivery.report import Report
    from onetribe_bc.order import Order


@click.command("push-order")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--dry-run", is_flag=True, help="Print exactly what would be sent, and send nothing.")
@force_option
@json_option
@pass_invocation
def push_order(
    invocation: Invocation, ids: tuple[str, ...], dry_run: bool, force: bool, as_json: bool
) -> int:
    """Fetch each order and send it to One Tribe. ID is an order's id, a range such as 300-310, or
    `-` for ids from stdin.

    What was delivered before is left alone, unless --force. The exit code is 1 when one of them
    is not at One Tribe afterwards.

    \b
    Examples:
      bc2ot push-order 218
      bc2ot push-order 218 --dry-run
      cut -d, -f1 orders.csv | bc2ot push-order -
    """
    if dry_run and as_json:
        raise click.UsageError("--dry-run prints the orders as they are; leave --json out.")
    from onetribe_bc.cli.running import show_run, until_stopped
    from onetribe_bc.commands.backfill import backfill, preview
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.delivery.selection import OrderFilter, select

    console = invocation.console(json=as_json)
    settings = invocation.settings(console)
    request = OrderFilter(ids=read_ids(ids))
    with (
        interruptible(console) as clock,
        open_context(settings, clock, policy_of(settings, force=force)) as context,
    ):
        selection = select(context.bigcommerce, request, now=clock.now)
        if dry_run:
            return _print_bodies(console, until_stopped(preview(context, selection), clock))
        reports = backfill(context, selection, command="push-order", exclusive=False)
        facts = {"store_hash": context.bigcommerce.store_hash} if as_json else None
        return show_run(console, reports, expected=None, facts=facts, strict=True)


def _print_bodies(console: Console, previews: Iterator[tuple[Report, Order | None]]) -> int:
    """Each body as it would be sent, a line break between two of them."""
    from onetribe_bc.cli.summary import problem_line
    from onetribe_bc.delivery.report import Summary
    from onetribe_bc.ledger.states import Disposition

    summary = Summary(strict=True)
    for report, order in previews:
        if report.disposition is Disposition.TO_SEND and order is not None:
            console.raw(
                b"\n" + order.body if summary.dispositions[Disposition.TO_SEND] else order.body
            )
        else:
            console.urgent(problem_line(report))
        summary.add(report)
    if summary.dispositions[Disposition.ALREADY_DELIVERED]:
        console.say("What was delivered before is sent again only with --force.")
    return summary.exit_code
