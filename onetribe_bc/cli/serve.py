"""`bc2ot serve`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation, interruptible, pass_invocation
from onetribe_bc.cli.options import Number

if TYPE_CHECKING:
    import socket

    from onetribe_bc.clock import SystemClock
    from onetribe_bc.web.server import Server

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9.-]*):(?P<port>[0-9]{1,5})")
_TOLD = ("onetribe_bc.web", "onetribe_bc.commands.receiver", "onetribe_bc.commands.inbox")
"""The logs of which a receiver shows more than warnings, unless it is to be quiet."""

_M_ARENA_MAX, _HEAPS = -8, 2
"""glibc's number of that setting (malloc.h), and how many heaps a receiver may have."""

ENDING = "Finishing what is in flight; the rest waits in the ledger. Once more to stop at once."


@click.command
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to listen; port 0 takes a free one.",
)
@click.option(
    "--path",
    default="/",
    show_default=True,
    help="The path of the hook's destination, as it arrives here.",
)
@click.option(
    "--grace",
    type=Number(0, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long to finish what is in flight when it is to end.",
)
@click.option(
    "--insecure", is_flag=True, help="Check nothing. For trying out, on this machine only."
)
@pass_invocation
def serve(invocation: Invocation, listen: str, path: str, grace: float, insecure: bool) -> int:
    """Take BigCommerce's callbacks, and send the orders that they name at once.

    Runs until Ctrl-C or SIGTERM, behind a proxy that speaks https. Each callback is in the
    ledger before it is answered; what was missed is found as `bc2ot sync` does, every 15
    minutes (receiver.sync_every).

    \b
    Examples:
      bc2ot hooks create --receiver https://hooks.example.com/
      bc2ot serve
      bc2ot --log-format json serve --listen 127.0.0.1:9000 --path /bigcommerce
    """
    from onetribe_bc.web.server import Server
    from onetribe_bc.web.service import open_service

    console = invocation.console()
    host, port = _address(listen)
    if insecure:
        _refuse_others(host)
    settings = invocation.settings(console)
    _share_heaps()
    with (
        _bound(host, port) as bound,
        interruptible(console, notice=ENDING) as clock,
        _talkative(invocation),
        open_service(settings, clock, path=path, verify=not insecure) as service,
        Server(service.application, bound) as server,
    ):
        if insecure:
            console.warn("Callbacks are not checked: whoever is on this machine can post them.")
        console.say(f"Store {settings.need_store_hash()}: listening on {server.url}{path}")
        _wait(clock, server)
        server.drain()
        if not service.finish(grace):
            console.warn(
                f"Some requests were not answered within {grace:g} s. The next run finds what is "
                "in doubt."
            )
    return 0


def _share_heaps() -> None:
    """Have all threads share a few heaps, where the C library is glibc.

    It gives new threads heaps of their own, eight per core, and keeps what each of them once
    needed. Runs and their threads come and go with each outage: that adds up over days.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def _wait(clock: SystemClock, server: Server) -> None:
    """Until a signal comes. Raises RuntimeError when the web server ends by itself."""
    from onetribe_bc.errors import InterruptedRunError

    try:
        while server.is_alive:
            clock.sleep(1)
    except InterruptedRunError:
        return
    raise RuntimeError("the web server has ended")


def _address(text: str) -> tuple[str, int]:
    """`HOST:PORT`; without a host it is this machine alone. Raises InputError."""
    from onetribe_bc.errors import InputError

    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise InputError(
            f"--listen {text[:60]!r} is no address.",
            hint="Give one such as 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080.",
        )
    return found["host"].strip("[]") or "127.0.0.1", int(found["port"])


def _refuse_others(host: str) -> None:
    from onetribe_bc.errors import InputError
    from onetribe_bc.secret import is_loopback

    if not is_loopback(host):
        raise InputError(
            f"--insecure is for this machine only, and {host} can be reached from others.",
            hint="Listen on 127.0.0.1 or [::1], or have callbacks checked.",
        )


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """The socket to listen on. Raises InputError when the address cannot be used."""
    from onetribe_bc.errors import InputError
    from onetribe_bc.web.server import listen

    try:
        bound = listen(host, port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host name"
        raise InputError(
            f"Cannot listen on {host} port {port}: {why}.",
            hint="Give another --listen. Ports below 1024 are for the proxy in front of it.",
        ) from None
    with bound:
        yield bound


@contextmanager
def _talkative(invocation: Invocation) -> Iterator[None]:
    """Show callbacks and deliveries without showing each request, too."""
    loggers = [logging.getLogger(name) for name in _TOLD]
    if invocation.verbosity == 0:
        for logger in loggers:
            logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
