"""The ledger's tables. No column holds customer data, an address or a secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    insert,
)

SCHEMA_VERSION = 2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole milliseconds since 1970 in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002
        return None if value is None else (value - _EPOCH) // timedelta(milliseconds=1)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + timedelta(milliseconds=value)


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
    Column("store_hash", String(64), primary_key=True),
    Column("destination", String(16), primary_key=True),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(300), nullable=False),
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
    Column("answer", String(200), nullable=False),
    Column("state_before", String(16)),
    Column("sha256_before", String(64)),
    sqlite_with_rowid=False,
)

Index("orders_by_state", orders.c.store_hash, orders.c.destination, orders.c.state)

attempts = Table(
    "attempts",
    metadata,
    # SQLite counts up by itself only for an INTEGER primary key.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("store_hash", String(64), nullable=False),
    Column("destination", String(16), nullable=False),
    Column("order_id", BigInteger, nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment, nullable=False),
    Column("result", String(16), nullable=False),
    Column("reason", String(300), nullable=False),
    Column("sha256", String(64)),
    Column("answer_status", Integer),
    Column("answer", String(200), nullable=False),
)

Index("attempts_by_order", attempts.c.store_hash, attempts.c.destination, attempts.c.order_id)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("command", String(40), nullable=False),
    Column("store_hash", String(64), nullable=False),
    Column("destination", String(16), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("outcome", String(300), nullable=False),
    Column("seen", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
)

Index("runs_by_store", runs.c.store_hash, runs.c.destination, runs.c.started_at)

bookmarks = Table(
    "bookmarks",
    metadata,
    Column("store_hash", String(64), primary_key=True),
    Column("destination", String(16), primary_key=True),
    Column("begins_at", Moment, nullable=False),
    Column("synced_until", Moment, nullable=False),
    sqlite_with_rowid=False,
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("store_hash", String(64), primary_key=True),
    Column("destination", String(16), primary_key=True),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", Moment, nullable=False),
    Column("received", Integer, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("looks", Integer, nullable=False),
    sqlite_with_rowid=False,
)


def create(connection: Connection) -> None:
    """Make the tables of a new ledger, within a transaction that the caller holds."""
    metadata.create_all(connection)
    row = {"key": "schema_version", "value": str(SCHEMA_VERSION)}
    connection.execute(insert(meta).values(row))
