"""Runs: which ones use the ledger, and the recovery of claims that dead ones left."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

import sqlalchemy as sa

from onetribe_bc.errors import Bc2otError, BusyError
from onetribe_bc.ledger import orders, schema
from onetribe_bc.ledger.engine import Engine, Transaction, in_each_dialect, within
from onetribe_bc.ledger.orders import Key, of
from onetribe_bc.ledger.writer import Database


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `ended_at` is None while it runs, or if it was killed (`outcome` says so) and no
    later run has recovered it.
    """

    id: str
    command: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    seen: int
    delivered: int
    skipped: int
    failed: int
    unknown: int


_RUNS = schema.runs.c
_COUNTS = ("seen", "delivered", "skipped", "failed", "unknown")
_INSERT = in_each_dialect(
    schema.runs, lambda insert: insert.on_conflict_do_nothing(index_elements=["id"])
)
_END = (
    sa.update(schema.runs)
    .where(schema.IS_OPEN, within(_RUNS.id, "ids"))
    .values(ended_at=sa.bindparam("ended_at"), outcome=sa.bindparam("outcome"))
)
_COUNT = (
    sa.update(schema.runs)
    .where(_RUNS.id == sa.bindparam("run_id"))
    .values({name: sa.bindparam(name) for name in _COUNTS})
)
_HOLDER = sa.select(_RUNS.id, _RUNS.command, _RUNS.host, _RUNS.started_at).where(
    schema.HOLDS_STORE,
    _RUNS.store_hash == sa.bindparam("store_hash"),
    _RUNS.id != sa.bindparam("run_id"),
)
_UNSETTLED = sa.union(
    sa.select(_RUNS.id).where(schema.IS_OPEN),
    sa.select(schema.orders.c.run_id).where(schema.IS_SENDING),
)
_CLAIMS_OF = sa.select(sa.func.count()).where(
    schema.IS_SENDING, schema.orders.c.run_id == sa.bindparam("run_id")
)
_LAST = (
    sa.select(*(_RUNS[field.name] for field in fields(Run)), _RUNS.lease_until)
    .where(of(schema.runs))
    .order_by(_RUNS.started_at.desc(), _RUNS.id)
    .limit(sa.bindparam("limit"))
)


def start(
    transaction: Transaction, key: Key, run_id: str, command: str, now: datetime, *, exclusive: bool
) -> None:
    """Register a run. Raises BusyError while another exclusive run holds the store."""
    if exclusive:
        _refuse_second(transaction, key, run_id)
    row = {
        **key.values,
        **dict.fromkeys(_COUNTS, 0),
        "id": run_id,
        "command": command,
        "started_at": now,
        "outcome": "running",
        "exclusive": int(exclusive),
        "host": socket.gethostname(),
    }
    transaction.run(_INSERT, row)


def _refuse_second(transaction: Transaction, key: Key, run_id: str) -> None:
    holder = transaction.row(_HOLDER, store_hash=key.store_hash, run_id=run_id)
    if holder is not None:
        _, command, host, started_at = holder
        raise BusyError(
            f"Another sync or backfill of store {key.store_hash} is running: {command}, since "
            f"{started_at:%F %T} UTC{f' on {host}' if host else ''}.",
            hint="Wait for it to end. Orders it does not reach stay owed.",
            since=started_at,
        )


def end(transaction: Transaction, run_id: str, outcome: str, now: datetime) -> bool:
    """End a run; whether all of its claims are settled."""
    transaction.run(_END, {"ids": [run_id], "ended_at": now, "outcome": outcome})
    return transaction.rows(_CLAIMS_OF, run_id=run_id) == [(0,)]


def count(transaction: Transaction, run_id: str, counts: Mapping[str, int]) -> None:
    """Store a run's summary: seen, delivered, skipped, failed, unknown."""
    transaction.run(_COUNT, {**counts, "run_id": run_id})


def why(error: BaseException) -> str:
    """Return why a run ended early, in the words that its user saw."""
    if isinstance(error, Bc2otError):
        return str(error)
    return "given up" if isinstance(error, GeneratorExit) else f"bug: {type(error).__name__}"


def recover(database: Database, now: datetime, *, accept: bool = False) -> list[tuple[Key, int]]:
    """Settle the claims of dead runs, which may have arrived, and end them.

    With `accept`, runs count as dead that are not proven alive. Returns whose claims they were.
    """
    engine: Engine = database.engine
    candidates = [row[0] for row in database.read(lambda t: t.rows(_UNSETTLED))]
    if not candidates:
        return []
    with engine.prove_dead(candidates, accept=accept) as dead:
        if not dead:
            return []

        def settle(transaction: Transaction) -> list[tuple[Key, int]]:
            ids = list(engine.still_dead(transaction, dead, now))
            recovered.extend(orders.abandon(transaction, ids, now))
            transaction.run(_END, {"ids": ids, "ended_at": now, "outcome": "killed"})
            return recovered

        recovered: list[tuple[Key, int]] = []
        return database.do(settle)


def last(transaction: Transaction, engine: Engine, key: Key, limit: int) -> Iterator[Run]:
    """Yield the last runs, the newest first."""
    for *values, lease_until in transaction.rows(_LAST, **key.values, limit=limit):
        run = Run(*values)
        if run.ended_at is None and not engine.is_live(run.id, lease_until):
            run = replace(run, outcome="killed")
        yield run
