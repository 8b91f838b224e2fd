"""The receiver and its application, put together from the settings of one store."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.commands.callback import make_verifier
from onetribe_bc.commands.receiver import Receiver
from onetribe_bc.config import Settings, load
from onetribe_bc.delivery.context import open_clients
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.web.app import OWN_PATHS, Application
from onetribe_bc.web.journal import Journal
from onetribe_bc.web.metrics import Metrics

_log = logging.getLogger(__name__)

GRACE_S = 30.0
"""How long what is in flight may take when the receiver is to end."""


class StoppableClock(Clock, Protocol):
    """A clock that ends those who go by it."""

    def stop(self) -> None:
        """Ask the run to finish what is in flight and start nothing new."""
        ...


@dataclass(frozen=True)
class Service:
    """A receiver at work, and the WSGI application that feeds it."""

    application: Application
    receiver: Receiver
    clock: StoppableClock

    def finish(self, grace_s: float) -> bool:
        """Take nothing in any more, and wait for what is in flight; whether it ended in time.
        What was taken in and not sent waits in the ledger.
        """
        self.application.draining = True
        self.clock.stop()
        return self.receiver.join(grace_s)


@contextmanager
def open_service(
    settings: Settings, clock: StoppableClock, *, path: str = "/", verify: bool = True
) -> Iterator[Service]:
    """Take callbacks on `path`, and deliver what they name, until the end of the block.

    Without `verify`, whoever is on this machine may post callbacks, and nobody else. Raises
    ConfigurationError where something is missing, InputError for a path that cannot be,
    LedgerError and BusyError.
    """
    check_path(path)
    store_hash = settings.need_store_hash()
    verifier = make_verifier(settings) if verify else None
    if verifier is not None and not verifier.is_configured:
        raise ConfigurationError(
            "Nothing is set to tell BigCommerce's callbacks from a stranger's.",
            hint="Make the hook by `bc2ot hooks create --receiver https://…`, which makes a shared "
            "secret, or set bigcommerce.client_secret (BC2OT_CLIENT_SECRET).",
        )
    metrics, journal = Metrics(store_hash), Journal(clock)

    def observe(report: Report, waited_s: float | None) -> None:
        metrics.settle(report, waited_s)
        journal.settle(report, waited_s)

    with open_clients(settings, clock) as clients:
        receiver = Receiver(settings, clients, clock, observe)
        application = Application(
            receiver,
            verifier,
            store_hash=store_hash,
            path=path,
            token=settings.receiver.token,
            metrics=metrics,
            journal=journal,
            now=clock.now,
        )
        service = Service(application, receiver, clock)
        receiver.start()
        try:
            yield service
        finally:
            service.finish(0.0 if clock.stopping else GRACE_S)
            journal.close()


def check_path(path: str) -> None:
    """Raise InputError for a path that callbacks cannot be posted to."""
    fits = path.startswith("/") and path.isascii() and path.isprintable()
    if not fits or any(character in path for character in " ?#%"):
        raise InputError(
            "The path of callbacks must begin with / and hold plain characters only.",
            hint="Give the path of the hook's destination, such as /bigcommerce.",
        )
    if path in OWN_PATHS:
        raise InputError(
            f"{path} tells how the receiver is; callbacks need another path.",
            hint="Give one such as /bigcommerce.",
        )


def create_application(store: str | None = None, *, path: str = "/") -> Application:
    """The receiver as a WSGI application, for a server that runs in threads.

    The configuration is found as on the command line (`BC2OT_CONFIG`, other variables, files);
    `store` names one of its stores, `path` is that of the hook's destination. It begins to
    deliver at once, so make it in the process that serves it, and not before that forks. What is
    in flight when the process ends is finished. Raises what `open_service` raises.
    """
    settings = load(path=None, environ=os.environ, cwd=Path.cwd(), store=store)
    for warning in settings.warnings:
        _log.warning("%s", warning)
    with ExitStack() as stack:
        service = stack.enter_context(open_service(settings, SystemClock(), path=path))
        atexit.register(stack.pop_all().close)
    return service.application
