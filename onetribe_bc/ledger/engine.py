"""The protocol of a database engine, and how statements run on its driver.

SQLAlchemy builds and compiles the statements, once; they run on the driver's own cursor, which
costs a fifth of a run through SQLAlchemy's connection. `sqlite` and `postgres` are the engines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from onetribe_bc.errors import Bc2otError, LedgerError

Row = tuple[Any, ...]
Processor = Callable[[Any], Any] | None
Insert = sqlite.Insert | postgresql.Insert
Statement = sa.Executable | Mapping[str, sa.Executable]
"""A statement, or one for each dialect by its name."""


class TransientError(Exception):
    """The transaction failed for a reason that passes: run all of it again.

    `lasting` is the error to raise if it does not pass in time.
    """

    def __init__(self, lasting: Bc2otError) -> None:
        super().__init__(str(lasting))
        self.lasting = lasting


class BlockedError(LedgerError):
    """Others hold up the ledger: a second attempt at once would wait as long."""


class Transaction:
    """Runs statements within a transaction or a snapshot that the engine holds open."""

    def __init__(self, cursor: Any, dialect: sa.Dialect, cache: dict[int, Prepared]) -> None:
        self.cursor = cursor
        self.dialect = dialect
        self._cache = cache

    def rows(self, statement: Statement, **values: Any) -> list[Row]:
        """Run a statement that returns rows."""
        prepared = self._prepare(statement)
        bind = prepared.binder(tuple(values))
        return prepared.results(self.query(prepared.sql, bind(tuple(values.values()))))

    def row(self, statement: Statement, **values: Any) -> Row | None:
        """Return the first row, None where there is none."""
        return next(iter(self.rows(statement, **values)), None)

    def run(self, statement: Statement, *rows: Mapping[str, Any]) -> None:
        """Run a statement for each row of values, which all have the same names."""
        if rows:
            self.run_tuples(statement, tuple(rows[0]), (tuple(row.values()) for row in rows))

    def run_tuples(self, statement: Statement, names: tuple[str, ...], rows: Iterable[Row]) -> None:
        """Run a statement for each row of values, which have these names."""
        prepared = self._prepare(statement)
        bind = prepared.binder(names)
        bound = [bind(row) for row in rows]
        if len(bound) == 1:
            self.cursor.execute(prepared.sql, bound[0])
        elif bound:
            self.cursor.executemany(prepared.sql, bound)

    def execute(self, sql: str) -> None:
        """Run plain SQL, such as DDL."""
        self.cursor.execute(sql)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run SQL that returns rows, on a cursor of its own.

        In a pipeline, psycopg may take a late result of a cursor's earlier statement for this one.
        """
        with closing(self.cursor.connection.cursor()) as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def _prepare(self, statement: Statement) -> Prepared:
        key = id(statement)
        if key not in self._cache:
            self._cache[key] = Prepared(statement, self.dialect)
        return self._cache[key]


class Prepared:
    """A statement compiled for a dialect, with the conversions of its values and results."""

    def __init__(self, statement: Statement, dialect: sa.Dialect) -> None:
        self._statement = statement  # kept, because the cache goes by its id
        chosen = statement[dialect.name] if isinstance(statement, Mapping) else statement
        compiled = chosen.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - for the type checker
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._binders: dict[tuple[str, ...], Callable[[Row], list[Any]]] = {}
        self._convert = {
            name: _bind_processor(compiled.binds[name].type, dialect) for name in self._names
        }
        self._defaults = {
            name: convert(compiled.params[name]) if convert else compiled.params[name]
            for name, convert in self._convert.items()
        }
        columns = getattr(chosen, "exported_columns", ())
        results = [_result_processor(column.type, dialect) for column in columns]
        self._results = [(i, process) for i, process in enumerate(results) if process is not None]

    def binder(self, names: tuple[str, ...]) -> Callable[[Row], list[Any]]:
        """Return what converts values with these names and brings them into the order of the
        placeholders, with the statement's own values.
        """
        if names not in self._binders:
            missing = [name for name in self._names if name not in names]
            defaults = [self._defaults[name] for name in missing]
            places = [(*names, *missing).index(name) for name in self._names]
            given = [(i, self._convert[n]) for i, n in enumerate(self._names) if n in names]
            conversions = [(index, convert) for index, convert in given if convert is not None]

            def bind(row: Row) -> list[Any]:
                available = (*row, *defaults)
                values = [available[place] for place in places]
                for index, convert in conversions:
                    values[index] = convert(values[index])
                return values

            self._binders[names] = bind
        return self._binders[names]

    def results(self, rows: Sequence[Row]) -> list[Row]:
        """Convert the driver's rows."""
        if not self._results:
            return list(rows)
        converted = []
        for row in rows:
            values = list(row)
            for index, process in self._results:
                values[index] = process(values[index])
            converted.append(tuple(values))
        return converted


