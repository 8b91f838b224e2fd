"""The receiver and its WSGI application, built from the settings of one store."""

from __future__ import annotations

import atexit
import logging
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.commands.callback import make_verifier
from onetribe_bc.commands.receiver import Receiver
from onetribe_bc.config import Settings, load
from onetribe_bc.delivery.context import open_clients
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.web.access_log import AccessLog
from onetribe_bc.web.app import OWN_PATHS, Application, plain_path
from onetribe_bc.web.metrics import Metrics

_log = logging.getLogger(__name__)

GRACE_S = 30.0
"""Default time for deliveries in flight to finish on shutdown."""


@dataclass(frozen=True)
class Service:
    """A running receiver, and the WSGI application that feeds it."""

    application: Application
    receiver: Receiver
    clock: Clock

    def finish(self, grace_s: float) -> bool:
        """Stop accepting callbacks, wait for deliveries in flight, and return whether they ended
        within `grace_s`. Orders recorded and not sent wait in the ledger.
        """
        self.application.draining = True
        self.clock.stop()
        return self.receiver.join(grace_s)


@contextmanager
def open_service(
    settings: Settings, clock: Clock, *, path: str = "/", verify: bool = True
) -> Iterator[Service]:
    """Accept callbacks on `path` and deliver their orders until the end of the block.

    Without `verify`, only processes on this machine may post callbacks. Raises
    ConfigurationError, InputError for an invalid path, LedgerError and BusyError.
    """
    check_path(path)
    store_hash = settings.need_store_hash()
    verifier = make_verifier(settings) if verify else None
    if verifier is not None and not verifier.is_configured:
        raise ConfigurationError(
            "No secret is set to verify callbacks with.",
            hint="Create the webhook with `bc2ot hooks create --receiver https://…`, which also "
            "creates a shared secret, or set bigcommerce.client_secret (BC2OT_CLIENT_SECRET).",
        )
    metrics, access_log = Metrics(store_hash), AccessLog(clock)

    def observe(report: Report, waited_s: float | None) -> None:
        metrics.settle(report, waited_s)
        access_log.settle(report, waited_s)

    with open_clients(settings, clock, retry_for_s=None, patience_s=math.inf) as clients:
        receiver = Receiver(settings, clients, clock, observe)
        application = Application(
            receiver,
            verifier,
            store_hash=store_hash,
            path=path,
            token=settings.receiver.token,
            metrics=metrics,
            access_log=access_log,
            now=clock.now,
        )
        service = Service(application, receiver, clock)
        receiver.start()
        try:
            yield service
        finally:
            service.finish(0.0 if clock.stopping else GRACE_S)
            access_log.close()


def check_path(path: str) -> None:
    """Raise InputError for a path that callbacks cannot be posted to."""
    plain = path.startswith("/") and path.isascii() and path.isprintable()
    if not plain or any(character in path for character in " ?#%"):
        raise InputError(
            "The path of callbacks must start with / and contain plain characters only.",
            hint="Pass the path of the webhook's destination, such as /bigcommerce.",
        )
    if plain_path(path) in OWN_PATHS:
        raise InputError(
            f"{path} is for monitoring; callbacks need a different path.",
            hint="Pass one such as /bigcommerce.",
        )


def create_application(store: str | None = None, *, path: str = "/") -> Application:
    """Return the receiver as a WSGI application, for a threaded server.

    The configuration is found as on the command line (`BC2OT_CONFIG`, other variables, files);
    `store` names one of its stores, `path` is the path of the webhook's destination. Deliveries
    start immediately, so call it in the process that serves, after any fork. When the process
    ends, deliveries in flight finish. Raises what `open_service` raises.
    """
    settings = load(path=None, environ=os.environ, cwd=Path.cwd(), store=store)
    for warning in settings.warnings:
        _log.warning("%s", warning)
    with ExitStack() as stack:
        service = stack.enter_context(open_service(settings, SystemClock(), path=path))
        atexit.register(stack.pop_all().close)
    return service.application
