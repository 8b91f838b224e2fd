"""The resources of a run: the clients of both services, the ledger and the sender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.onetribe import OneTribeClient, fingerprint
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.selection import SkipRule, resolve_statuses
from onetribe_bc.delivery.sender import Sender
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Policy
from onetribe_bc.ledger.writer import RETRY_FOR_S, Database


@dataclass(frozen=True, slots=True)
class Context:
    """The resources of one run."""

    bigcommerce: BigCommerceClient
    ledger: Ledger
    sender: Sender
    clock: Clock
    skip_statuses: Sequence[int | str]

    def skip_rule(self) -> SkipRule:
        """Return the configured rule for orders that are not eligible.

        Raises InputError for a status that the store does not have.
        """
        return SkipRule(resolve_statuses(self.bigcommerce, self.skip_statuses))


@dataclass(frozen=True, slots=True)
class Clients:
    """Both services and the database, shared by all runs of a process, as are the rate limits."""

    settings: Settings
    clock: Clock
    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    database: Database

    def ledger(self, policy: Policy) -> Ledger:
        """Return the ledger of the configured store and One Tribe URL."""
        return Ledger(
            self.database,
            self.clock,
            store_hash=self.bigcommerce.store_hash,
            destination=self.onetribe.destination,
            policy=policy,
        )

    def context(self, policy: Policy) -> Context:
        """Return the resources of one run; several runs may be active at a time."""
        ledger, delivery = self.ledger(policy), self.settings.delivery
        sender = Sender(
            self.onetribe,
            ledger,
            self.clock,
            attempts=delivery.attempts,
            workers=delivery.workers,
        )
        skip_statuses = self.settings.orders.skip_statuses
        return Context(self.bigcommerce, ledger, sender, self.clock, skip_statuses)


def connect_bigcommerce(
    settings: Settings, clock: Clock, *, attempts: int = 5
) -> BigCommerceClient:
    """Return a client for the store. Raises ConfigurationError for a missing setting."""
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
    """Return a client for One Tribe. Raises ConfigurationError if its URL is not set."""
    return OneTribeClient(
        settings.need_onetribe_url(),
        clock=clock,
        timeouts=_timeouts(settings),
        connections=settings.delivery.workers,
    )


def _timeouts(settings: Settings) -> Timeouts:
    delivery = settings.delivery
    return Timeouts(delivery.connect_timeout_s, delivery.read_timeout_s)


@contextmanager
def open_clients(
    settings: Settings, clock: Clock, *, retry_for_s: float | None = RETRY_FOR_S
) -> Iterator[Clients]:
    """Open both services and the database, and close them at the end of the block.

    `retry_for_s` is how long to wait for a database that cannot be reached; None is for ever.
    Raises ConfigurationError, LedgerError and BusyError.
    """
    with (
        closing(connect_bigcommerce(settings, clock)) as bigcommerce,
        closing(connect_onetribe(settings, clock)) as onetribe,
        closing(Database(settings.ledger, clock, retry_for_s=retry_for_s)) as database,
    ):
        yield Clients(settings, clock, bigcommerce, onetribe, database)


@contextmanager
def open_context(settings: Settings, clock: Clock, policy: Policy) -> Iterator[Context]:
    """Open the resources of one run. Raises what `open_clients` raises."""
    with open_clients(settings, clock) as clients:
        yield clients.context(policy)


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open only the ledger, to read it. Raises what `open_clients` raises."""
    with closing(Database(settings.ledger)) as database:
        yield Ledger(
            database,
            store_hash=settings.need_store_hash(),
            destination=fingerprint(settings.need_onetribe_url()),
        )


def policy_of(settings: Settings, *, force: bool = False, retry_failed: bool = True) -> Policy:
    """Return which orders the settings let a run send again."""
    return Policy(
        force=force,
        on_change=settings.orders.resend == "on-change",
        resend_unknown=settings.delivery.on_unknown == "resend",
        retry_failed=retry_failed,
    )
