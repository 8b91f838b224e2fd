"""A ledger in a PostgreSQL database: for many machines.

Nothing depends on a session, so that it works behind PgBouncer's transaction pooling. A process
has at most three connections: the writer's, the reader's, and one that renews leases.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as dialects

from onetribe_bc.ledger import meta, postgres_schema, refusals, schema
from onetribe_bc.ledger.engine import (
    Prepared,
    Row,
    Transaction,
    TransientError,
    translating,
    within,
)
from onetribe_bc.ledger.leases import Connection, Lease, Leases, Watchdog
from onetribe_bc.location import PostgresUrl

_log = logging.getLogger(__name__)

OLDEST_VERSION = 15
LEASE_S = 60.0
"""How long a run stays alive after its last renewal."""

RENEW_S = 15.0
"""How often leases are renewed."""

PATIENCE_S = 15.0
"""How long a transaction may take."""

_CONNECT_S = 10

_MS = "(extract(epoch from {}) * 1000)::bigint"
_NOW_MS = sa.literal_column(_MS.format("clock_timestamp()"), sa.BigInteger)
_STARTED_MS = sa.literal_column(_MS.format("pg_postmaster_start_time()"), sa.BigInteger)
_LEASE_MS = sa.bindparam("lease_ms", type_=sa.BigInteger)
_RUNS = schema.runs.c
_MINE = within(_RUNS.id, "ids")
_RENEW = (
    sa.update(schema.runs)
    .where(_MINE, _RUNS.ended_at.is_(None))
    .values(lease_until=_NOW_MS + _LEASE_MS)
    .returning(_RUNS.id)
)
_EXPIRED = sa.and_(
    sa.func.coalesce(sa.type_coerce(_RUNS.lease_until, sa.BigInteger), 0) < _NOW_MS,
    _STARTED_MS < _NOW_MS - _LEASE_MS,  # a server that was down renewed nobody's lease
)
_DEAD = (
    sa.select(_RUNS.id)
    .where(_MINE, sa.or_(_RUNS.ended_at.is_not(None), _EXPIRED))
    .order_by(_RUNS.id)
    .with_for_update()
)


class PostgresEngine:
    """The ledger in one PostgreSQL database."""

    shares_inbox = True

    def __init__(
        self,
        location: PostgresUrl,
        *,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        patience_s: float | None = PATIENCE_S,
    ) -> None:
        self.label = str(location)
        # Placeholders by position, as SQLite's driver has them.
        self.dialect: sa.Dialect = dialects.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
        self.lease_s = lease_s
        self.renew_s = renew_s
        self._location = location
        self._cache: dict[int, Prepared] = {}
        self._watchdog = Watchdog(patience_s)
        self._pipelined = patience_s is not None  # a copy loads rows, which no pipeline can
        self._leases = Leases(self)
        self._lost_at = -lease_s
        self._was_primary = False

    # Opening

    def prepare(self) -> None:
        """Check that there is a ledger of this version; a replica will do. Raises LedgerError."""
        with closing(self._connect()) as connection, self.snapshot(connection) as transaction:
            version = self._version(transaction)
            if version is None:
                raise refusals.without_schema(self.label)
            meta.check_moved(transaction, self.label)
        if version != schema.SCHEMA_VERSION:
            raise refusals.other_version(self.label, version)

    def connect(self, *, read_only: bool = False) -> Connection:
        """Return a connection. Nothing is set on it: a pooler may share it by transaction.

        Raises LedgerError, RefusedError, TransientError, psycopg.Error.
        """
        connection = self._connect()
        if read_only:
            return connection
        try:
            with self.snapshot(connection) as transaction:
                self._check_primary(transaction)
        except BaseException:
            connection.close()
            raise
        self._was_primary = True
        return connection

    def _connect(self) -> Connection:
        given = self._location.parameters
        options: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "application_name": "bc2ot",
            "client_encoding": "utf8",
        }
        if len(self._location.hosts) > 1:
            options["target_session_attrs"] = "read-write"
        if self._location.is_remote:
            options["sslmode"] = "verify-full"
            if "PGSSLROOTCERT" not in os.environ and not _ROOT_CERTIFICATE.expanduser().exists():
                options["sslrootcert"] = "system"
        try:
            connection = psycopg.connect(
                self._location.url.reveal(),
                autocommit=True,  # BEGIN and COMMIT are ours
                prepare_threshold=None,
                **{name: value for name, value in options.items() if name not in given},
            )
        except psycopg.Error as error:
            failure = refusals.connection_failed(self.label, str(error))
            if isinstance(failure, TransientError):
                self._lost_at = time.monotonic()
            raise failure from None
        if (version := connection.info.server_version // 10_000) < OLDEST_VERSION:
            connection.close()
            raise refusals.too_old(self.label, version, OLDEST_VERSION)
        return connection

    def _check_primary(self, transaction: Transaction) -> None:
        in_recovery, commits = transaction.query(
            "SELECT pg_is_in_recovery(), current_setting('synchronous_commit')"
        )[0]
        if in_recovery and self._was_primary:
            raise refusals.lost(self.label, "it is a replica at the moment, as during a failover")
        if in_recovery:
            raise refusals.replica(self.label)
        if commits == "off":
            raise refusals.asynchronous(self.label)

    def _version(self, transaction: Transaction) -> int | None:
        """Return the version of the ledger's tables; None where there are none."""
        if transaction.query("SELECT to_regclass('ledger_meta')") == [(None,)]:
            return None
        return meta.version(transaction)

    def create(self, *, role: str = "") -> bool:
        """Create the tables; return whether there were none.

        `role`, if it is not the current one, gets the rights that bc2ot needs. Raises LedgerError,
        RefusedError, UnreachableError.
        """
        with self._changing() as transaction:
            version = self._version(transaction)
            if transaction.query("SHOW server_encoding") != [("UTF8",)]:
                raise refusals.not_utf8(self.label)
            if version is None:
                postgres_schema.create(transaction)
            elif version != schema.SCHEMA_VERSION:
                raise refusals.other_version(self.label, version)
            for statement in postgres_schema.grants(role, self.dialect):
                transaction.execute(statement)
        return version is None

    def upgrade(self) -> bool:
        """Bring the tables to this version; return whether they were older. Raises as `create`."""
        with self._changing() as transaction:
            version = self._version(transaction)
            if version is None:
                raise refusals.without_schema(self.label)
            if version > schema.SCHEMA_VERSION:
                raise refusals.other_version(self.label, version)
            if version < schema.SCHEMA_VERSION:
                postgres_schema.upgrade(transaction, version)
        return version < schema.SCHEMA_VERSION

    @contextmanager
    def _changing(self) -> Iterator[Transaction]:
        """A transaction in which one process at a time changes the tables, for however long."""
        with (
            translating(self),
            closing(self.connect()) as connection,
            self._within(connection, "BEGIN") as transaction,
        ):
            postgres_schema.lock(transaction)
            yield transaction

    # Transactions

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[Transaction]:
        """Run a write transaction, durable on exit."""
        with (
            self._watchdog.watch(connection),
            self._within(
                connection, "BEGIN ISOLATION LEVEL READ COMMITTED", pipelined=self._pipelined
            ) as transaction,
        ):
            yield transaction

    @contextmanager
    def snapshot(
        self, connection: Connection, wait_s: float | None = None
    ) -> Iterator[Transaction]:
        """Read as of one moment, for at most `wait_s` a statement."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        if wait_s is not None:
            begin += f"; SET LOCAL statement_timeout = {max(1, int(wait_s * 1000))}"
        with (
            self._watchdog.watch(connection),
            self._within(connection, begin) as transaction,
        ):
            yield transaction

    @contextmanager
    def _within(
        self, connection: Connection, begin: str, *, pipelined: bool = False
    ) -> Iterator[Transaction]:
        """Run a transaction; a pipelined one waits for the server only where it reads rows."""
        cursor = connection.cursor()
        try:
            with connection.pipeline() if pipelined else nullcontext():
                cursor.execute(begin.encode())
                yield Transaction(cursor, self.dialect, self._cache)
                cursor.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                cursor.execute("ROLLBACK")
            raise

    def load(
        self, transaction: Transaction, table: str, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """Insert many rows by COPY."""
        with transaction.cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def translate(self, error: BaseException) -> BaseException:
        """Return the driver's error in our words."""
        if not isinstance(error, psycopg.Error):
            return error
        if refusals.is_lost(error):
            self._lost_at = time.monotonic()
        return refusals.translated(self.label, error)

    # Runs

    def live(self, run_id: str) -> AbstractContextManager[Lease]:
        """Renew the run's lease until the exit."""
        return self._leases.live(run_id)

    def begin(self, transaction: Transaction, run_id: str) -> None:
        """Give a run its lease, in the transaction that registers it."""
        self._renew(transaction, [run_id])
        postgres_schema.fold(transaction)

    def renew(self, connection: Connection, run_ids: Collection[str]) -> Collection[str]:
        """Renew leases; return the runs that still had one."""
        try:
            with self.transaction(connection) as transaction:
                held = self._renew(transaction, run_ids)
            with self.transaction(connection) as transaction:
                postgres_schema.fold(transaction)
        except psycopg.Error as error:
            raise self.translate(error) from None
        return held

    def _renew(self, transaction: Transaction, run_ids: Collection[str]) -> Collection[str]:
        lease_ms = int(self.lease_s * 1000)
        return {row[0] for row in transaction.rows(_RENEW, ids=run_ids, lease_ms=lease_ms)}

    @contextmanager
    def prove_dead(
        self,
        run_ids: Collection[str],
        *,
        accept: bool = False,  # noqa: ARG002 - a lease always tells
    ) -> Iterator[Collection[str]]:
        """Yield the runs to check in `still_dead`; none just after the database was lost.

        A process that could not reach the database does not know who could.
        """
        lost_lately = time.monotonic() - self._lost_at < self.lease_s
        yield () if lost_lately else run_ids

    def still_dead(
        self,
        transaction: Transaction,
        run_ids: Collection[str],
        now: datetime,  # noqa: ARG002 - the server's clock counts
    ) -> Collection[str]:
        """Lock the runs that have ended, or whose lease has, and return them."""
        lease_ms = int(self.lease_s * 1000)
        return [row[0] for row in transaction.rows(_DEAD, ids=run_ids, lease_ms=lease_ms)]

    def is_live(self, run_id: str, lease_until: datetime | None) -> bool:  # noqa: ARG002
        """Whether its lease still holds, by this machine's clock."""
        return lease_until is not None and lease_until > datetime.now(UTC)

    def last_claim(self) -> datetime | None:
        """Return None: an older copy of a database is for its administrator to prevent."""
        return None

    def close(self) -> None:
        """End the threads."""
        self._leases.close()
        self._watchdog.close()


_ROOT_CERTIFICATE = Path("~/.postgresql/root.crt")
