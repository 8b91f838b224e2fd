"""Processes that work on a ledger step by step, and can be killed between any two steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from onetribe_bc.errors import Bc2otError, BusyError
from onetribe_bc.ledger.engine import Engine, Transaction, TransientError
from onetribe_bc.ledger.ledger import Seen, Settlement
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.sqlite import SqliteEngine
from onetribe_bc.ledger.states import Disposition, Entry, Outcome, Policy, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location, parse_location
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order

WORKERS = 3


class Puppet:
    """One process with a run on a ledger. `call` does a step there; `kill` is SIGKILL."""

    def __init__(self, pid: int, read: int, write: int) -> None:
        self.pid = pid
        self._answers = os.fdopen(read, "r")
        self._orders = os.fdopen(write, "w")
        self.alive = True

    def call(self, step: str, *arguments: Any) -> Any:
        """The step's result; its error's name as a RuntimeError."""
        self._orders.write(json.dumps([step, *arguments]) + "\n")
        self._orders.flush()
        kind, value = json.loads(self._answers.readline())
        if kind == "error":
            raise RuntimeError(value)
        return value

    def kill(self) -> None:
        """End it without any farewell, and wait until the system has let go of its locks."""
        if not self.alive:
            return
        self.alive = False
        os.kill(self.pid, signal.SIGKILL)
        while True:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.0005)
        self._answers.close()
        self._orders.close()


class Stage:
    """Makes puppets quickly: one process imports everything, and forks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._puppets: list[Puppet] = []

    def __enter__(self) -> Stage:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.puppets"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for puppet in self._puppets:
            puppet.kill()
        self._process.communicate()

    def puppet(self, ledger: Location, *, twice: bool = False, **policy: int) -> Puppet:
        """A new process with the ledger open."""
        text = str(ledger) if isinstance(ledger, Path) else ledger.url.reveal()
        self._number += 1
        pipes = [str(self._folder / f"{name}-{self._number}") for name in ("in", "out")]
        for pipe in pipes:
            os.mkfifo(pipe)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([*pipes, text, twice, policy]) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        write = os.open(pipes[0], os.O_WRONLY)
        read = os.open(pipes[1], os.O_RDONLY)
        puppet = Puppet(pid, read, write)
        self._puppets.append(puppet)
        return puppet


LEASE_S = 5.0
"""How long a puppet's run on PostgreSQL outlives it, unless a test expires its lease."""


class _Twice:
    """Each transaction runs twice, as after a COMMIT whose response was lost."""

    _again = False

    @contextmanager
    def transaction(self, connection: Any) -> Iterator[Transaction]:
        with super().transaction(connection) as transaction:  # type: ignore[misc]
            yield transaction
        self._again = not self._again
        if self._again:
            raise TransientError(BusyError("once more"))


class TwiceEngine(_Twice, SqliteEngine):
    """A SQLite ledger whose transactions run twice."""


class TwicePostgresEngine(_Twice, PostgresEngine):
    """A PostgreSQL ledger whose transactions run twice."""


def open_engine(location: Location, *, twice: bool = False) -> Engine:
    """An engine with short leases."""
    if isinstance(location, Path):
        return TwiceEngine(location) if twice else SqliteEngine(location)
    kind = TwicePostgresEngine if twice else PostgresEngine
    return kind(location, lease_s=LEASE_S, renew_s=LEASE_S / 10)


class _Actor:
    """What happens in a puppet's process."""

    def __init__(self, ledger: Location, policy: Policy, *, twice: bool) -> None:
        database = Database(open_engine(ledger, twice=twice))
        self._ledger = make_book(database, FakeClock(), policy)
        self._claims: dict[int, Entry] = {}
        self._run: AbstractContextManager[None] | None = None

    def start(self, command: str = "backfill", exclusive: bool = False) -> str:
        run = self._ledger.run(command, exclusive=exclusive)
        run.__enter__()
        self._run = run
        return self._ledger._run_id

    def end(self) -> None:
        run, self._run = self._run, None
        assert run is not None
        run.__exit__(None, None, None)

    def count(self, **counts: int) -> None:
        self._ledger.record_counts(counts)

    def record(self, ids: list[int], version: int = 0, skip: str = "") -> list[str]:
        return list(self._ledger.record([Seen(make_order(i, version=version), skip) for i in ids]))

    def step(
        self, worker: int, state: str | None = None, order_id: int | None = None, version: int = 0
    ) -> str | None:
        """Settle what the worker has claimed, if anything, and claim an order, if one is given."""
        last = self._claims.pop(worker, None)
        outcome = Outcome(State(state) if state else None)
        settle = None if last is None else Settlement(last, outcome)
        order = None if order_id is None else make_order(order_id, version=version)
        step = self._ledger.step(worker, settle, order)
        if step.disposition is Disposition.TO_SEND:
            assert step.entry is not None
            self._claims[worker] = step.entry
        return step.disposition


def _act(orders: str, answers: str, ledger: str, twice: bool, policy: dict[str, Any]) -> None:
    with Path(orders).open() as incoming, Path(answers).open("w") as outgoing:
        actor = _Actor(parse_location(ledger), Policy(**policy), twice=twice)
        for line in incoming:
            step, *arguments = json.loads(line)
            try:
                answer = ["done", getattr(actor, step)(*arguments)]
            except Bc2otError as error:
                answer = ["error", type(error).__name__]
            outgoing.write(json.dumps(answer) + "\n")
            outgoing.flush()


def main() -> None:
    """Fork a puppet for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                _act(*json.loads(line))
            finally:
                os._exit(0)
        print(pid, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