def _bind_processor(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Processor:
    if isinstance(kind, sa.TypeDecorator):  # called directly: its `impl` converts nothing
        return lambda value: kind.process_bind_param(value, dialect)
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _result_processor(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Processor:
    if isinstance(kind, sa.TypeDecorator):
        convert = kind.process_result_value
        is_own = type(kind).process_result_value is not sa.TypeDecorator.process_result_value
        return (lambda value: convert(value, dialect)) if is_own else None
    return kind.dialect_impl(dialect).result_processor(dialect, None)


class Values(sa.TypeDecorator[Sequence[Any]]):
    """A list as one parameter: JSON on SQLite, an array on PostgreSQL."""

    impl = sa.String
    cache_ok = True

    def __init__(self, item: type[sa.types.TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return sa.String() if dialect.name == "sqlite" else postgresql.ARRAY(self.item)

    def process_bind_param(self, value: Iterable[Any] | None, dialect: sa.Dialect) -> Any:
        values = list(value or ())
        return json.dumps(values) if dialect.name == "sqlite" else values


class _Within(FunctionElement[Any]):
    """Whether a column's value is in a list parameter.

    Without a type: SQLite has no booleans, so SQLAlchemy would compare one with 1, and SQLite
    would not use an index.
    """

    inherit_cache = True


@compiles(_Within, "sqlite")
def _within_sqlite(element: _Within, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608


# Not `IN (SELECT unnest(…))`: until its tables are analyzed, PostgreSQL scans the store for it.
@compiles(_Within, "postgresql")
def _within_postgresql(element: _Within, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY({values})"


def within(column: sa.Column[Any], name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column's value is in the list parameter `name`."""
    return _Within(column, sa.bindparam(name, type_=Values(type(column.type))))


def in_each_dialect(table: sa.Table, build: Callable[[Insert], sa.Insert]) -> Statement:
    """Return what `build` makes of an insert: ON CONFLICT is not in standard SQL."""
    return {
        "sqlite": build(sqlite.insert(table)),
        "postgresql": build(postgresql.insert(table)),
    }


def upsert(table: sa.Table) -> Statement:
    """Insert whole rows, or replace those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in keys]
    return in_each_dialect(
        table,
        lambda insert: insert.on_conflict_do_update(
            index_elements=keys, set_={name: insert.excluded[name] for name in others}
        ),
    )


class LiveRun(Protocol):
    """A live run of this process. `clean` says, at its end, that all its claims are settled."""

    clean: bool

    def begin(self, transaction: Transaction) -> None:
        """Begin to live, in the transaction that registers the run (PostgreSQL: its lease)."""
        ...

    def check(self) -> None:
        """Raise BusyError if the run may no longer hold its claims (PostgreSQL: its lease)."""
        ...

    def sent(self, at: datetime) -> None:
        """Note that an order was claimed at that time, outside the ledger (SQLite)."""
        ...


class Engine(Protocol):
    """One ledger's database. Methods raise the driver's errors; `translate` turns them into ours.

    `label` names the ledger in messages, without user and password.
    """

    label: str
    dialect: sa.Dialect
    shares_inbox: bool
    """Whether several receivers may take from the inbox at once."""

    def prepare(self) -> None:
        """Check the ledger; create or migrate it (SQLite). Called once, before `connect`."""
        ...

    def connect(self, *, read_only: bool = False) -> Any:
        """Return a connection of the driver, usable by one thread at a time."""
        ...

    def transaction(self, connection: Any) -> AbstractContextManager[Transaction]:
        """Begin a write transaction; commit it durably on exit, or roll it back."""
        ...

    def snapshot(
        self, connection: Any, wait_s: float | None = None
    ) -> AbstractContextManager[Transaction]:
        """Read as of one moment on a read-only connection; wait at most so long for locks."""
        ...

    def load(
        self, transaction: Transaction, table: str, columns: Sequence[str], rows: Iterable[Row]
    ) -> None:
        """Insert many rows, as the driver takes them."""
        ...

    def translate(self, error: BaseException) -> BaseException:
        """Return the driver's error as LedgerError, BusyError or TransientError; others as is."""
        ...

    # Runs

    def live(self, run_id: str) -> AbstractContextManager[LiveRun]:
        """Keep a run alive until the exit: others leave its claims alone."""
        ...

    def prove_dead(
        self, run_ids: Collection[str], *, accept: bool = False
    ) -> AbstractContextManager[Collection[str]]:
        """Yield those of the runs that are dead; nobody else recovers them meanwhile.

        A run without a trace is dead only with `accept`.
        """
        ...

    def still_dead(
        self, transaction: Transaction, run_ids: Collection[str], now: datetime
    ) -> Collection[str]:
        """Check again within the transaction that settles their claims (PostgreSQL: leases)."""
        ...

    def is_live(self, run_id: str, lease_until: datetime | None) -> bool:
        """Whether a run that has not ended may be alive, for display."""
        ...

    def last_claim(self) -> datetime | None:
        """Return when an order was last claimed, known outside the ledger; None on PostgreSQL.

        A ledger that knows only of earlier claims is an older copy.
        """
        ...

    def close(self) -> None:
        """End what runs in the background."""
        ...


@contextmanager
def translating(engine: Engine) -> Iterator[None]:
    """Raise the driver's errors as ours, where nothing is tried again."""
    try:
        yield
    except Exception as error:
        translated = engine.translate(error)
        if isinstance(translated, TransientError):
            raise translated.lasting from None
        if translated is error:
            raise
        raise translated from None
