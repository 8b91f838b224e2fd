"""Entries and attempts as rows of one store and destination."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from onetribe_bc.ledger import schema
from onetribe_bc.ledger.dialects import upsert
from onetribe_bc.ledger.states import Entry, Outcome, Result, State

_COLUMNS = tuple(field.name for field in fields(Entry))
_ORDERS = schema.orders.c

# Statements are built once: putting one together costs more than running it.
_SELECT = (
    sa.select(*(_ORDERS[name] for name in _COLUMNS))
    .where(
        _ORDERS.store_hash == sa.bindparam("store_hash"),
        _ORDERS.destination == sa.bindparam("destination"),
    )
    .order_by(_ORDERS.order_id)
    .with_for_update()
)
_SELECT_BY_ID = _SELECT.where(_ORDERS.order_id.in_(sa.bindparam("ids", expanding=True)))
_SELECT_BY_OWNER = _SELECT.where(
    _ORDERS.state == State.SENDING.value,
    _ORDERS.run_id.in_(sa.bindparam("run_ids", expanding=True)),
)
_UPSERT = upsert(schema.orders)
_INSERT_ATTEMPT = sa.insert(schema.attempts)


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one try: the entry as it was claimed, as it is after, and why."""

    claimed: Entry
    after: Entry
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one order, as it is kept."""

    order_id: int
    number: int
    run_id: str
    started_at: datetime
    ended_at: datetime
    result: str
    reason: str
    sha256: str | None
    answer_status: int | None
    answer: str


class Rows:
    """Reads and writes within a transaction that the caller holds."""

    def __init__(self, *, store_hash: str, destination: str) -> None:
        self.key = {"store_hash": store_hash, "destination": destination}

    def of(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The condition that a table's row is of this store and destination."""
        return sa.and_(*(table.c[name] == value for name, value in self.key.items()))

    def entries(self, connection: sa.Connection, ids: Sequence[int]) -> dict[int, Entry]:
        """The entries with these ids, those that exist, locked for the transaction."""
        found = self._select(connection, _SELECT_BY_ID, ids=ids)
        return {entry.order_id: entry for entry in found}

    def sending_by(self, connection: sa.Connection, run_ids: Sequence[str]) -> list[Entry]:
        """The entries that these runs have claimed."""
        return self._select(connection, _SELECT_BY_OWNER, run_ids=run_ids)

    def page(
        self, connection: sa.Connection, after: int, states: Collection[State], limit: int
    ) -> list[Entry]:
        """The next entries behind an id, in some states or in any."""
        query = _SELECT.where(_ORDERS.order_id > after).limit(limit)
        if states:
            query = query.where(_ORDERS.state.in_([state.value for state in states]))
        return self._select(connection, query)

    def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> None:
        """Insert or update whole rows."""
        if entries:
            rows = [self._row(entry) for entry in entries]
            connection.execute(_UPSERT[connection.dialect.name], rows)

    def write_attempts(self, connection: sa.Connection, settlements: Sequence[Settlement]) -> None:
        """Keep each try for `history`; what was never sent was none."""
        tried = [one for one in settlements if one.outcome.result is not Result.UNSENT]
        if tried:
            connection.execute(_INSERT_ATTEMPT, [self._attempt(one) for one in tried])

    def attempts(self, connection: sa.Connection, order_id: int) -> list[Attempt]:
        """Every try at one order, oldest first."""
        table = schema.attempts
        query = (
            sa.select(*(table.c[field.name] for field in fields(Attempt)))
            .where(self.of(table), table.c.order_id == order_id)
            .order_by(table.c.id)
        )
        return [Attempt(**row) for row in connection.execute(query).mappings()]

    def _row(self, entry: Entry) -> dict[str, object]:
        return {**self.key, **{name: getattr(entry, name) for name in _COLUMNS}}

    def _attempt(self, settlement: Settlement) -> dict[str, object]:
        claimed, after, outcome = settlement.claimed, settlement.after, settlement.outcome
        return {
            **self.key,
            "order_id": after.order_id,
            "number": after.attempts,
            "run_id": claimed.run_id,
            "started_at": claimed.sent_at,
            "ended_at": after.updated_at,
            "result": outcome.result.value,
            "reason": after.reason,
            "sha256": after.sha256,
            "answer_status": after.answer_status,
            "answer": after.answer,
        }

    def _select(
        self, connection: sa.Connection, query: sa.Select[Any], **values: object
    ) -> list[Entry]:
        rows = connection.execute(query, {**self.key, **values})
        return [Entry(row[0], State(row[1]), *row[2:]) for row in rows]
