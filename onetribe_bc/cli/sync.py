"""`bc2ot sync`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from zoneinfo import ZoneInfo

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import (
    WHEN,
    all_stores_option,
    command,
    json_option,
    window_bounds,
)
from onetribe_bc.cli.running import delivering, show_run
from onetribe_bc.cli.stores import for_stores
from onetribe_bc.commands.monitor import watch, write_textfile
from onetribe_bc.commands.sync import SyncPlan, plan_sync
from onetribe_bc.commands.sync import sync as run_sync
from onetribe_bc.config import Settings
from onetribe_bc.dates import format_time
from onetribe_bc.delivery.context import Context as DeliveryContext
from onetribe_bc.delivery.context import policy_of
from onetribe_bc.delivery.fetching import CANNOT_BE_FETCHED
from onetribe_bc.errors import Bc2otError, BusyError, ExitCode
from onetribe_bc.ledger.states import State


@command(
    "sync",
    help="""Send what changed since the last sync, and everything that is still owed.

    Run it from cron. The first sync starts from --since or, without it, from now. Each later one
    starts 48 hours before the end of the last one (sync.overlap), but never before the start of
    the first one. Delivered orders are not sent again.

    \b
    Examples:
      bc2ot sync --since 7d
      bc2ot sync -q
      bc2ot --store uk sync
    """,
    epilog=WHEN,
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Send what changed since then.  [default: the end of the last sync, else now]",
)
@all_stores_option
@json_option
def sync(cli: Context, since: str | None, all_stores: bool, as_json: bool) -> int:
    def work(console: Console, settings: Settings) -> int:
        return watch(settings.monitor.url, lambda: _sync(console, settings, since))

    return for_stores(cli, work, all_stores=all_stores, as_json=as_json)


def _sync(console: Console, settings: Settings, since: str | None) -> tuple[int, bool]:
    """Return the exit code, and whether no order needs attention."""
    policy = policy_of(settings, retry_failed=False)
    with delivering(console, settings, policy) as context:
        now = context.clock.now()
        start, _ = window_bounds(since, None, now=now, timezone=settings.timezone)
        plan = plan_sync(context.ledger, since=start, overlap=settings.sync.overlap, now=now)
        store_hash = context.bigcommerce.store_hash
        text = f"Store {store_hash}, {describe_plan(plan, settings.timezone)}."
        if console.quiet and plan.since is None:
            # Earlier orders may exist that this ledger does not know: its path may be a mistake.
            console.error(text)
        console.info(text)
        try:
            reports = run_sync(context, plan)
            begins = None if plan.since is None else plan.since.isoformat(timespec="seconds")
            facts = {"store_hash": store_hash, "since": begins}
            code = show_run(console, reports, facts, routine=True)
        except BusyError:  # the run that holds the store writes the metrics
            raise
        except Bc2otError:
            _write_metrics(settings, context)
            raise
        _write_metrics(settings, context)
        # Under -q, too, unless this run has just named a problem.
        say = console.error if code == ExitCode.DONE else console.info
        stands = _report_standing(context, say)
        return code, code == ExitCode.DONE and not stands


def _report_standing(context: DeliveryContext, say: Callable[[str], None]) -> bool:
    """Report problems that only a person can resolve, also of earlier runs; return if any."""
    ledger = context.ledger
    states = ledger.status(runs=0).states
    stuck = sum(
        entry.reason.startswith(CANNOT_BE_FETCHED)
        for entry in ledger.iter_entries((State.PENDING,))
    )
    problems = [
        f"{number:,} {what}"
        for number, what in (
            (states.get(State.FAILED, 0), "refused by One Tribe (bc2ot retry --failed)"),
            (ledger.held(), "unknown and held (bc2ot retry --unknown)"),
            (stuck, "that cannot be fetched (bc2ot history ID)"),
        )
        if number
    ]
    if problems:
        say(f"Orders that need attention: {', '.join(problems)}.")
    return bool(problems)


def _write_metrics(settings: Settings, context: DeliveryContext) -> None:
    """Write the metrics file, if there is one; failing to do so does not fail the sync."""
    path = settings.monitor.textfile
    if path is not None:
        with suppress(Bc2otError):
            status = context.ledger.status()
            write_textfile(path, context.bigcommerce.store_hash, status, context.clock.now())


def describe_plan(plan: SyncPlan, timezone: ZoneInfo) -> str:
    """Say which orders a sync covers."""
    if plan.since is None:
        return (
            "first sync with this ledger: it starts from now and sends what changes from now on. "
            "To send earlier orders, use --since or bc2ot backfill"
        )
    text = f"orders modified since {format_time(plan.since, timezone)}, and what is owed"
    if not plan.continues:
        text += ". The next sync still continues from the end of the last one"
    return text
