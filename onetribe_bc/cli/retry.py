"""`bc2ot retry`."""

from __future__ import annotations

import click

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import (
    WHEN,
    changed_since_option,
    changed_until_option,
    command,
    dry_run_option,
    entry_filter,
    json_option,
    order_id,
    reason_option,
)
from onetribe_bc.cli.running import delivering, show_preview, show_run, until_stopped
from onetribe_bc.commands.retry import choose_orders, preview
from onetribe_bc.commands.retry import retry as run_retry
from onetribe_bc.ledger.states import Policy, State


@command(
    "retry",
    help="""Send failed or unknown orders again: single orders, or all in a state.

    An unknown order may have arrived. Sending it again may create a duplicate, which is flagged.
    It is sent immediately, also if it is held (delivery.on_unknown, delivery.max_copies) or if
    its next copy is not due yet.

    `bc2ot status` shows how many there are, `bc2ot orders --state failed` shows which. Dates and
    a reason narrow --failed and --unknown, as they narrow `bc2ot orders`.

    \b
    Examples:
      bc2ot retry 218
      bc2ot retry --failed
      bc2ot retry --failed --since yesterday --reason 422 --dry-run
      bc2ot retry --unknown --until 24h
    """,
    epilog=WHEN,
)
@click.argument("ids", nargs=-1, type=order_id, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All orders that One Tribe refused.")
@click.option("--unknown", is_flag=True, help="All orders that may have arrived.")
@changed_since_option
@changed_until_option
@reason_option
@dry_run_option
@json_option
def retry(
    cli: Context,
    ids: tuple[int, ...],
    failed: bool,
    unknown: bool,
    since: str | None,
    until: str | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    states = [state for state, on in ((State.FAILED, failed), (State.UNKNOWN, unknown)) if on]
    if bool(ids) == bool(states):
        raise click.UsageError("Pass order IDs, or --failed, --unknown or both.")
    if ids and (since or until or reason):
        raise click.UsageError("--since, --until and --reason need --failed or --unknown.")
    console = cli.console(json=as_json)
    settings = cli.settings(console)
    with delivering(console, settings, Policy()) as context:
        now, timezone = context.clock.now(), settings.timezone
        matching = entry_filter(console, since, until, now=now, timezone=timezone, reason=reason)
        chosen = choose_orders(context.ledger, ids, states, matching)
        facts = {"store_hash": context.bigcommerce.store_hash}
        if dry_run:
            previews = until_stopped(preview(context, chosen), context.clock)
            return show_preview(console, previews, facts, timezone)
        reports = run_retry(context, chosen)
        return show_run(console, reports, facts, expected=len(chosen), strict=bool(ids))
