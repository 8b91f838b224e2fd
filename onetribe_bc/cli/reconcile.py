"""`bc2ot reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import WHEN, json_option, window_bounds
from onetribe_bc.cli.stores import all_stores_option, for_stores
from onetribe_bc.ledger.states import Disposition

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.commands.reconcile import Reconciliation
    from onetribe_bc.config import Settings

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
"""The dispositions of a reconciliation, with their names in its JSON."""


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
    from onetribe_bc.commands.reconcile import reconcile as compare
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.delivery.selection import OrderFilter, select

    policy = policy_of(settings)
    with (
        interruptible(console) as clock,
        open_context(settings, clock, policy) as context,
    ):
        bounds = window_bounds(since, until, now=clock.now(), timezone=settings.timezone)
        client = context.bigcommerce
        selection = select(client, OrderFilter(*bounds), now=clock.now)
        console.say(describe(client.store_hash, selection, settings.timezone))
        found = compare(context, selection)
        if fix and found.orders.problem_count:
            console.say(f"{_gap_text(found)} Sending them.")
            show_run(console, backfill(context, selection, command="reconcile"), expected=None)
            found = compare(context, selection)
        if as_json:
            console.json({**about(client.store_hash, selection), **_as_json(found)})
        _show(console, found, fixed=fix, resend_unknown=policy.resend_unknown)
        return found.exit_code


def _show(console: Console, found: Reconciliation, *, fixed: bool, resend_unknown: bool) -> None:
    from onetribe_bc.cli.summary import problem_line
    from onetribe_bc.delivery.report import MEANINGS
    from onetribe_bc.text import plural

    gaps = found.orders.problem_count
    for gap in found.orders.problems[:SHOWN_GAPS]:
        console.urgent(problem_line(gap))
    if gaps > SHOWN_GAPS:
        console.urgent(f"... and {gaps - SHOWN_GAPS:,} more; --json lists them.")
    if not found.counts_agree:
        console.urgent(
            f"BigCommerce counts {plural(found.counted, 'order')} and lists "
            f"{found.orders.seen:,}. Archived orders can make the difference; push-order sends "
            "single ones."
        )
    report = console.urgent if found.exit_code else console.say
    counts = found.orders.dispositions
    parts = ", ".join(f"{counts[each]:,} {MEANINGS[each].text}" for each in _JSON if counts[each])
    text = f"{plural(found.orders.seen, 'order')} in the store: {parts or 'none'}. "
    text += _gap_text(found)
    held = 0 if resend_unknown else counts[Disposition.UNKNOWN]
    if gaps > held and not fixed:
        text += " The same with --fix sends them."
    if held:
        text += " Unknown orders are held (delivery.on_unknown): bc2ot retry --unknown."
    report(text)


def _gap_text(found: Reconciliation) -> str:
    from onetribe_bc.text import plural

    gaps = found.orders.problem_count
    return f"{plural(gaps, 'gap')}." if gaps else "No gap."


def _as_json(found: Reconciliation) -> dict[str, object]:
    return {
        "seen": found.orders.seen,
        "counted_by_store": found.counted,
        **{key: found.orders.dispositions[each] for each, key in _JSON.items()},
        "gaps": [
            {"order_id": gap.order_id, "standing": _JSON[gap.disposition], "reason": gap.reason}
            for gap in found.orders.problems
        ],
    }
