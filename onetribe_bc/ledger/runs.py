"""Runs: who is at work on the ledger, and what the dead ones left behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from onetribe_bc.clock import Clock
from onetribe_bc.errors import Bc2otError, LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger import states as rules
from onetribe_bc.ledger.in_flight import InFlight, Record, read_record
from onetribe_bc.ledger.locks import FileLock, Locks
from onetribe_bc.ledger.rows import Rows, Settlement
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database

_RUNS = schema.runs.c
_COUNTS = ("seen", "delivered", "skipped", "failed", "unknown")


def _why(error: BaseException) -> str:
    """Why a run ended early, in the words that its user was told."""
    if isinstance(error, Bc2otError):
        return str(error)[:300]
    return "given up" if isinstance(error, GeneratorExit) else f"bug: {type(error).__name__}"


@dataclass(slots=True)
class LiveRun:
    """The run of this process. While it lives, its claims stand."""

    id: str
    in_flight: InFlight
    clean: bool = False
    """Whether all of its claims are settled in the ledger, so that its record is not needed."""


class RunLog:
    """The runs of one store and destination."""

    def __init__(self, database: Database, rows: Rows, clock: Clock) -> None:
        self._database = database
        self._rows = rows
        self._clock = clock
        self._locks = Locks(database.path)

    @contextmanager
    def run(self, command: str, *, workers: int, exclusive: bool = False) -> Iterator[LiveRun]:
        """Be a run until the end; what dead runs had claimed is taken over first.

        With `exclusive`, hold the store: a second such run raises BusyError.
        """
        with ExitStack() as stack:
            if exclusive:
                stack.enter_context(self._locks.store(self._rows.key["store_hash"]))
            run_id = secrets.token_hex(8)
            lock = self._locks.take_run(run_id)
            stack.callback(lock.close)
            live = LiveRun(run_id, _record(lock, workers))
            stack.callback(lambda: lock.unlink() if live.clean else None)
            stack.callback(live.in_flight.close)
            outcome = "done"
            try:
                self._start(run_id, command)
                self.recover()
                yield live
            except BaseException as error:
                outcome = _why(error)
                raise
            finally:
                live.clean = self._end(run_id, outcome)

    def count(self, run_id: str, counts: Mapping[str, int]) -> None:
        """Keep a run's summary: seen, delivered, skipped, failed, unknown."""
        self._update(run_id, counts)

    def recover(self) -> list[int]:
        """Settle what dead runs had claimed, as far as their records tell; returns the ids.

        What was under way is unknown from then on, what was never sent is pending again.
        """
        with ExitStack() as stack:
            dead: dict[str, Record] = {}
            for run_id in self._database.do(self._unsettled):
                lock = self._locks.take_dead_run(run_id)
                if lock is not None:
                    # Removed only when the ledger knows what the record tells.
                    stack.callback(lock.close)
                    dead[run_id] = read_record(lock.descriptor)
                    stack.push(lambda kind, *_, lock=lock: lock.unlink() if kind is None else None)
            return self._database.do(lambda c: self._settle(c, dead)) if dead else []

    def _unsettled(self, connection: sa.Connection) -> list[str]:
        """Runs that have not ended, or have claims all the same."""
        running = sa.select(_RUNS.id).where(self._rows.of(schema.runs), _RUNS.ended_at.is_(None))
        orders = schema.orders
        claiming = sa.select(orders.c.run_id).where(
            self._rows.of(orders), orders.c.state == State.SENDING
        )
        return list(connection.execute(sa.union(running, claiming)).scalars())

    def _settle(self, connection: sa.Connection, dead: Mapping[str, Record]) -> list[int]:
        now = self._clock.now()
        settlements: list[Settlement] = []
        for entry in self._rows.sending_by(connection, list(dead)):
            outcome = dead[entry.run_id or ""].outcome(entry.order_id, entry.attempts)
            settlements.append(Settlement(entry, rules.settle(entry, outcome, now), outcome))
        self._rows.write(connection, [one.after for one in settlements])
        self._rows.write_attempts(connection, settlements)
        connection.execute(
            sa.update(schema.runs)
            .where(_RUNS.id.in_(list(dead)), _RUNS.ended_at.is_(None))
            .values(ended_at=now, outcome="killed")
        )
        return [one.claimed.order_id for one in settlements]

    def _start(self, run_id: str, command: str) -> None:
        row = {
            **self._rows.key,
            **dict.fromkeys(_COUNTS, 0),
            "id": run_id,
            "command": command,
            "started_at": self._clock.now(),
            "outcome": "running",
        }
        self._database.do(lambda c: c.execute(sa.insert(schema.runs).values(row)))

    def _end(self, run_id: str, outcome: str) -> bool:
        """Write down the end of a run; whether all of its claims are settled."""
        self._update(run_id, {"ended_at": self._clock.now(), "outcome": outcome})
        return not self._database.do(lambda c: self._rows.sending_by(c, [run_id]))

    def _update(self, run_id: str, values: Mapping[str, object]) -> None:
        statement = sa.update(schema.runs).where(_RUNS.id == run_id).values(dict(values))
        self._database.do(lambda c: c.execute(statement))


def _record(lock: FileLock, workers: int) -> InFlight:
    try:
        return InFlight(lock.descriptor, workers)
    except OSError as error:
        lock.unlink()
        raise LedgerError(
            f"The run's record {lock.path} cannot be written: {error.strerror}.",
            hint="Make room on the ledger's disk and run it again. Nothing was sent.",
        ) from None
