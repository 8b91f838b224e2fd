"""`bc2ot sync`."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import json_option, window_bounds
from onetribe_bc.cli.stores import all_stores_option, for_stores

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings
    from onetribe_bc.runs.sync import SyncPlan


@click.command(short_help="For cron: send what changed, and all that is owed.")
@click.option("--since", metavar="WHEN", help="Begin here instead of where the last sync ended.")
@all_stores_option
@json_option
@pass_invocation
def sync(invocation: Invocation, since: str | None, all_stores: bool, as_json: bool) -> int:
    """Send what changed since the last sync, and everything still owed from before.

    Put it into cron. The first one begins at --since or, without it, now. Each one looks back
    48 hours behind the end of the last (sync.overlap); what was delivered is not sent again.

    \b
    Examples:
      bc2ot sync --since 7d
      bc2ot -q sync
    """
    console = invocation.console(json=as_json)
    return for_stores(
        invocation,
        console,
        lambda settings: _sync(console, settings, since, as_json=as_json),
        all_stores=all_stores,
    )


def _sync(console: Console, settings: Settings, since: str | None, *, as_json: bool) -> int:
    from onetribe_bc.cli.running import show_run
    from onetribe_bc.errors import BusyError
    from onetribe_bc.runs.monitor import ping, write_textfile
    from onetribe_bc.runs.selection import resolve_statuses
    from onetribe_bc.runs.services import open_services, policy_of
    from onetribe_bc.runs.sync import plan_sync
    from onetribe_bc.runs.sync import sync as run_sync

    policy = policy_of(settings, retry_failed=False)
    with (
        interruptible(console) as clock,
        open_services(settings, clock, policy) as services,
    ):
        begin, _ = window_bounds(since, None, now=clock.now(), timezone=settings.timezone)
        plan = plan_sync(services.inventory, since=begin, overlap=settings.sync.overlap)
        store_hash = services.bigcommerce.store_hash
        console.say(f"Store {store_hash}, {describe_plan(plan, settings.timezone)}.")
        event: str | None = "fail"
        ping(settings.monitor.url, "start")
        try:
            skip = resolve_statuses(services.bigcommerce, settings.orders.skip_statuses)
            reports = run_sync(
                services, plan, skip_status_ids=skip, resend_unknown=policy.resend_unknown
            )
            facts = {"store_hash": store_hash, "since": plan.since} if as_json else None
            code = show_run(console, reports, expected=None, facts=facts)
            event = "fail" if code else ""
        except BusyError:
            # The run that holds the store tells how it goes.
            event = None
            raise
        finally:
            if event is not None:
                ping(settings.monitor.url, event)
                status = services.inventory.status()
                write_textfile(settings.monitor.textfile, store_hash, status, clock.now())
        return code


def describe_plan(plan: SyncPlan, timezone: ZoneInfo) -> str:
    """What a sync is about to look at."""
    if plan.since is None:
        return (
            "first sync: it begins now and looks at what changes from here on. For orders from "
            "before, there are --since and bc2ot backfill"
        )
    since = plan.since.astimezone(timezone or UTC)
    return f"orders modified since {since:%Y-%m-%d %H:%M:%S %z}, and what is owed"
