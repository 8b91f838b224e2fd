"""`bc2ot sandbox`."""

from __future__ import annotations

import contextlib
import shlex

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation


@click.command(short_help="Simulate both services on this machine.")
@click.option(
    "--orders",
    type=click.IntRange(0, 1_000_000),
    default=1000,
    show_default=True,
    help="How many orders the store has.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Makes other orders.")
@click.option(
    "--port",
    type=click.IntRange(0, 65534),
    default=8025,
    show_default=True,
    help="BigCommerce's port; One Tribe gets the next one. 0 takes free ones.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 60),
    default=0.02,
    show_default=True,
    help="Seconds that One Tribe takes to answer.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="SERVICE:KIND=RATE",
    help="What goes wrong and how often, such as onetribe:5xx=0.1. Repeatable.",
)
@pass_invocation
def sandbox(
    invocation: Invocation,
    orders: int,
    seed: int,
    port: int,
    latency: float,
    faults: tuple[str, ...],
) -> int:
    """Simulate BigCommerce and One Tribe on this machine, until Ctrl-C.

    Prints the environment variables that point bc2ot at it: paste them into another terminal.

    \b
    Examples:
      bc2ot sandbox
      bc2ot sandbox --orders 5000 --fault onetribe:5xx=0.1 --fault bigcommerce:reset=0.05
    """
    from onetribe_bc.errors import InputError, InterruptedRunError
    from onetribe_bc.sandbox import FAULT_SYNTAX, Sandbox, parse_fault

    console = invocation.console()
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
            hint="Give another --port, or 0 for free ones.",
        ) from None
    with services, interruptible(console, notice="") as clock:
        services.onetribe.latency_s = latency
        for name, value in services.environment().items():
            console.data(f"export {name}={shlex.quote(value)}")
        console.say("Both services run. Paste these lines into another terminal. Ctrl-C ends it.")
        with contextlib.suppress(InterruptedRunError):
            while True:
                clock.sleep(3600)
        console.say(f"One Tribe received {sum(services.onetribe.counts().values()):,} orders.")
    return 0
