"""Move a ledger to another place, of either kind: all stores, orders, attempts and callbacks.

All of it is one transaction there, and nobody can write here meanwhile. The source is marked as
moved only once the copy is durable, so that a kill leaves either no copy or one that a second
call completes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.errors import BusyError, InputError, LedgerError
from onetribe_bc.ledger import meta, postgres_schema, runs, schema
from onetribe_bc.ledger.engine import Row, Statement, Transaction, translating, within
from onetribe_bc.ledger.writer import Database, open_postgres
from onetribe_bc.location import Location

TABLES = (schema.orders, schema.attempts, schema.runs, schema.bookmarks, schema.callbacks)
_PAGE = 5000
_PRIME = 1_000_003
_OPEN_RUNS = sa.select(schema.runs.c.command, schema.runs.c.host, schema.runs.c.store_hash).where(
    schema.IS_OPEN
)
_STORES = sa.union(*(sa.select(table.c.store_hash) for table in TABLES))

Counts = Mapping[str, int]
"""How many rows each table has."""


def copy(source: Location, target: Location, clock: Clock) -> Counts:
    """Copy every store of `source` to `target`, and mark `source` as moved.

    Raises InputError for a target that has some of the stores, BusyError while a run is live,
    and whatever opening them raises.
    """
    with _opened(source) as old, _opened(target) as new:
        if old.read(meta.read)["id"] == new.read(meta.read)["id"]:
            raise InputError("The two ledgers are the same.", hint="Set `ledger` to the new one.")
        runs.recover(old, clock.now())
        with _writing(old) as here:
            _refuse_live_runs(here, old.engine.label)
            with _writing(new) as there:
                counts = _copy(here, there, new)
            meta.write(here, moved_to=new.engine.label)
    return counts


@contextmanager
def _opened(location: Location) -> Iterator[Database]:
    # A copy takes as long as it takes: no watchdog ends it.
    engine = None if isinstance(location, Path) else open_postgres(location, patience_s=None)
    with closing(Database(engine or location)) as database:
        yield database


@contextmanager
def _writing(database: Database) -> Iterator[Transaction]:
    """A transaction during which nobody else writes."""
    engine = database.engine
    with (
        translating(engine),
        closing(engine.connect()) as connection,
        engine.transaction(connection) as transaction,
    ):
        if engine.dialect.name == "postgresql":
            names = ", ".join(table.name for table in TABLES)
            # The role's own limit is for steps of a run, not for sums over all orders.
            transaction.execute("SET LOCAL statement_timeout = 0")
            transaction.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        yield transaction


def _refuse_live_runs(transaction: Transaction, label: str) -> None:
    live = transaction.row(_OPEN_RUNS)
    if live is not None:
        command, host, store_hash = live
        raise BusyError(
            f"The ledger {label} is in use: {command} of store {store_hash} runs on {host}.",
            hint="Stop receivers, cron and timers on all hosts, then copy again.",
        )


def _copy(here: Transaction, there: Transaction, new: Database) -> Counts:
    stores = [row[0] for row in here.rows(_STORES)]
    ours = meta.read(here)
    if meta.read(there).get("copied_from") != ours["id"]:
        taken = sorted(set(stores) & {row[0] for row in there.rows(_STORES)})
        if taken:
            raise InputError(
                f"The ledger {new.engine.label} already has store {taken[0]}.",
                hint="Copy to an empty ledger.",
            )
        for table in TABLES:
            for page in _pages(here, table):
                new.engine.load(there, table.name, [c.name for c in _columns(table)], page)
        if there.dialect.name == "postgresql":
            # One row of `counts` per copied order would hold up the start of the next run.
            postgres_schema.fold(there)
        kept = {key: value for key, value in ours.items() if key.startswith("gap_")}
        meta.write(there, **kept, copied_from=ours["id"])
    found = _summary(here, stores)
    if _summary(there, stores) != found:
        raise LedgerError(
            f"The copy in {new.engine.label} differs from the original.",
            hint="Nothing was moved. Copy to an empty ledger.",
        )
    return {name: numbers[0] for name, numbers in found.items()}


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    """All columns but numbers that the database gives."""
    return [column for column in table.c if column is not schema.attempts.c.id]


def _pages(transaction: Transaction, table: sa.Table) -> Iterator[list[Row]]:
    """The rows as the driver gives them: both engines keep numbers and text alike."""
    keys = list(table.primary_key)
    columns: list[sa.ColumnElement[Any]] = [sa.literal_column(c.name) for c in _columns(table)]
    names = [f"after_{key.name}" for key in keys]
    first = sa.select(*columns, *(sa.literal_column(key.name) for key in keys))
    first = first.select_from(table).order_by(*keys).limit(_PAGE)
    binds = [sa.bindparam(name, type_=key.type) for name, key in zip(names, keys, strict=True)]
    following = first.where(sa.tuple_(*keys) > sa.tuple_(*binds))
    page = transaction.rows(first)
    while page:
        yield [row[: len(columns)] for row in page]
        after = page[-1][len(columns) :]
        page = transaction.rows(following, **dict(zip(names, after, strict=True)))


def _summary(transaction: Transaction, stores: list[str]) -> dict[str, Row]:
    """How many rows of these stores each table has, and sums over its columns."""
    return {table.name: transaction.rows(_SUMS[table.name], stores=stores)[0] for table in TABLES}


def _sums(table: sa.Table) -> Statement:
    sums = []
    for column in _columns(table):
        value: sa.ColumnElement[Any] = sa.func.length(column)
        if not isinstance(column.type, schema.Named | schema.Text | sa.String):
            value = sa.type_coerce(column, sa.BigInteger) % _PRIME
        sums.append(sa.cast(sa.func.coalesce(sa.func.sum(value), 0), sa.BigInteger))
    return sa.select(sa.func.count(), *sums).where(within(table.c.store_hash, "stores"))


_SUMS = {table.name: _sums(table) for table in TABLES}
