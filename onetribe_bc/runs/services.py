"""The services that a run works with, made from the settings and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.onetribe import OneTribeClient, fingerprint
from onetribe_bc.api.transport import Timeouts
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery import Courier
from onetribe_bc.ledger.book import Book
from onetribe_bc.ledger.database import Database
from onetribe_bc.ledger.entry import Policy
from onetribe_bc.ledger.inbox import Inbox
from onetribe_bc.ledger.inventory import Inventory

GATHER_S = 0.002
"""Orders are claimed ahead of the workers, so that nobody waits for a commit this much later."""


@dataclass(frozen=True, slots=True)
class Links:
    """Both services and the ledger, for all runs of a process: the services' limits hold for
    all of them together.
    """

    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    ledger: Database


@dataclass(frozen=True, slots=True)
class Services:
    """What one run that delivers orders works with."""

    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    book: Book
    inventory: Inventory
    inbox: Inbox
    courier: Courier
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
def open_links(settings: Settings, clock: Clock) -> Iterator[Links]:
    """Both services and the ledger. Raises ConfigurationError, LedgerError and BusyError."""
    with (
        closing(connect_bigcommerce(settings, clock)) as bigcommerce,
        closing(connect_onetribe(settings, clock)) as onetribe,
        closing(Database(settings.ledger, gather_s=GATHER_S)) as ledger,
    ):
        yield Links(bigcommerce, onetribe, ledger)


def make_services(settings: Settings, links: Links, clock: Clock, policy: Policy) -> Services:
    """What one run needs; several at once may share the links."""
    of = {"store_hash": links.bigcommerce.store_hash, "destination": links.onetribe.destination}
    book = Book(links.ledger, clock, **of, policy=policy)
    delivery = settings.delivery
    return Services(
        links.bigcommerce,
        links.onetribe,
        book,
        Inventory(links.ledger, **of),
        Inbox(links.ledger, clock, **of),
        Courier(links.onetribe, book, clock, attempts=delivery.attempts, workers=delivery.workers),
        clock,
    )


@contextmanager
def open_services(settings: Settings, clock: Clock, policy: Policy) -> Iterator[Services]:
    """Everything that one run needs. Raises ConfigurationError, LedgerError and BusyError."""
    with open_links(settings, clock) as links:
        yield make_services(settings, links, clock, policy)


@contextmanager
def open_inventory(settings: Settings) -> Iterator[Inventory]:
    """The ledger alone, for questions that need neither service. Raises as `open_services`."""
    database = Database(settings.ledger)
    try:
        yield Inventory(
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
