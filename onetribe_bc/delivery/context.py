"""The services that a run works with, made from the settings and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.onetribe import OneTribeClient, fingerprint
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.sender import Sender
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Policy
from onetribe_bc.ledger.writer import Database

GATHER_S = 0.002
"""Orders are claimed ahead of the workers, so that nobody waits for a commit this much later."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Both services and the ledger, for all runs of a process: the services' limits hold for
    all of them together.
    """

    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    ledger: Database


@dataclass(frozen=True, slots=True)
class Context:
    """What one run that delivers orders works with."""

    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    ledger: Ledger
    sender: Sender
    clock: Clock


def connect_bigcommerce(
    settings: Settings, clock: Clock, *, attempts: int = 5
) -> BigCommerceClient:
    """A client for the configured store, which tries each request so often. Raises
    ConfigurationError when something is missing.
    """
    bigcommerce = settings.bigcommerce
    return BigCommerceClient(
        store_hash=settings.need_store_hash(),
        access_token=settings.need_access_token(),
        api_url=bigcommerce.api_url,
        reserve=bigcommerce.reserve,
        clock=clock,
        timeouts=_timeouts(settings),
        connections=settings.delivery.workers,
        attempts=attempts,
    )


def connect_onetribe(settings: Settings, clock: Clock) -> OneTribeClient:
    """A client for the configured address. Raises ConfigurationError when there is none."""
    return OneTribeClient(
        settings.need_onetribe_url(),
        clock=clock,
        timeouts=_timeouts(settings),
        connections=settings.delivery.workers,
    )


@contextmanager
def open_clients(settings: Settings, clock: Clock) -> Iterator[Clients]:
    """Both services and the ledger. Raises ConfigurationError, LedgerError and BusyError."""
    with (
        closing(connect_bigcommerce(settings, clock)) as bigcommerce,
        closing(connect_onetribe(settings, clock)) as onetribe,
        closing(Database(settings.ledger, gather_s=GATHER_S)) as ledger,
    ):
        yield Clients(bigcommerce, onetribe, ledger)


def make_context(settings: Settings, clients: Clients, clock: Clock, policy: Policy) -> Context:
    """What one run needs; several at once may share the clients."""
    of = {"store_hash": clients.bigcommerce.store_hash, "destination": clients.onetribe.destination}
    ledger = Ledger(clients.ledger, clock, **of, policy=policy)
    delivery = settings.delivery
    return Context(
        clients.bigcommerce,
        clients.onetribe,
        ledger,
        Sender(
            clients.onetribe, ledger, clock, attempts=delivery.attempts, workers=delivery.workers
        ),
        clock,
    )


@contextmanager
def open_context(settings: Settings, clock: Clock, policy: Policy) -> Iterator[Context]:
    """Everything that one run needs. Raises ConfigurationError, LedgerError and BusyError."""
    with open_clients(settings, clock) as clients:
        yield make_context(settings, clients, clock, policy)


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger alone, for questions that need neither service. Raises as `open_context`."""
    database = Database(settings.ledger)
    try:
        yield Ledger(
            database,
            store_hash=settings.need_store_hash(),
            destination=fingerprint(settings.need_onetribe_url()),
        )
    finally:
        database.close()


def policy_of(settings: Settings, *, force: bool = False, retry_failed: bool = True) -> Policy:
    """What the settings let a run send beside what was never sent."""
    return Policy(
        force=force,
        on_change=settings.orders.resend == "on-change",
        resend_unknown=settings.delivery.on_unknown == "resend",
        retry_failed=retry_failed,
    )


def _timeouts(settings: Settings) -> Timeouts:
    delivery = settings.delivery
    return Timeouts(delivery.connect_timeout_s, delivery.read_timeout_s)
