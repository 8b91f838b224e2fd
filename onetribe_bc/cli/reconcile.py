"""`bc2ot reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import WHEN, json_option, window_bounds
from onetribe_bc.cli.stores import all_stores_option, for_stores

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.clock import Clock
    from onetribe_bc.commands.reconcile import Reconciliation
    from onetribe_bc.config import Settings
    from onetribe_bc.delivery.context import Context
    from onetribe_bc.delivery.selection import Selection
    from onetribe_bc.ledger.states import Policy

SHOWN_GAPS = 20


@click.command(epilog=WHEN)
@click.option(
    "--since", metavar="WHEN", help="Orders created from here on.  [default: from the first one on]"
)
@click.option("--until", metavar="WHEN", help="Up to and including this.  [default: now]")
@click.option("--fix", is_flag=True, help="Send what is missing, then look again.")
@all_stores_option
@json_option
@pass_invocation
def reconcile(
    invocation: Invocation,
    since: str | None,
    until: str | None,
    fix: bool,
    all_stores: bool,
    as_json: bool,
) -> int:
    """Compare the store's orders with the ledger: is each of them at One Tribe?

    Reads the store, not only the ledger, and compares its own count as well. Changes nothing
    unless --fix. The exit code is 1 when there is a gap.

    \b
    Examples:
      bc2ot reconcile --since 30d
      bc2ot reconcile --since 2026-01-01 --until 2026-01-31 --fix
    """

    def work(console: Console, settings: Settings) -> int:
        return _reconcile(console, settings, since, until, fix=fix, as_json=as_json)

    return for_stores(invocation, work, all_stores=all_stores, as_json=as_json)


def _reconcile(
    console: Console,
    settings: Settings,
    since: str | None,
    until: str | None,
    *,
    fix: bool,
    as_json: bool,
) -> int:
    from onetribe_bc.cli.running import about, describe, show_run
    from onetribe_bc.commands.backfill import backfill
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.delivery.selection import OrderFilter, select

    policy = policy_of(settings)
    with (
        interruptible(console) as clock,
        open_context(settings, clock, policy) as context,
    ):
        bounds = window_bounds(since, until, now=clock.now(), timezone=settings.timezone)
        client = context.bigcommerce
        skip = settings.orders.skip_statuses
        selection = select(client, OrderFilter(*bounds), skip_statuses=skip, now=clock.now)
        console.say(describe(client.store_hash, selection, settings.timezone))
        found = _compare(context, selection, policy, clock)
        if fix and found.gaps:
            console.say(f"{_gap_text(found)} Sending them.")
            show_run(console, backfill(context, selection, command="reconcile"), expected=None)
            found = _compare(context, selection, policy, clock)
        if as_json:
            console.json({**about(client.store_hash, selection), **_as_json(found)})
        _show(console, found, fixed=fix, resend_unknown=policy.resend_unknown)
        return found.exit_code


def _compare(
    context: Context, selection: Selection, policy: Policy, clock: Clock
) -> Reconciliation:
    from onetribe_bc.cli.running import until_stopped
    from onetribe_bc.commands.reconcile import Reconciliation, iter_findings

    client, on_change = context.bigcommerce, policy.on_change
    found = Reconciliation(counted_before=client.count_orders(selection.query))
    findings = iter_findings(client, context.ledger, selection, on_change=on_change)
    for finding in until_stopped(findings, clock):
        found.add(finding)
    found.counted = client.count_orders(selection.query)
    return found


def _show(console: Console, found: Reconciliation, *, fixed: bool, resend_unknown: bool) -> None:
    from onetribe_bc.commands.reconcile import Standing
    from onetribe_bc.text import plural

    for gap in found.gaps[:SHOWN_GAPS]:
        console.urgent(
            f"Order {gap.order_id} {gap.standing}" + (f": {gap.reason}" if gap.reason else "")
        )
    if len(found.gaps) > SHOWN_GAPS:
        console.urgent(f"... and {len(found.gaps) - SHOWN_GAPS:,} more; --json names them.")
    if not found.counts_agree:
        console.urgent(
            f"BigCommerce counts {plural(found.counted, 'order')} and lists {found.seen:,}. "
            "Archived orders can make the difference; push-order sends single ones."
        )
    tell = console.urgent if found.exit_code else console.say
    parts = ", ".join(f"{number:,} {standing}" for standing, number in found.standings.items())
    text = f"{plural(found.seen, 'order')} in the store: {parts or 'none'}. {_gap_text(found)}"
    held = 0 if resend_unknown else found.standings[Standing.UNKNOWN]
    if len(found.gaps) > held and not fixed:
        text += " The same with --fix sends them."
    if held:
        text += " Unknown orders are held (delivery.on_unknown): bc2ot retry --unknown."
    tell(text)


def _gap_text(found: Reconciliation) -> str:
    from onetribe_bc.commands.reconcile import GAPS
    from onetribe_bc.text import plural

    gaps = sum(found.standings[standing] for standing in GAPS)
    return f"{plural(gaps, 'gap')}." if gaps else "No gap."


def _as_json(found: Reconciliation) -> dict[str, object]:
    from onetribe_bc.commands.reconcile import Standing

    return {
        "seen": found.seen,
        "counted_by_store": found.counted,
        **{standing.value: found.standings[standing] for standing in Standing},
        "gaps": [
            {"order_id": gap.order_id, "standing": gap.standing.value, "reason": gap.reason}
            for gap in found.gaps
        ],
    }
