"""`bc2ot sandbox`."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
import textwrap

import click

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import Number, Whole, command
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.errors import InputError, InterruptedRunError
from onetribe_bc.sandbox import FAULT_SYNTAX, FaultKind, Group, Sandbox, parse_fault


def _fault_kinds() -> str:
    """Return every kind of fault under the heading of its group, as paragraphs of help."""
    lines = []
    for group in Group:
        lines += ["\b", *textwrap.wrap(f"{group}:", 74)]
        for kind in FaultKind:
            if kind.group is group and kind.effect:
                name = f"{kind}@{kind.argument}" if kind.argument else kind
                default = f" [{kind.default:g}]" if kind.argument else ""
                lines.append(f"  {name:<21} {kind.effect}{default}")
        lines.append("")
    return "\n    ".join(lines)


@command(
    "sandbox",
    help=f"""Simulate BigCommerce and One Tribe on this machine, until Ctrl-C.

    Prints environment variables that point bc2ot at the sandbox: paste them into another
    terminal. They include a temporary ledger, which is deleted when the sandbox ends. BigCommerce
    calls only https URLs: pass one to `bc2ot hooks create` as --destination.

    \b
    Examples:
      bc2ot sandbox
      bc2ot sandbox --orders 5000 --fault onetribe:5xx=0.1
      bc2ot sandbox --fault 'onetribe:status@422*3' --fault bigcommerce:slow=0.2@1.5

    \b
    A fault is SERVICE:KIND[=RATE][@ARGUMENT][*TIMES][#ID,ID...]
      SERVICE   bigcommerce or onetribe
      RATE      chance that it strikes, from 0 to 1 (default: 1)
      ARGUMENT  for the kinds that take one; defaults are in brackets
      TIMES     how often it strikes at most
      ID        limits it to requests about these orders

    {_fault_kinds()}
    """,
)
@click.option(
    "--orders",
    type=Whole(0, 1_000_000),
    default=1000,
    show_default=True,
    help="Orders in the store.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Seed for generating the orders.",
)
@click.option(
    "--port",
    type=Whole(0, 65534),
    default=8025,
    show_default=True,
    help="BigCommerce's port; One Tribe gets the next one. 0 picks free ports.",
)
@click.option(
    "--latency",
    type=Number(0, 60),
    default=0.02,
    show_default=True,
    help="Seconds that One Tribe takes to respond.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="SERVICE:KIND[=RATE]",
    help="What goes wrong, see above. Repeatable.  [default: nothing]",
)
def sandbox(
    cli: Context,
    orders: int,
    seed: int,
    port: int,
    latency: float,
    faults: tuple[str, ...],
) -> int:
    console = cli.console()
    try:
        parsed = [parse_fault(text) for text in faults]
    except ValueError as error:
        raise InputError(str(error), hint=FAULT_SYNTAX) from None
    onetribe_port = port + 1 if port else 0
    try:
        services = Sandbox(
            orders, seed, faults=parsed, port=port, onetribe_port=onetribe_port, example=True
        )
    except OSError as error:
        raise InputError(
            f"Port {port} or {onetribe_port} cannot be used: {error.strerror}.",
            hint="Pass another --port, or 0 to pick free ports.",
        ) from None
    with (
        tempfile.TemporaryDirectory(prefix="bc2ot-sandbox-") as directory,
        services,
        interruptible(console, notice="") as clock,
    ):
        services.onetribe.latency_s = latency
        environment = {**services.environment(), "BC2OT_LEDGER": f"{directory}/ledger.db"}
        for name, value in environment.items():
            console.data(f"export {name}={shlex.quote(value)}")
        console.info("Both services run. Paste these lines into another terminal. Ctrl-C to stop.")
        with contextlib.suppress(InterruptedRunError):
            while True:
                clock.sleep(3600)
        console.info(f"One Tribe received {sum(services.onetribe.counts().values()):,} orders.")
    return 0
