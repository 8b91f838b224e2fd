"""`bc2ot reconcile`."""

from __future__ import annotations

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import (
    WHEN,
    all_stores_option,
    command,
    json_option,
    until_option,
    window_bounds,
)
from onetribe_bc.cli.running import delivering, describe, selection_json, show_run
from onetribe_bc.cli.stores import for_stores
from onetribe_bc.cli.summary import problem_line
from onetribe_bc.commands.backfill import backfill
from onetribe_bc.commands.reconcile import Reconciliation
from onetribe_bc.commands.reconcile import reconcile as compare
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import policy_of
from onetribe_bc.delivery.report import MEANINGS
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.text import plural

SHOWN_GAPS = 20

_JSON = {
    Disposition.DELIVERED: "delivered",
    Disposition.SKIPPED: "skipped",
    Disposition.NOT_SENT: "missing",
    Disposition.PENDING: "owed",
    Disposition.UNKNOWN: "unknown",
    Disposition.FAILED: "failed",
    Disposition.CHANGED: "changed",
}


@command(
    "reconcile",
    help="""Compare the store's orders with the ledger: does One Tribe have each of them?

    Lists the store's orders, and checks the list against the store's own count. Changes nothing
    unless you pass --fix. The exit code is 1 if there is a gap.

    \b
    Examples:
      bc2ot reconcile --since 30d
      bc2ot reconcile --since 2026-01-01 --until 2026-01-31 --fix
    """,
    epilog=WHEN,
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Start of the range, by creation date.  [default: the first order]",
)
@until_option
@click.option("--fix", is_flag=True, help="Send the missing orders, then compare again.")
@all_stores_option
@json_option
def reconcile(
    cli: Context,
    since: str | None,
    until: str | None,
    fix: bool,
    all_stores: bool,
    as_json: bool,
) -> int:
    def work(console: Console, settings: Settings) -> int:
        return _reconcile(console, settings, since, until, fix=fix)

    return for_stores(cli, work, all_stores=all_stores, as_json=as_json)


def _reconcile(
    console: Console, settings: Settings, since: str | None, until: str | None, *, fix: bool
) -> int:
    policy = policy_of(settings)
    with delivering(console, settings, policy) as context:
        clock = context.clock
        bounds = window_bounds(since, until, now=clock.now(), timezone=settings.timezone)
        client = context.bigcommerce
        selection = select(client, OrderFilter(*bounds), now=clock.now)
        console.info(describe(client.store_hash, selection, settings.timezone))
        found = compare(context, selection)
        if fix and found.orders.problem_count:
            console.info(f"{_gap_text(found)} Sending them.")
            show_run(console, backfill(context, selection, command="reconcile"), facts=None)
            found = compare(context, selection)
        if console.as_json:
            console.json({**selection_json(client.store_hash, selection), **_as_json(found)})
        _show(console, found, fixed=fix)
        return found.exit_code


def _show(console: Console, found: Reconciliation, *, fixed: bool) -> None:
    gaps = found.orders.problem_count
    for gap in found.orders.problems[:SHOWN_GAPS]:
        console.error(problem_line(gap))
    if gaps > SHOWN_GAPS:
        console.error(f"... and {gaps - SHOWN_GAPS:,} more; --json lists them.")
    if found.count_difference and found.counted is not None:
        console.info(
            f"BigCommerce counts {plural(found.counted, 'order')} and lists "
            f"{found.orders.seen:,}. Archived orders can explain the difference; push-order "
            "sends single orders."
        )
    report = console.error if found.exit_code else console.info
    counts = found.orders.dispositions
    parts = ", ".join(f"{counts[each]:,} {MEANINGS[each].text}" for each in _JSON if counts[each])
    text = f"{plural(found.orders.seen, 'order')} in the store: {parts or 'none'}. "
    text += _gap_text(found)
    if gaps > found.held and not fixed:
        text += " Run it with --fix to send them."
    if found.held:
        held = plural(found.held, "unknown order")
        text += f" Held (delivery.on_unknown, delivery.max_copies): {held}. To send them again: "
        text += "bc2ot retry --unknown."
    report(text)


def _gap_text(found: Reconciliation) -> str:
    gaps = found.orders.problem_count
    return f"{plural(gaps, 'gap')}." if gaps else "No gap."


def _as_json(found: Reconciliation) -> dict[str, object]:
    return {
        "seen": found.orders.seen,
        "counted_by_store": found.counted,
        "count_difference": found.count_difference,
        **{key: found.orders.dispositions[each] for each, key in _JSON.items()},
        "gaps": [
            {"order_id": gap.order_id, "standing": _JSON[gap.disposition], "reason": gap.reason}
            for gap in found.orders.problems
        ],
    }
