"""What a PostgreSQL server and bc2ot's role there are set to, for `bc2ot doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.errors import Bc2otError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Engine, Transaction, translating
from onetribe_bc.ledger.postgres_schema import TIMEOUTS
from onetribe_bc.ledger.writer import open_postgres
from onetribe_bc.location import PostgresUrl

_WAIT_S = 5.0
_SERVER = """
    SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8
"""
# The session's own values, which the snapshot's timeout does not change. Only TCP has the last.
_UNSET = f"""
    SELECT name FROM pg_settings
    WHERE reset_val = '0' AND name IN ({", ".join(map(repr, TIMEOUTS))})
        AND (name <> 'tcp_user_timeout' OR inet_server_addr() IS NOT NULL)
    ORDER BY name
"""  # noqa: S608 - the names are ours
_TABLES = ", ".join(f"('{table.name}')" for table in schema.metadata.sorted_tables)
# A table that does not exist has no OID, and is left out.
_MISSING_RIGHTS = f"""
    SELECT want || ' on ' || name FROM (VALUES {_TABLES}) AS tables (name),
        (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS rights (want)
    WHERE NOT has_table_privilege(to_regclass(name), want)
    UNION ALL
    SELECT 'USAGE on attempts_id_seq'
    WHERE NOT has_sequence_privilege(to_regclass('attempts_id_seq'), 'USAGE')
"""  # noqa: S608 - the names are ours
# Of other roles' sessions, only who and where is visible.
_CONNECTIONS_LEFT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) - count(*),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
            - count(*) FILTER (WHERE usename = current_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
            - count(*) FILTER (WHERE datname = current_database()))
    FROM pg_stat_activity WHERE usesysid IS NOT NULL AND datid IS NOT NULL
"""
_LATEST = sa.select(sa.func.max(schema.counts.c.latest, type_=schema.Moment)).where(
    schema.counts.c.store_hash == sa.bindparam("store_hash")
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server, as the role of the ledger's URL sees it.

    `ahead` is the server's clock minus this machine's. `ledger_error` is why there is no usable
    ledger, `write_error` why nothing can be written durably.
    """

    version: str
    uses_tls: bool
    ahead: timedelta
    unset_timeouts: Sequence[str]
    missing_rights: Sequence[str]
    connections_left: int
    ledger_error: Bc2otError | None
    write_error: Bc2otError | None


def inspect(location: PostgresUrl, clock: Clock) -> Server:
    """Read the settings; change nothing. Raises ConfigurationError, RefusedError, LedgerError,
    UnreachableError.
    """
    with closing(open_postgres(location)) as engine:
        with translating(engine):
            facts = _read(engine, clock)
        return Server(
            **facts,
            ledger_error=_error(engine, engine.prepare),
            write_error=_error(engine, lambda: engine.connect().close()),
        )


def _read(engine: Engine, clock: Clock) -> Mapping[str, Any]:
    with (
        closing(engine.connect(read_only=True)) as connection,
        engine.snapshot(connection, _WAIT_S) as transaction,
    ):
        version, epoch = transaction.query(_SERVER)[0]
        return {
            "version": str(version).partition(" ")[0],
            "uses_tls": connection.pgconn.ssl_in_use,
            "ahead": datetime.fromtimestamp(epoch, UTC) - clock.now(),
            "unset_timeouts": _column(transaction, _UNSET),
            "missing_rights": _column(transaction, _MISSING_RIGHTS),
            "connections_left": transaction.query(_CONNECTIONS_LEFT)[0][0],
        }


def last_activity(location: PostgresUrl, store_hash: str) -> datetime | None:
    """Return when an order of the store was last claimed or delivered. Raises as `inspect`."""
    with (
        closing(open_postgres(location)) as engine,
        translating(engine),
        closing(engine.connect(read_only=True)) as connection,
        engine.snapshot(connection, _WAIT_S) as transaction,
    ):
        found: datetime | None = transaction.rows(_LATEST, store_hash=store_hash)[0][0]
        return found


def _column(transaction: Transaction, query: str) -> list[str]:
    return [name for (name,) in transaction.query(query)]


def _error(engine: Engine, check: Callable[[], object]) -> Bc2otError | None:
    try:
        with translating(engine):
            check()
    except Bc2otError as error:
        return error
    return None
