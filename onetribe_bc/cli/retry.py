"""`bc2ot retry`."""

from __future__ import annotations

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import json_option, order_id


@click.command()
@click.argument("ids", nargs=-1, type=order_id, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All orders that One Tribe refused.")
@click.option("--unknown", is_flag=True, help="All orders that may or may not have arrived.")
@json_option
@pass_invocation
def retry(
    invocation: Invocation, ids: tuple[int, ...], failed: bool, unknown: bool, as_json: bool
) -> int:
    """Send again what failed or is unknown: single orders, or all in one of these states.

    An unknown order may have arrived: sending it again may make a duplicate, which is flagged.
    `bc2ot status` tells how many there are of each, `bc2ot export --state failed` which ones.

    \b
    Examples:
      bc2ot retry 218
      bc2ot retry --failed
      bc2ot retry --unknown
    """
    from onetribe_bc.cli.running import show_run
    from onetribe_bc.commands.retry import choose_orders
    from onetribe_bc.commands.retry import retry as run_retry
    from onetribe_bc.delivery.context import open_context
    from onetribe_bc.ledger.states import Policy, State

    states = [state for state, on in ((State.FAILED, failed), (State.UNKNOWN, unknown)) if on]
    if bool(ids) == bool(states):
        raise click.UsageError("Give order ids, or --failed, or --unknown, or both of them.")
    console = invocation.console(json=as_json)
    settings = invocation.settings(console)
    with (
        interruptible(console) as clock,
        open_context(settings, clock, Policy()) as context,
    ):
        chosen = choose_orders(context.ledger, ids, states)
        reports = run_retry(context, chosen)
        facts = {"store_hash": context.bigcommerce.store_hash} if as_json else None
        return show_run(console, reports, expected=len(chosen), facts=facts, strict=bool(ids))
