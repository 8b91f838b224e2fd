"""Describe a ledger for people and scripts: its kind, version, stores and live runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from onetribe_bc.ledger import meta, schema
from onetribe_bc.ledger.engine import Transaction
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """One store and One Tribe URL (its fingerprint), and how many orders the ledger has of it."""

    store_hash: str
    destination: str
    orders: int


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that may be alive."""

    command: str
    store_hash: str
    host: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Info:
    """A ledger. `engine` is sqlite or postgresql."""

    ledger: str
    engine: str
    version: int
    id: str
    stores: Sequence[StoreInfo]
    live_runs: Sequence[LiveRun]


_RUNS = schema.runs.c
_COUNTS = schema.counts.c
_STORES = (
    sa.select(
        _COUNTS.store_hash,
        _COUNTS.destination,
        sa.cast(sa.func.sum(_COUNTS.number), sa.BigInteger),
    )
    .group_by(_COUNTS.store_hash, _COUNTS.destination)
    .order_by(_COUNTS.store_hash, _COUNTS.destination)
)
_OPEN = (
    sa.select(
        _RUNS.id,
        _RUNS.lease_until,
        _RUNS.command,
        _RUNS.store_hash,
        _RUNS.host,
        _RUNS.started_at,
    )
    .where(schema.IS_OPEN)
    .order_by(_RUNS.started_at)
)


def describe(location: Location) -> Info:
    """Describe a ledger that exists. Raises what opening it raises, without patience."""
    with closing(Database(location, retry_for_s=0)) as database:
        engine = database.engine

        def read(transaction: Transaction) -> Info:
            values = meta.read(transaction)
            runs = [
                LiveRun(*values)
                for run_id, lease_until, *values in transaction.rows(_OPEN)
                if engine.is_live(run_id, lease_until)
            ]
            return Info(
                ledger=engine.label,
                engine=engine.dialect.name,
                version=int(values["schema_version"]),
                id=values["id"],
                stores=[StoreInfo(*row) for row in transaction.rows(_STORES)],
                live_runs=runs,
            )

        return database.read(read)
