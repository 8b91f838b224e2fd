"""`bc2ot retry`."""

from __future__ import annotations

import click

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import command, json_option, order_id
from onetribe_bc.cli.running import delivering, show_run
from onetribe_bc.commands.retry import choose_orders
from onetribe_bc.commands.retry import retry as run_retry
from onetribe_bc.ledger.states import Policy, State


@command(
    "retry",
    help="""Send failed or unknown orders again: single orders, or all in a state.

    An unknown order may have arrived. Sending it again may create a duplicate, which is flagged.
    It is sent immediately, also if it is held (delivery.on_unknown, delivery.max_copies) or if
    its next copy is not due yet.

    `bc2ot status` shows how many there are, `bc2ot orders --state failed` shows which.

    \b
    Examples:
      bc2ot retry 218
      bc2ot retry --failed
      bc2ot retry --unknown
    """,
)
@click.argument("ids", nargs=-1, type=order_id, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All orders that One Tribe refused.")
@click.option("--unknown", is_flag=True, help="All orders that may have arrived.")
@json_option
def retry(cli: Context, ids: tuple[int, ...], failed: bool, unknown: bool, as_json: bool) -> int:
    states = [state for state, on in ((State.FAILED, failed), (State.UNKNOWN, unknown)) if on]
    if bool(ids) == bool(states):
        raise click.UsageError("Pass order IDs, or --failed, --unknown or both.")
    console = cli.console(json=as_json)
    with delivering(console, cli.settings(console), Policy()) as context:
        chosen = choose_orders(context.ledger, ids, states)
        reports = run_retry(context, chosen)
        facts = {"store_hash": context.bigcommerce.store_hash}
        return show_run(console, reports, facts, expected=len(chosen), strict=bool(ids))
