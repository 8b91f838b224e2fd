"""`bc2ot demo`."""

from __future__ import annotations

import tempfile
from contextlib import closing
from operator import itemgetter
from pathlib import Path

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import Whole, command
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.cli.summary import problem_lines, summary_text
from onetribe_bc.clock import Clock
from onetribe_bc.commands.backfill import backfill
from onetribe_bc.config import Settings, UserDirectories, load
from onetribe_bc.delivery.context import connect_bigcommerce, open_context, policy_of
from onetribe_bc.delivery.report import Summary
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.secret import mask_url

HOOK_DESTINATION = "https://onetribe.example/direct/webhook/big-commerce/order/demo-key"
"""BigCommerce calls https URLs only; the simulated One Tribe has none."""

FAULTS = ("bigcommerce:5xx=0.2", "bigcommerce:cut_json=0.2", "onetribe:5xx=0.04")


@command(
    "demo",
    help="""Send a few hundred orders from a simulated store to a simulated One Tribe.

    Both services run on this machine, over real HTTP and with faults. Nothing leaves the machine,
    and the demo deletes its files.

    \b
    Example:
      bc2ot demo
    """,
)
@click.option(
    "--orders",
    type=Whole(1, 100_000),
    default=300,
    show_default=True,
    help="Number of orders in the simulated store.",
)
def demo(cli: Context, orders: int) -> int:
    console = cli.console()
    with (
        tempfile.TemporaryDirectory(prefix="bc2ot-demo-") as directory,
        Sandbox(orders) as sandbox,
        interruptible(console) as clock,
    ):
        sandbox.onetribe.latency_s = 0.01
        environment = {**sandbox.environment(), "BC2OT_LEDGER": f"{directory}/ledger.db"}
        home = Path(directory)
        directories = UserDirectories(config=home / "config", state=home / "state", home=home)
        settings = load(path=None, environ=environment, cwd=home, directories=directories)
        console.info("Two simulated services run on this machine, over real HTTP:")
        store = f"{len(sandbox.store):,} orders at {sandbox.api_url}"
        console.info(f"  a BigCommerce store with {store}")
        console.info(f"  One Tribe at {settings.onetribe.masked}")
        console.info("\n1. Create a webhook: BigCommerce will report new orders")
        _create_hook(console, settings, clock)
        faults = [sandbox.faults.add(fault) for fault in FAULTS]
        console.info("\n2. Backfill, while both services fail now and then")
        first = _backfill(console, settings, clock)
        struck = sum(fault.struck for fault in faults)
        console.info(f"  {struck} requests failed; bc2ot retried each.")
        console.info("\n3. Backfill again: nothing is sent twice")
        second = _backfill(console, settings, clock)
        console.info("\n4. Compare both sides")
        agree = _compare(console, sandbox, sent=first + second)
        console.info(
            "\nFor your own store, run bc2ot init, then\n  bc2ot backfill --since 7d --dry-run"
        )
        return 0 if agree else 1


def _create_hook(console: Console, settings: Settings, clock: Clock) -> None:
    with closing(connect_bigcommerce(settings, clock)) as client:
        hook = client.create_hook(scope="store/order/created", destination=HOOK_DESTINATION)
    console.info(f"  webhook {hook.id}: {hook.scope} to {mask_url(hook.destination)}, active")


def _backfill(console: Console, settings: Settings, clock: Clock) -> int:
    """Backfill everything, and return the number of orders that were delivered."""
    summary = Summary()
    with open_context(settings, clock, policy_of(settings)) as context:
        selection = select(context.bigcommerce, OrderFilter(), now=clock.now)
        reports = backfill(context, selection)
        with closing(reports), console.progress(selection.expected) as show:
            for report in reports:
                summary.add(report)
                show(summary)
    for line in (*problem_lines(summary), summary_text(summary)):
        console.info(f"  {line}")
    return summary.dispositions[Disposition.DELIVERED]


def _compare(console: Console, sandbox: Sandbox, *, sent: int) -> bool:
    counts = sandbox.onetribe.counts()
    duplicates = sum(number - 1 for number in counts.values())
    different = sum(
        sandbox.store.raw(order_id) not in sandbox.onetribe.bodies(order_id) for order_id in counts
    )
    numbers = {
        "sent": f"{sent:,}",
        "received": f"{len(counts):,}",
        "duplicates": duplicates,
        "different bytes": different,
    }
    console.table({name: itemgetter(name) for name in numbers}, [numbers])
    return sent == len(counts) and not duplicates and not different
