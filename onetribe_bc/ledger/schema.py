"""The ledger's tables. No column holds customer data, a URL or a secret."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table
from sqlalchemy.schema import CreateIndex, CreateTable

from onetribe_bc.ledger.states import State
from onetribe_bc.secret import mask_secrets

SCHEMA_VERSION = 3

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Moment(sa.TypeDecorator[datetime]):
    """An aware UTC datetime, stored as whole milliseconds since 1970 in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002
        return None if value is None else (value - _EPOCH) // _MILLISECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + timedelta(milliseconds=value)


class Named(sa.TypeDecorator[StrEnum]):
    """A member of an enum, stored by its value."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(16)
        self._members = {str(member): member for member in kind}

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Any) -> StrEnum | None:  # noqa: ARG002
        return None if value is None else self._members[value]


class Text(sa.TypeDecorator[str]):
    """Text without secrets, cut to the column's length, without the NUL that PostgreSQL refuses."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002
        length = self.impl_instance.length  # type: ignore[attr-defined]
        if value is None:
            return None
        return mask_secrets(str(value)).replace("\0", "\N{REPLACEMENT CHARACTER}")[:length]


def _key() -> list[Column[Any]]:
    return [
        Column("store_hash", String(64), primary_key=True),
        Column("destination", String(16), primary_key=True),
    ]


def _order_key() -> list[Column[Any]]:
    return [*_key(), Column("order_id", BigInteger, primary_key=True, autoincrement=False)]


metadata = MetaData()

meta = Table(
    "ledger_meta",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("value", String(200), nullable=False),
)

orders = Table(
    "orders",
    metadata,
    *_order_key(),
    Column("state", Named(State), nullable=False),
    Column("reason", Text(300), nullable=False),
    Column("sha256", String(64)),
    Column("modified_at", Moment),
    Column("attempts", Integer, nullable=False),
    Column("arrivals", Integer, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("run_id", String(32)),
    Column("first_seen_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("sent_at", Moment),
    Column("delivered_at", Moment),
    Column("answer_status", Integer),
    Column("answer", Text(200), nullable=False),
    Column("state_before", Named(State)),
    Column("sha256_before", String(64)),
    Column("worker", Integer),
    Column("status_id", Integer),
    Column("status", Text(60), nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

IS_SENDING = sa.text("state = 'sending'")
UNDELIVERED = sa.text("state <> 'delivered'")
DUPLICATED = sa.text("arrivals > 1")
"""Conditions of partial indexes: queries repeat them word for word, or SQLite scans the table."""


def _partial(condition: sa.TextClause) -> dict[str, Any]:
    return {"sqlite_where": condition, "postgresql_where": condition}


# At most one claim per worker: the database itself refuses a second one.
Index("orders_claims", orders.c.run_id, orders.c.worker, unique=True, **_partial(IS_SENDING))
Index(
    "orders_undelivered",
    orders.c.store_hash,
    orders.c.destination,
    orders.c.state,
    orders.c.order_id,
    orders.c.first_seen_at,
    **_partial(UNDELIVERED),
)
Index(
    "orders_duplicated",
    orders.c.store_hash,
    orders.c.destination,
    orders.c.order_id,
    orders.c.arrivals,
    **_partial(DUPLICATED),
)

counts = Table(
    "counts",
    metadata,
    *_key(),
    Column("state", String(16), primary_key=True),
    Column("reason", Text(300), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("latest", Moment),
    sqlite_with_rowid=False,
)
"""How many orders are in each state, kept by triggers: counting ten million takes seconds.

`reason` is set for skipped orders only. `latest` is the newest `sent_at` that a claim had, and the
newest `delivered_at`.
"""

attempts = Table(
    "attempts",
    metadata,
    # SQLite numbers rows by itself only for an INTEGER primary key.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("store_hash", String(64), nullable=False),
    Column("destination", String(16), nullable=False),
    Column("order_id", BigInteger, nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, nullable=False),
    Column("result", String(16), nullable=False),
    Column("reason", Text(300), nullable=False),
    Column("sha256", String(64)),
    Column("answer_status", Integer),
    Column("answer", Text(200), nullable=False),
)

Index("attempts_by_order", attempts.c.store_hash, attempts.c.destination, attempts.c.order_id)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("command", Text(40), nullable=False),
    Column("store_hash", String(64), nullable=False),
    Column("destination", String(16), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("outcome", Text(300), nullable=False),
    Column("seen", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("exclusive", Integer, nullable=False, server_default=sa.text("0")),
    Column("host", Text(100), nullable=False, server_default=""),
    Column("lease_until", Moment),
)

HOLDS_STORE = sa.text("exclusive = 1 AND ended_at IS NULL")
IS_OPEN = sa.text("ended_at IS NULL")

Index("runs_by_store", runs.c.store_hash, runs.c.destination, runs.c.started_at)
Index("runs_exclusive", runs.c.store_hash, unique=True, **_partial(HOLDS_STORE))
Index("runs_open", runs.c.id, **_partial(IS_OPEN))

bookmarks = Table(
    "bookmarks",
    metadata,
    *_key(),
    Column("begins_at", Moment, nullable=False),
    Column("synced_until", Moment, nullable=False),
    sqlite_with_rowid=False,
)

callbacks = Table(
    "callbacks",
    metadata,
    *_order_key(),
    Column("received_at", Moment, nullable=False),
    Column("received", Integer, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("looks", Integer, nullable=False),
    sqlite_with_rowid=False,
)

Index("callbacks_by_due", callbacks.c.store_hash, callbacks.c.destination, callbacks.c.due_at)


def create_statements(dialect: sa.Dialect) -> Iterator[tuple[str, str]]:
    """Yield the name of each table and index, and the DDL that creates it; no triggers."""
    for table in metadata.sorted_tables:
        yield table.name, str(CreateTable(table).compile(dialect=dialect))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(index.name), str(CreateIndex(index).compile(dialect=dialect))


_COUNT = """
    INSERT INTO counts (store_hash, destination, state, reason, number, latest)
    VALUES (
        {row}.store_hash, {row}.destination, {row}.state,
        CASE {row}.state WHEN 'skipped' THEN {row}.reason ELSE '' END, {sign}1,
        CASE {row}.state WHEN 'sending' THEN {row}.sent_at
            WHEN 'delivered' THEN {row}.delivered_at END
    )
    ON CONFLICT (store_hash, destination, state, reason) DO UPDATE SET
        number = number + excluded.number,
        latest = coalesce(max(latest, excluded.latest), latest, excluded.latest);
"""
_ADD, _SUBTRACT = _COUNT.format(row="new", sign="+"), _COUNT.format(row="old", sign="-")

SQLITE_TRIGGERS = {
    "orders_inserted": f"CREATE TRIGGER orders_inserted AFTER INSERT ON orders BEGIN {_ADD} END",
    "orders_deleted": f"CREATE TRIGGER orders_deleted AFTER DELETE ON orders BEGIN {_SUBTRACT} END",
    "orders_updated": "CREATE TRIGGER orders_updated AFTER UPDATE ON orders "
    "WHEN old.state <> new.state OR (new.state = 'skipped' AND old.reason <> new.reason) "
    f"BEGIN {_SUBTRACT} {_ADD} END",
}
"""What keeps `counts` on SQLite."""
