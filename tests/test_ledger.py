"""The ledger under any sequence of runs, steps, kills and recoveries, against a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from onetribe_bc.ledger import orders as rows
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location, PostgresUrl
from tests.clocks import FakeClock
from tests.conftest import wait_until_old
from tests.delivering import make_book
from tests.postgres import PostgresServer
from tests.puppets import LEASE_S, WORKERS, Puppet, Stage, open_engine

IDS = range(1, 7)
RUNS = 2
ARRIVED = (State.DELIVERED, State.UNKNOWN)


@dataclass
class Order:
    """What is true of an order. `filed` counts the POSTs that One Tribe has filed."""

    state: State | None = None
    before: State | None = None
    arrivals: int = 0
    deliveries: int = 0
    filed: int = 0

    def settle(self, state: State | None) -> None:
        self.state = state or self.before
        self.count(state)

    def count(self, state: State | None) -> None:
        self.arrivals += state in ARRIVED
        self.deliveries += state is State.DELIVERED


@dataclass
class Claim:
    """A worker's claim. `lost` is None while it stands, else whether its attempt was kept."""

    order_id: int
    sent: bool = False
    filed: bool = False
    lost: bool | None = None

    def outcomes(self) -> list[State | None]:
        """What may have become of it, as far as the worker can tell."""
        if not self.sent:
            return [None]
        if self.filed:
            return [*ARRIVED]
        return [State.UNKNOWN, State.FAILED, State.PENDING]


