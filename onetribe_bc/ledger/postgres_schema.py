"""The ledger's tables in PostgreSQL: created and upgraded by `bc2ot ledger` only.

The role that bc2ot runs as needs no right to change them, and hosts are upgraded one by one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from onetribe_bc.ledger import meta, schema
from onetribe_bc.ledger.engine import Transaction

UPGRADES: Mapping[int, Sequence[str]] = {}
"""The statements from each older version to the next; version 3 was the first on PostgreSQL."""

TIMEOUTS = {
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "tcp_user_timeout": "30s",
}
"""Set on the role: behind a pooler, settings of a session would leak into others."""

_LOCK = int.from_bytes(b"bc2ot", "big")

# Changes are appended: rows that two runs update would make them wait for each other.
_COUNTS = """
    CREATE TABLE counts (
        store_hash VARCHAR(64) NOT NULL,
        destination VARCHAR(16) NOT NULL,
        state VARCHAR(16) NOT NULL,
        reason VARCHAR(300) NOT NULL,
        number BIGINT NOT NULL,
        latest BIGINT
    )
"""
_APPEND = """
    INSERT INTO counts (store_hash, destination, state, reason, number, latest)
    VALUES ({row}.store_hash, {row}.destination, {row}.state,
        CASE {row}.state WHEN 'skipped' THEN {row}.reason ELSE '' END, {number},
        CASE {row}.state WHEN 'sending' THEN {row}.sent_at
            WHEN 'delivered' THEN {row}.delivered_at END);
"""
_TRIGGERS = (
    f"""
    CREATE FUNCTION orders_counted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN {_APPEND.format(row="OLD", number=-1)} END IF;
        IF TG_OP <> 'DELETE' THEN {_APPEND.format(row="NEW", number=1)} END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER orders_counted AFTER INSERT OR DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION orders_counted()
    """,
    """
    CREATE TRIGGER orders_updated AFTER UPDATE ON orders FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR (NEW.state = 'skipped' AND OLD.reason <> NEW.reason))
    EXECUTE FUNCTION orders_counted()
    """,
)

_FOLD = """
    WITH old AS (DELETE FROM counts RETURNING *)
    INSERT INTO counts (store_hash, destination, state, reason, number, latest)
    SELECT store_hash, destination, state, reason, sum(number), max(latest)
    FROM old GROUP BY store_hash, destination, state, reason
"""


def fold(transaction: Transaction) -> None:
    """Add up the changes of `counts` that triggers appended, unless another process does."""
    if transaction.query(f"SELECT pg_try_advisory_xact_lock({_LOCK + 1})") == [(True,)]:
        transaction.execute(_FOLD)


def lock(transaction: Transaction) -> None:
    """Wait until no other process creates or upgrades the ledger."""
    transaction.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")


def create(transaction: Transaction) -> None:
    """Create all tables, indexes and triggers, and give the ledger an id."""
    for name, statement in schema.create_statements(transaction.dialect):
        transaction.execute(_COUNTS if name == schema.counts.name else statement)
    for statement in _TRIGGERS:
        transaction.execute(statement)
    meta.write(transaction, schema_version=str(schema.SCHEMA_VERSION), id=secrets.token_hex(16))


def upgrade(transaction: Transaction, version: int) -> None:
    """Bring the tables from an older version to this one."""
    for older in range(version, schema.SCHEMA_VERSION):
        for statement in UPGRADES[older]:
            transaction.execute(statement)
    meta.write(transaction, schema_version=str(schema.SCHEMA_VERSION))


def grants(role: str, dialect: sa.Dialect) -> Iterator[str]:
    """Yield what gives a role its rights and timeouts; without one, the current role's timeouts."""
    quoted = dialect.identifier_preparer.quote(role) if role else "CURRENT_USER"
    if role:
        tables = ", ".join(table.name for table in schema.metadata.sorted_tables)
        yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {quoted}"
        yield f"GRANT USAGE ON SEQUENCE attempts_id_seq TO {quoted}"
    for name, value in TIMEOUTS.items():
        yield f"ALTER ROLE {quoted} SET {name} = '{value}'"
