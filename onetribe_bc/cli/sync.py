"""`bc2ot sync`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import WHEN, json_option, window_bounds
from onetribe_bc.cli.stores import all_stores_option, for_stores
from onetribe_bc.errors import Bc2otError, ExitCode

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from onetribe_bc.cli.console import Console
    from onetribe_bc.commands.sync import SyncPlan
    from onetribe_bc.config import Settings
    from onetribe_bc.delivery.context import Context


@click.command(epilog=WHEN)
@click.option(
    "--since",
    metavar="WHEN",
    help="Look at what changed from here on.  [default: where the last sync ended, else now]",
)
@all_stores_option
@json_option
@pass_invocation
def sync(invocation: Invocation, since: str | None, all_stores: bool, as_json: bool) -> int:
    """Send what changed since the last sync, and everything still owed from before.

    Put it into cron. The first one begins at --since or, without it, now. Each one looks back
    48 hours behind the end of the last (sync.overlap), but not behind where the first began;
    what was delivered is not sent again.

    \b
    Examples:
      bc2ot sync --since 7d
      bc2ot sync -q
      bc2ot --store uk sync
    """

    def work(console: Console, settings: Settings) -> int:
        return _sync(console, settings, since, as_json=as_json)

    return for_stores(invocation, work, all_stores=all_stores, as_json=as_json)


def _sync(console: Console, settings: Settings, since: str | None, *, as_json: bool) -> int:
    from onetribe_bc.commands.monitor import watched

    with watched(settings.monitor.url) as watch:
        code = _run(console, settings, since, as_json=as_json)
        if code == ExitCode.DONE:
            watch.succeed()
        return code


def _run(console: Console, settings: Settings, since: str | None, *, as_json: bool) -> int:
    from onetribe_bc.cli.running import show_run
    from onetribe_bc.commands.sync import plan_sync
    from onetribe_bc.commands.sync import sync as run_sync
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.errors import BusyError

    policy = policy_of(settings, retry_failed=False)
    with (
        interruptible(console) as clock,
        open_context(settings, clock, policy) as context,
    ):
        now = clock.now()
        begin, _ = window_bounds(since, None, now=now, timezone=settings.timezone)
        overlap = settings.sync.overlap
        plan = plan_sync(context.ledger, since=begin, overlap=overlap, now=now)
        store_hash = context.bigcommerce.store_hash
        console.say(f"Store {store_hash}, {describe_plan(plan, settings.timezone)}.")
        if not policy.resend_unknown:
            _say_what_is_held(console, context)
        try:
            reports = run_sync(context, plan)
            begins = None if plan.since is None else plan.since.isoformat(timespec="seconds")
            facts = {"store_hash": store_hash, "since": begins} if as_json else None
            code = show_run(console, reports, expected=None, facts=facts, routine=True)
        except BusyError:
            # The run that holds the store writes how it stands.
            raise
        except Bc2otError:
            _write_metrics(settings, context)
            raise
        _write_metrics(settings, context)
        return code


def _say_what_is_held(console: Console, context: Context) -> None:
    """A sync leaves held orders alone, and would never tell of them."""
    from onetribe_bc.ledger.states import State
    from onetribe_bc.text import plural

    held = sum(1 for _ in context.ledger.iter_entries((State.UNKNOWN,)))
    if held:
        console.say(
            f"{plural(held, 'unknown order')} held for you to decide (delivery.on_unknown: "
            "hold). To send what is unknown again: bc2ot retry --unknown"
        )


def _write_metrics(settings: Settings, context: Context) -> None:
    """Whatever becomes of them, the run's own end is what counts."""
    from onetribe_bc.commands.monitor import write_textfile

    path = settings.monitor.textfile
    if path is not None:
        with suppress(Bc2otError):
            status = context.ledger.status()
            write_textfile(path, context.bigcommerce.store_hash, status, context.clock.now())


def describe_plan(plan: SyncPlan, timezone: ZoneInfo) -> str:
    """What a sync is about to look at."""
    from onetribe_bc.dates import format_time

    if plan.since is None:
        return (
            "first sync: it begins now and looks at what changes from here on. For orders from "
            "before, there are --since and bc2ot backfill"
        )
    text = f"orders modified since {format_time(plan.since, timezone)}, and what is owed"
    if not plan.continues:
        text += ". The next sync goes on where the last one ended all the same"
    return text
