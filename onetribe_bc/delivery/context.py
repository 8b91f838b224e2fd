"""The resources of a run: the clients of both services, the ledger and the sender."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.onetribe import OneTribeClient, fingerprint
from onetribe_bc.api.rate_limit import PATIENCE_S
from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.selection import SkipRule, resolve_statuses
from onetribe_bc.delivery.sender import Sender
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Policy
from onetribe_bc.ledger.writer import RETRY_FOR_S, Database

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """The resources of one run."""

    bigcommerce: BigCommerceClient
    ledger: Ledger
    sender: Sender
    clock: Clock
    settings: Settings

    def skip_rule(self) -> SkipRule:
        """Return the configured rule for orders that are not eligible.

        Raises ConfigurationError for a status that the store does not have.
        """
        orders, timezone = self.settings.orders, self.settings.timezone
        day = orders.not_before
        return SkipRule(
            skipped_status_ids(self.bigcommerce, self.settings),
            orders.channels,
            None if day is None else datetime.combine(day, time(), timezone),
        )


@dataclass(frozen=True, slots=True)
class Clients:
    """Both services and the database, shared by all runs of a process, as are the rate limits."""

    settings: Settings
    clock: Clock
    bigcommerce: BigCommerceClient
    onetribe: OneTribeClient
    database: Database
    patience_s: float = PATIENCE_S
    """A service that asks to wait longer ends a run."""

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
            patience_s=self.patience_s,
        )
        return Context(self.bigcommerce, ledger, sender, self.clock, self.settings)


def skipped_status_ids(client: BigCommerceClient, settings: Settings) -> frozenset[int]:
    """Return the ids of orders.skip_statuses. Raises ConfigurationError for an unknown one."""
    try:
        return resolve_statuses(client, settings.orders.skip_statuses)
    except InputError as error:
        where = f"{settings.skip_statuses_at}: " if settings.skip_statuses_at else ""
        message = f"{where}orders.skip_statuses is invalid. {error}"
        raise ConfigurationError(message, hint=error.hint) from None


def connect_bigcommerce(
    settings: Settings, clock: Clock, *, attempts: int = 5, patience_s: float = PATIENCE_S
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
        patience_s=patience_s,
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
    settings: Settings,
    clock: Clock,
    *,
    retry_for_s: float | None = RETRY_FOR_S,
    short: bool = False,
    patience_s: float = PATIENCE_S,
) -> Iterator[Clients]:
    """Open both services and the database, and close them at the end of the block.

    `retry_for_s` is how long to wait for a database that cannot be reached; None is for ever. A
    service that asks to wait longer than `patience_s` ends a run.
    Raises ConfigurationError, LedgerError and BusyError.
    """
    with (
        closing(connect_bigcommerce(settings, clock, patience_s=patience_s)) as bigcommerce,
        closing(connect_onetribe(settings, clock)) as onetribe,
        _open_database(settings, clock, retry_for_s, short=short) as database,
    ):
        yield Clients(settings, clock, bigcommerce, onetribe, database, patience_s)


@contextmanager
def _open_database(
    settings: Settings,
    clock: Clock | None = None,
    retry_for_s: float | None = RETRY_FOR_S,
    *,
    short: bool,
) -> Iterator[Database]:
    """Open the ledger, and say if it is a new one, whose path may be a mistake: a `short` run says
    it at its end.
    """
    ledger = settings.ledger
    is_new = isinstance(ledger, Path) and not os.path.lexists(ledger)
    text = "Created a new ledger, %s. To it, every order is new."
    with closing(Database(ledger, clock or SystemClock(), retry_for_s=retry_for_s)) as database:
        if is_new and not short:
            _log.info(text, settings.ledger)
        try:
            yield database
        finally:
            if is_new and short:
                _log.info(text, settings.ledger)


@contextmanager
def open_context(settings: Settings, clock: Clock, policy: Policy) -> Iterator[Context]:
    """Open the resources of one run. Raises what `open_clients` raises."""
    with open_clients(settings, clock, short=True) as clients:
        yield clients.context(policy)


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open only the ledger, to read it. Raises what `open_clients` raises."""
    with _open_database(settings, short=True) as database:
        yield Ledger(
            database,
            store_hash=settings.need_store_hash(),
            destination=fingerprint(settings.need_onetribe_url()),
            policy=policy_of(settings),
        )


def policy_of(settings: Settings, *, force: bool = False, retry_failed: bool = True) -> Policy:
    """Return which orders the settings let a run send again."""
    return Policy(
        force=force,
        on_change=settings.orders.resend == "on-change",
        resend_unknown=settings.delivery.on_unknown == "resend",
        retry_failed=retry_failed,
        max_copies=settings.delivery.max_copies,
        at_intervals=True,
    )
