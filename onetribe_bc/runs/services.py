"""The services that a run works with, made from the settings and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from onetribe_bc.ledger.inventory import Inventory

GATHER_S = 0.002
"""Orders are claimed ahead of the workers, so that nobody waits for a commit this much later."""


@dataclass(frozen=True, slots=True)
class Services:
    """Both services and the ledger, for one run that delivers orders."""

    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    book: Book
    inventory: Inventory
    courier: Courier
    clock: Clock


def connect_bigcommerce(settings: Settings, clock: Clock) -> BigCommerceClient:
    """A client for the configured store. Raises ConfigurationError when something is missing."""
    bigcommerce = settings.bigcommerce
    return BigCommerceClient(
        store_hash=settings.need_store_hash(),
        access_token=settings.need_access_token(),
        api_url=bigcommerce.api_url,
        reserve=bigcommerce.reserve,
        clock=clock,
        timeouts=_timeouts(settings),
        connections=settings.delivery.workers,
    )


@contextmanager
def open_services(settings: Settings, clock: Clock, policy: Policy) -> Iterator[Services]:
    """Everything that delivering needs. Raises ConfigurationError and LedgerError."""
    with ExitStack() as stack:
        bigcommerce = connect_bigcommerce(settings, clock)
        stack.callback(bigcommerce.close)
        workers = settings.delivery.workers
        onetribe = OneTribeClient(
            settings.need_onetribe_url(),
            clock=clock,
            timeouts=_timeouts(settings),
            connections=workers,
        )
        stack.callback(onetribe.close)
        database = Database(settings.ledger, gather_s=GATHER_S)
        stack.callback(database.close)
        book = Book(
            database,
            clock,
            store_hash=bigcommerce.store_hash,
            destination=onetribe.destination,
            policy=policy,
        )
        courier = Courier(
            onetribe, book, clock, attempts=settings.delivery.attempts, workers=workers
        )
        inventory = Inventory(
            database, store_hash=bigcommerce.store_hash, destination=onetribe.destination
        )
        yield Services(bigcommerce, onetribe, book, inventory, courier, clock)


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