@dataclass
class Live:
    """A process with a run."""

    puppet: Puppet
    run_id: str
    force: bool
    max_copies: int
    claims: dict[int, Claim] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """Two runs at a time on one ledger; the transactions of some run twice."""

    stage: Stage
    make_ledger: Callable[[], Location]

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._location = self.make_ledger()
        engine = open_engine(self._location)
        self._database = self._stack.enter_context(closing(Database(engine)))
        self._ledger = make_book(self._database, FakeClock())
        self._orders = {order_id: Order() for order_id in IDS}
        self._runs: list[Live] = []
        self._dead: list[Claim] = []

    def teardown(self) -> None:
        for live in self._runs:
            live.puppet.kill()
        self._stack.close()

    @initialize()
    def begin(self) -> None:
        self._start(force=False, twice=False, max_copies=3)

    @precondition(lambda self: len(self._runs) < RUNS)
    @rule(force=st.booleans(), twice=st.booleans(), max_copies=st.integers(1, 4))
    def start(self, force: bool, twice: bool, max_copies: int) -> None:
        self._start(force=force, twice=twice, max_copies=max_copies)

    def _start(self, *, force: bool, twice: bool, max_copies: int) -> None:
        policy = {"force": force, "max_copies": max_copies, "at_intervals": True}
        puppet = self.stage.puppet(self._location, twice=twice, **policy)
        self._runs.append(Live(puppet, puppet.call("start"), force, max_copies))
        self._recovered()

    def _recovered(self) -> None:
        for claim in self._dead:
            if claim.lost is None:
                self._orders[claim.order_id].settle(State.UNKNOWN)
        self._dead = []

    @rule()
    def recover(self) -> None:
        self._ledger.recover()
        self._recovered()

    def _pick(self, data: st.DataObject) -> Live:
        return self._runs[data.draw(st.integers(0, len(self._runs) - 1))]

    @precondition(lambda self: self._runs)
    @rule(data=st.data(), ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True))
    def record(self, data: st.DataObject, ids: list[int]) -> None:
        live = self._pick(data)
        expected = [self._expected(order_id, live) for order_id in ids]
        assert live.puppet.call("record", ids) == expected
        for order_id, disposition in zip(ids, expected, strict=True):
            order = self._orders[order_id]
            if disposition == "to send" and order.state not in ARRIVED:
                order.state = State.PENDING
            if disposition == "held":
                order.state = State.UNKNOWN

    def _expected(self, order_id: int, live: Live) -> str:
        """No time passes: a second copy may follow the first, and a third is never due."""
        order = self._orders[order_id]
        copies = order.arrivals - order.deliveries
        match order.state:
            case State.SENDING:
                return "claimed by another run"
            case _ if live.force:
                return "to send"
            case State.DELIVERED:
                return "already delivered"
            case State.UNKNOWN:
                is_due = copies < 2
                return "held" if copies >= live.max_copies else "to send" if is_due else "pending"
        return "held" if copies >= live.max_copies and not order.deliveries else "to send"

    @precondition(lambda self: self._runs)
    @rule(
        data=st.data(),
        worker=st.integers(0, WORKERS - 1),
        order_id=st.none() | st.sampled_from(IDS),
    )
    def step(self, data: st.DataObject, worker: int, order_id: int | None) -> None:
        """Settle a worker's claim, late or in time, and claim an order that was recorded."""
        live = self._pick(data)
        if order_id is not None and self._orders[order_id].state is None:
            order_id = None
        state = None
        if (claim := live.claims.pop(worker, None)) is not None:
            state = data.draw(st.sampled_from(claim.outcomes()))
            self._settle(claim, state)
        expected = None if order_id is None else self._expected(order_id, live)
        assert live.puppet.call("step", worker, state, order_id) == expected
        if order_id is not None and expected == "to send":
            order = self._orders[order_id]
            order.before, order.state = order.state, State.SENDING
            live.claims[worker] = Claim(order_id)

    def _settle(self, claim: Claim, state: State | None) -> None:
        order = self._orders[claim.order_id]
        if claim.lost is None:
            order.settle(state)
        elif claim.lost is False and state in ARRIVED:
            order.count(state)
            if state is State.DELIVERED and order.state is not State.SENDING:
                order.state = state

    @precondition(lambda self: self._runs)
    @rule(data=st.data(), filed=st.booleans())
    def send(self, data: st.DataObject, filed: bool) -> None:
        for claim in self._pick(data).claims.values():
            if not claim.sent:
                claim.sent, claim.filed = True, filed
                self._orders[claim.order_id].filed += filed

    @precondition(lambda self: any(live.claims for live in self._runs))
    @rule(data=st.data(), kept=st.booleans())
    def lose_the_claims(self, data: st.DataObject, kept: bool) -> None:
        """Somebody takes a live run for dead, or a failover forgets its last commits."""
        live = self._pick(data)
        if kept:
            now = FakeClock().now()
            self._database.do(lambda transaction: rows.abandon(transaction, [live.run_id], now))
        else:
            self._execute(
                "UPDATE orders SET state = 'pending', run_id = NULL, worker = NULL"
                f" WHERE run_id = '{live.run_id}' AND state = 'sending'"
            )
        for claim in live.claims.values():
            if claim.lost is None:
                claim.lost = kept
                order = self._orders[claim.order_id]
                if kept:
                    order.settle(State.UNKNOWN)
                else:
                    order.state = State.PENDING

    @precondition(lambda self: self._runs)
    @rule(data=st.data(), orderly=st.booleans())
    def end(self, data: st.DataObject, orderly: bool) -> None:
        """Kill a run, or end it with claims left."""
        live = self._pick(data)
        self._runs.remove(live)
        if orderly:
            live.puppet.call("end")
        live.puppet.kill()
        self._execute(f"UPDATE runs SET lease_until = 0 WHERE id = '{live.run_id}'")
        for claim in live.claims.values():
            if claim.lost is False:  # both the ledger and the run forgot it: not promised
                self._orders[claim.order_id].filed -= claim.filed
            else:
                self._dead.append(claim)

    def _execute(self, statement: str) -> None:
        self._database.do(lambda transaction: transaction.execute(statement))

    def _open_claims(self) -> Iterator[Claim]:
        yield from self._dead
        for live in self._runs:
            yield from live.claims.values()

    @invariant()
    def each_order_is_where_the_model_says(self) -> None:
        entries = self._ledger.entries(list(IDS))
        for order_id, order in self._orders.items():
            entry = entries.get(order_id)
            assert (None if entry is None else entry.state) == order.state
            assert order.arrivals == (0 if entry is None else entry.arrivals)
        states: dict[State, int] = {}
        for entry in entries.values():
            states[entry.state] = states.get(entry.state, 0) + 1
        assert self._ledger.status().states == states

    @invariant()
    def every_copy_beyond_the_first_is_flagged(self) -> None:
        for order_id, order in self._orders.items():
            open_claims = sum(
                claim.order_id == order_id and claim.lost is not True
                for claim in self._open_claims()
            )
            assert order.filed <= order.arrivals + open_claims
        copies = [order.arrivals - 1 for order in self._orders.values() if order.arrivals]
        assert self._ledger.status().possible_duplicates == sum(copies)


@pytest.fixture(params=["sqlite", "postgresql"])
def make_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Location]:
    """Makes empty ledgers of one kind."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: tmp_path / f"ledger-{next(numbers)}.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    wait_until_old(postgres, LEASE_S)
    url: PostgresUrl = request.getfixturevalue("make_postgres")()

    def empty() -> Location:
        tables = "orders, attempts, runs, bookmarks, callbacks, counts"
        postgres.execute(f"TRUNCATE {tables}", url.database)
        return url

    return empty


def test_the_ledger_is_correct_after_any_sequence_of_events(
    tmp_path: Path, make_ledger: Callable[[], Location]
) -> None:
    with Stage(tmp_path) as stage:

        class Staged(Machine):
            pass

        Staged.stage = stage
        Staged.make_ledger = staticmethod(make_ledger)
        run_state_machine_as_test(
            Staged,
            settings=settings(
                max_examples=15,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
