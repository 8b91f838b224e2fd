"""`bc2ot serve`."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import click

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import Number, command
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.clock import SystemClock
from onetribe_bc.errors import InputError, InterruptedRunError
from onetribe_bc.secret import is_loopback
from onetribe_bc.web.server import Server, listen, max_connections
from onetribe_bc.web.service import GRACE_S, open_service

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9.-]*):(?P<port>[0-9]{1,5})")
_LOGGERS = ("onetribe_bc.web", "onetribe_bc.commands.receiver", "onetribe_bc.commands.inbox")
"""The loggers that show callbacks and deliveries, but not each request."""

GOING_ON = "SIGHUP: the receiver goes on. To change its configuration, restart it."
STOPPING = (
    "Finishing requests in flight; the other orders wait in the ledger. Signal again to stop "
    "immediately."
)


@command(
    "serve",
    help="""Receive BigCommerce's callbacks, and send their orders immediately.

    Runs until Ctrl-C or SIGTERM, behind a proxy that terminates https. Each callback is durable
    in the ledger before the response. Every 15 minutes (receiver.sync_every), it also does what
    `bc2ot sync` does, to find orders whose callbacks never came.

    \b
    Examples:
      bc2ot hooks create --receiver https://hooks.example.com/
      bc2ot serve
      bc2ot --log-format json serve --listen 127.0.0.1:9000 --path /bigcommerce
    """,
)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Address to listen on; port 0 picks a free one.",
)
@click.option(
    "--path",
    default="/",
    show_default=True,
    help="Path that callbacks are posted to.",
)
@click.option(
    "--grace",
    type=Number(0, 3600),
    default=GRACE_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for requests in flight to finish on shutdown.",
)
@click.option("--insecure", is_flag=True, help="Verify nothing. For testing, on this machine only.")
def serve(cli: Context, address: str, path: str, grace: float, insecure: bool) -> int:
    console = cli.console()
    host, port = _parse_address(address)
    if insecure and not is_loopback(host):
        raise InputError(
            f"--insecure is for this machine only, and other machines can reach {host}.",
            hint="Listen on 127.0.0.1 or [::1], or omit --insecure.",
        )
    settings = cli.settings(console)
    connections = max_connections(settings.delivery.workers)
    with (
        _listening(host, port) as listener,
        interruptible(console, notice=STOPPING, goes_on=GOING_ON) as clock,
        _info_logged(cli),
        open_service(settings, clock, path=path, verify=not insecure) as service,
        Server(service.application, listener, connections=connections) as server,
    ):
        if insecure:
            console.warning(
                "Callbacks are not verified: any process on this machine can post them."
            )
        console.info(f"Store {settings.need_store_hash()}: listening on {server.url}{path}")
        _wait(clock, server)
        if not service.finish(grace):
            console.warning(
                f"Some requests got no response within {grace:g} s. The next run finds the orders "
                "that may have arrived."
            )
    return 0


def _wait(clock: SystemClock, server: Server) -> None:
    """Return after a signal. Raises RuntimeError when the web server stops by itself."""
    try:
        while server.is_alive:
            clock.sleep(1)
    except InterruptedRunError:
        return
    raise RuntimeError("the web server has stopped")


def _parse_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`; no host means loopback. Raises InputError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise InputError(
            f"Invalid address for --listen: {text[:60]!r}.",
            hint="Pass one such as 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080.",
        )
    return found["host"].strip("[]") or "127.0.0.1", int(found["port"])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a listening socket. Raises InputError when the address cannot be used."""
    try:
        listener = listen(host, port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "invalid host name"
        raise InputError(
            f"Cannot listen on {host} port {port}: {why}.",
            hint="Pass a different --listen. Ports below 1024 are for the proxy in front of it.",
        ) from None
    with listener:
        yield listener


@contextmanager
def _info_logged(cli: Context) -> Iterator[None]:
    """Log callbacks and deliveries, unless -q or -v sets the levels."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    if not (cli.verbose or cli.quiet):
        for logger in loggers:
            logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
