"""One store, its ledger and One Tribe, with whole runs over them, for tests of delivery."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.commands.backfill import backfill, preview
from onetribe_bc.config.settings import (
    BigCommerceSettings,
    DeliverySettings,
    OneTribeSettings,
    OrderSettings,
    Settings,
)
from onetribe_bc.delivery.context import open_context, policy_of
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.errors import Bc2otError
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Disposition, Entry, Policy
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from onetribe_bc.order import Order, parse_order
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.secret import Secret
from tests.clocks import FakeClock

DESTINATION = "0123456789abcdef"


def make_order(order_id: int, **fields: object) -> Order:
    """An order as BigCommerce would send it."""
    return parse_order(json.dumps({"id": order_id, "status_id": 11, **fields}).encode())


def make_book(
    database: Database, clock: FakeClock, policy: Policy | None = None, store_hash: str = "shop"
) -> Ledger:
    """A book of one store and destination."""
    return Ledger(database, clock, store_hash=store_hash, destination=DESTINATION, policy=policy)


@dataclass
class Run:
    """What a run reported, and what ended it early."""

    reports: list[Report] = field(default_factory=list)
    error: Bc2otError | None = None
    expected: int | None = None

    @property
    def summary(self) -> Summary:
        summary = Summary()
        for report in self.reports:
            summary.add(report)
        return summary

    def ids(self, disposition: Disposition) -> set[int]:
        return {report.order_id for report in self.reports if report.disposition is disposition}

    @property
    def dispositions(self) -> dict[Disposition, int]:
        return {
            disposition: number
            for disposition, number in self.summary.dispositions.items()
            if number
        }


@dataclass
class Desk:
    """Runs of `bc2ot` against a sandbox, on one ledger."""

    sandbox: Sandbox
    ledger: Location
    clock: FakeClock = field(default_factory=FakeClock)
    workers: int = 4
    attempts: int = 5
    on_unknown: Any = "resend"
    max_copies: int = 3
    resend: Any = "never"
    skip: tuple[str | int, ...] = ("Incomplete",)
    url: str = ""
    read_timeout_s: float = 10.0

    def settings(self, **delivery: Any) -> Settings:
        return Settings(
            store_name=None,
            bigcommerce=BigCommerceSettings(
                self.sandbox.store_hash,
                Secret(self.sandbox.access_token),
                None,
                api_url=self.sandbox.api_url,
            ),
            onetribe=OneTribeSettings(Secret(self.url or self.sandbox.onetribe_url)),
            orders=OrderSettings(self.skip, self.resend),
            delivery=replace(
                DeliverySettings(
                    workers=self.workers,
                    attempts=self.attempts,
                    read_timeout_s=self.read_timeout_s,
                    on_unknown=self.on_unknown,
                    max_copies=self.max_copies,
                ),
                **delivery,
            ),
            ledger=self.ledger,
            timezone=ZoneInfo("UTC"),
        )

    def run(
        self,
        request: OrderFilter | None = None,
        *,
        force: bool = False,
        retry_failed: bool = True,
        limit: int | None = None,
        exclusive: bool = True,
        clock: FakeClock | None = None,
        on_report: Callable[[Report], None] | None = None,
        **delivery: Any,
    ) -> Run:
        """Backfill what is asked for; the error that ended it is kept, not raised."""
        run = Run()
        clock = clock or self.clock
        settings = self.settings(**delivery)
        policy = policy_of(settings, force=force, retry_failed=retry_failed)
        try:
            with open_context(settings, clock, policy) as context:
                selection = select(
                    context.bigcommerce,
                    request or OrderFilter(),
                    now=clock.now,
                )
                run.expected = selection.expected
                reports = backfill(context, selection, limit=limit, exclusive=exclusive)
                with closing(reports):
                    for report in reports:
                        run.reports.append(report)
                        if on_report is not None:
                            on_report(report)
        except Bc2otError as error:
            run.error = error
        return run

    def preview(
        self, request: OrderFilter | None = None, *, limit: int | None = None, force: bool = False
    ) -> list[tuple[Report, Order | None]]:
        settings = self.settings()
        with open_context(settings, self.clock, policy_of(settings, force=force)) as context:
            selection = select(
                context.bigcommerce,
                request or OrderFilter(),
                now=self.clock.now,
            )
            return list(preview(context, selection, limit=limit))

    def book(self, database: Database) -> Ledger:
        """The book that the runs write to."""
        return Ledger(
            database,
            self.clock,
            store_hash=self.sandbox.store_hash,
            destination=fingerprint(Secret(self.url or self.sandbox.onetribe_url)),
        )

    def ask(self, question: Callable[[Ledger], Any]) -> Any:
        """What the ledger knows."""
        with closing(Database(self.ledger)) as database:
            return question(self.book(database))

    def connect(self) -> Any:
        """Another process's connection to the ledger, as good as."""
        if isinstance(self.ledger, Path):
            return sqlite3.connect(self.ledger, isolation_level=None, check_same_thread=False)
        return psycopg.connect(self.ledger.url.reveal(), autocommit=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process holds the ledger's locks."""
        with closing(self.connect()) as other:
            if isinstance(self.ledger, Path):
                other.execute("BEGIN IMMEDIATE")
            else:
                other.execute("BEGIN")
                other.execute("LOCK TABLE orders, callbacks IN EXCLUSIVE MODE")
            yield
            other.execute("ROLLBACK")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the ledger's tables, and return its rows."""
        with closing(self.connect()) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def run_locks(self) -> list[str]:
        """The locks of runs that are at work, or died (SQLite)."""
        if not isinstance(self.ledger, Path):
            return []
        folder = self.ledger.with_name(self.ledger.name + ".locks")
        return [path.name for path in folder.glob("run-*")]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that works on the same store and ledger."""
        ledger = self.ledger if isinstance(self.ledger, Path) else self.ledger.url.reveal()
        return {**os.environ, **self.sandbox.environment(), "BC2OT_LEDGER": str(ledger)}

    def let_unknown_orders_be_due(self) -> None:
        """As a day later, for processes that use the real clock."""
        self.query("UPDATE orders SET sent_at = sent_at - 86400000 WHERE state = 'unknown'")

    def entry(self, order_id: int) -> Entry | None:
        found: Entry | None = self.ask(lambda ledger: ledger.entry(order_id))
        return found

    def states(self) -> dict[str, int]:
        """How many orders are in each state."""
        states = self.ask(lambda ledger: ledger.status().states)
        return {state.value: number for state, number in states.items()}

    def flagged(self) -> int:
        """How many copies beyond the first the ledger says One Tribe may have."""
        number: int = self.ask(lambda ledger: ledger.status().possible_duplicates)
        return number

    def owed(self, ids: Sequence[int] | None = None) -> set[int]:
        """The orders that are eligible."""
        store = self.sandbox.store
        return {i for i in ids or store.ids() if store.row(i).status_id != 0}

    @property
    def filed(self) -> dict[int, int]:
        """How often One Tribe filed each order."""
        return self.sandbox.onetribe.counts()
