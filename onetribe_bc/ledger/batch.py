"""Claims and settlements of many workers, written together.

Whatever was handed in by the time the ledger's thread comes to it is one read, one write and
one commit. That is what keeps a durable claim per order from setting the pace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import sqlalchemy as sa

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger.rows import Rows, Settlement
from onetribe_bc.ledger.states import Disposition, Entry
from onetribe_bc.ledger.writer import Database

ClaimRule = Callable[[Entry], tuple[Entry, Disposition]]
"""Takes an entry as it stands, returns it claimed, or unchanged with the decision why not."""

Claimed = tuple[Entry, Disposition]


@dataclass(slots=True)
class _Batch:
    claims: list[tuple[int, ClaimRule, Future[Claimed]]] = field(default_factory=list)
    settlements: list[tuple[Settlement, Future[None]]] = field(default_factory=list)
    results: list[Claimed] = field(default_factory=list)


class Batcher:
    """Collects claims and settlements of one ledger."""

    def __init__(self, database: Database, rows: Rows) -> None:
        self._database = database
        self._rows = rows
        self._lock = threading.Lock()
        self._open: _Batch | None = None

    def claim(self, order_id: int, rule: ClaimRule) -> Future[Claimed]:
        """Apply `rule` to an entry; the result is there once it is durable."""
        future: Future[Claimed] = Future()
        self._hand_in(lambda batch: batch.claims.append((order_id, rule, future)))
        return future

    def settle(self, settlement: Settlement) -> Future[None]:
        """Write a settlement; done once it is durable, and never after a later claim."""
        future: Future[None] = Future()
        self._hand_in(lambda batch: batch.settlements.append((settlement, future)))
        return future

    def _hand_in(self, add: Callable[[_Batch], None]) -> None:
        """Into the batch that is still open; a new one is handed to the ledger's thread."""
        with self._lock:
            batch, is_new = self._open or _Batch(), self._open is None
            self._open = batch
            add(batch)
        if not is_new:
            return
        try:
            written = self._database.submit(lambda connection: self._write(connection, batch))
        except LedgerError as error:
            self._finish(batch, error)
        else:
            written.add_done_callback(lambda done: self._finish(batch, done.exception()))

    def _finish(self, batch: _Batch, error: BaseException | None) -> None:
        """Tell everyone in the batch how it went, also when it was never begun."""
        with self._lock:
            if self._open is batch:
                self._open = None
        _resolve(batch, error)

    def _write(self, connection: sa.Connection, batch: _Batch) -> None:
        """May run twice, when the first transaction did not come about."""
        with self._lock:
            if self._open is batch:
                self._open = None
        # Settlements first: their rows are their worker's own, and no claim here is about them.
        changed = [settlement.after for settlement, _ in batch.settlements]
        known = self._rows.entries(connection, [order_id for order_id, _, _ in batch.claims])
        batch.results = []
        for order_id, rule, _ in batch.claims:
            claimed, decision = rule(known[order_id])
            batch.results.append((claimed, decision))
            if claimed is not known[order_id]:
                known[order_id] = claimed
                changed.append(claimed)
        self._rows.write(connection, changed)
        self._rows.write_attempts(connection, [one for one, _ in batch.settlements])


def _resolve(batch: _Batch, error: BaseException | None) -> None:
    for _, written in batch.settlements:
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
    for index, (_, _, claimed) in enumerate(batch.claims):
        if error is None:
            claimed.set_result(batch.results[index])
        else:
            claimed.set_exception(error)
