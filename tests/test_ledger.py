"""The ledger under any sequence of runs, answers, kills and take-overs, against a model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
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

from onetribe_bc.ledger.in_flight import boot_id
from onetribe_bc.ledger.states import Entry, Result, State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import inquire, make_book
from tests.puppets import WORKERS, Puppet, Stage

IDS = range(1, 7)
RUNS = 2
results = st.sampled_from([Result.DELIVERED, Result.UNKNOWN, Result.FAILED, Result.PENDING])
_STATES = {
    Result.DELIVERED: State.DELIVERED,
    Result.UNKNOWN: State.UNKNOWN,
    Result.FAILED: State.FAILED,
    Result.PENDING: State.PENDING,
}


@dataclass
class Model:
    """What is true of an order."""

    state: State | None = None
    before: State | None = None
    """What it was before it was claimed."""
    owner: int | None = None
    sent_by: int | None = None
    """The worker whose request is under way."""
    answer: Result | None = None
    """What was answered and not yet written down."""
    may_have_arrived: int = 0

    def settle(self, result: Result) -> None:
        self.state = _STATES[result]
        self.may_have_arrived += result in (Result.DELIVERED, Result.UNKNOWN)
        self.owner = self.sent_by = self.answer = None


@dataclass
class Live:
    """A process with a run."""

    puppet: Puppet
    force: bool
    free: set[int] = field(default_factory=lambda: set(range(WORKERS)))


class Ledger(RuleBasedStateMachine):
    """Two runs at a time on one ledger."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._path = Path(folder) / "ledger.db"
        database = self._stack.enter_context(closing(Database(self._path)))
        self._ledger = make_book(database, FakeClock())
        self._orders = {order_id: Model() for order_id in IDS}
        self._runs: dict[int, Live] = {}

    def teardown(self) -> None:
        for live in self._runs.values():
            live.puppet.kill()
        self._stack.close()

    @initialize()
    def begin(self) -> None:
        self._start(0, force=False)

    def _start(self, name: int, *, force: bool) -> None:
        puppet = self.stage.puppet(self._path, force=force)
        puppet.call("start")
        self._runs[name] = Live(puppet, force)
        for order in self._orders.values():
            if order.owner is not None and order.owner not in self._runs:
                self._take_over(order)

    def _take_over(self, order: Model) -> None:
        """What was never sent is what it was before, what was answered is known, the rest is in
        doubt.
        """
        if order.sent_by is None:
            order.state, order.owner = order.before, None
        else:
            order.settle(order.answer or Result.UNKNOWN)

    def _pick(self, data: st.DataObject, choices: Iterator[int]) -> int | None:
        found = sorted(choices)
        return data.draw(st.sampled_from(found)) if found else None

    @precondition(lambda self: len(self._runs) < RUNS)
    @rule(force=st.booleans())
    def start(self, force: bool) -> None:
        self._start(next(i for i in range(100) if i not in self._names()), force=force)

    def _names(self) -> set[int]:
        owners = {order.owner for order in self._orders.values() if order.owner is not None}
        return owners | set(self._runs)

    @precondition(lambda self: self._runs)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._runs)))
        live = self._runs[name]
        ids: list[int] = data.draw(
            st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)
        )
        decisions = live.puppet.call("record", ids)
        expected = []
        for order_id in ids:
            order = self._orders[order_id]
            if order.state is State.SENDING:
                expected.append("claimed by another run")
            elif order.state is State.DELIVERED and not live.force:
                expected.append("already delivered")
            else:
                expected.append("to send")
                if order.state not in (State.DELIVERED, State.UNKNOWN):
                    order.state = State.PENDING
        assert decisions == expected
        wanted = [i for i, decision in zip(ids, decisions, strict=True) if decision == "to send"]
        really: bool = data.draw(st.booleans())
        if wanted and really:
            assert live.puppet.call("claim", wanted) == ["to send"] * len(wanted)
            for order_id in wanted:
                order = self._orders[order_id]
                order.before, order.state, order.owner = order.state, State.SENDING, name

    def _claims(self, *, sent: bool, answered: bool = False) -> Iterator[int]:
        for order_id, order in self._orders.items():
            mine = order.owner in self._runs
            under_way = order.sent_by is not None
            if mine and under_way is sent and answered is (order.answer is not None):
                yield order_id

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        order_id = self._pick(data, self._claims(sent=False))
        if order_id is None:
            return
        order = self._orders[order_id]
        assert order.owner is not None
        live = self._runs[order.owner]
        if live.free:
            order.sent_by = min(live.free)
            live.free.remove(order.sent_by)
            live.puppet.call("send", order_id, order.sent_by)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        order_id = self._pick(data, self._claims(sent=False))
        if order_id is not None:
            order = self._orders[order_id]
            assert order.owner is not None
            self._runs[order.owner].puppet.call("release", order_id)
            order.state, order.owner = order.before, None

    @rule(data=st.data(), result=results)
    def answer(self, data: st.DataObject, result: Result) -> None:
        order_id = self._pick(data, self._claims(sent=True))
        if order_id is not None:
            order = self._orders[order_id]
            assert order.owner is not None
            order.answer = result
            self._runs[order.owner].puppet.call("answered", order_id, order.sent_by, result)

    @rule(data=st.data(), result=results)
    def settle(self, data: st.DataObject, result: Result) -> None:
        answered = data.draw(st.booleans())
        order_id = self._pick(data, self._claims(sent=True, answered=answered))
        if order_id is not None:
            order = self._orders[order_id]
            assert order.owner is not None
            assert order.sent_by is not None
            live = self._runs[order.owner]
            result = order.answer or result
            live.puppet.call("settle", order_id, order.sent_by, result)
            live.free.add(order.sent_by)
            order.settle(result)

    @precondition(lambda self: self._runs)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._runs)))
        self._runs.pop(name).puppet.kill()

    @precondition(lambda self: self._runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """An orderly end, be it with claims left: the next run knows what became of them."""
        name = data.draw(st.sampled_from(sorted(self._runs)))
        live = self._runs.pop(name)
        live.puppet.call("end")
        live.puppet.kill()

    @invariant()
    def each_order_is_where_the_model_says(self) -> None:
        entries: dict[int, Entry | None] = {i: inquire(self._ledger).entry(i) for i in IDS}
        for order_id, order in self._orders.items():
            entry = entries[order_id]
            assert (None if entry is None else entry.state) == order.state
            if entry is not None:
                assert entry.arrivals == order.may_have_arrived
        assert sum(inquire(self._ledger).status().states.values()) == sum(
            e is not None for e in entries.values()
        )

    @invariant()
    def copies_beyond_the_first_are_flagged(self) -> None:
        arrived = [o.may_have_arrived for o in self._orders.values() if o.may_have_arrived]
        assert inquire(self._ledger).status().possible_duplicates == sum(arrived) - len(arrived)


@pytest.mark.skipif(not boot_id(), reason="without a boot id every claim is in doubt")
def test_whatever_happens_the_ledger_says_what_is_true(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:

        class Staged(Ledger):
            pass

        Staged.stage = stage
        run_state_machine_as_test(
            Staged,
            settings=settings(
                max_examples=15,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
