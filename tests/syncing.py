"""Syncs, retries and reconciliations of one store, on top of what deliveries need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from onetribe_bc.clock import Clock
from onetribe_bc.commands.retry import choose_orders, retry
from onetribe_bc.commands.sync import plan_sync, sync
from onetribe_bc.delivery.context import open_context, open_ledger, policy_of
from onetribe_bc.errors import Bc2otError
from onetribe_bc.ledger.ledger import Bookmark, Ledger, Status
from onetribe_bc.ledger.states import Policy, State
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW
from tests.delivering import Desk, Run

LONG_AGO = SERVER_NOW - timedelta(days=60)


@dataclass
class Station(Desk):
    """A desk whose clock is an hour ahead of the store's."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(SERVER_NOW + timedelta(hours=1)))
    overlap: timedelta = timedelta(hours=48)

    def sync(self, since: datetime | None = None, *, clock: Clock | None = None) -> Run:
        """What `bc2ot sync` does; the error that ended it is kept, not raised."""
        run = Run()
        clock = clock or self.clock
        settings = self.settings()
        policy = policy_of(settings, retry_failed=False)
        with self._kept(run), open_context(settings, clock, policy) as context:
            plan = plan_sync(context.ledger, since=since, overlap=self.overlap, now=clock.now())
            with closing(sync(context, plan)) as reports:
                run.reports += reports
        return run

    def retry(self, ids: Sequence[int] = (), *, states: Sequence[State] = ()) -> Run:
        """What `bc2ot retry` does."""
        run = Run()
        with self._kept(run), open_context(self.settings(), self.clock, Policy()) as context:
            chosen = choose_orders(context.ledger, ids, states)
            run.reports += retry(context, chosen)
        return run

    @contextmanager
    def _kept(self, run: Run) -> Iterator[None]:
        try:
            yield
        except Bc2otError as error:
            run.error = error

    def inquire(self, question: Callable[[Ledger], Any]) -> Any:
        """What the ledger knows."""
        with open_ledger(self.settings()) as ledger:
            return question(ledger)

    @property
    def status(self) -> Status:
        found: Status = self.inquire(Ledger.status)
        return found

    @property
    def bookmark(self) -> Bookmark | None:
        found: Bookmark | None = self.inquire(Ledger.bookmark)
        return found

    @property
    def synced_until(self) -> datetime | None:
        return None if self.bookmark is None else self.bookmark.synced_until

    def rows(self) -> list[Any]:
        """The ledger's orders, attempts and bookmarks, whole."""
        tables = ("orders", "attempts", "bookmarks", "runs")
        return [self.query(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]
