"""What callbacks named is in the inbox until somebody looked at it after the last of them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger.inbox import NOT_FETCHED, Inbox, Named
from onetribe_bc.ledger.ledger import Seen
from onetribe_bc.ledger.orders import Key
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import DESTINATION, make_book, make_order

SECOND = timedelta(seconds=1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "ledger.db")) as database:
        yield database


def make_inbox(database: Database, clock: FakeClock, store_hash: str = "shop") -> Inbox:
    return Inbox(database, clock, Key(store_hash, DESTINATION))


@pytest.fixture
def inbox(database: Database, clock: FakeClock) -> Inbox:
    return make_inbox(database, clock)


def ids(named: list[Named]) -> list[int]:
    return [one.order_id for one in named]


def test_an_order_is_due_immediately_and_once_however_many_callbacks_name_it(
    inbox: Inbox, clock: FakeClock
) -> None:
    for _ in range(3):
        inbox.put(218).result()
        clock.advance(1)
    (named,) = inbox.due(10)
    assert (named.order_id, named.received, named.looks) == (218, 3, 0)
    assert named.received_at == clock.now() - 3 * SECOND
    assert len(inbox.all()) == 1


def test_an_order_that_the_ledger_does_not_know_is_owed_from_its_first_callback_on(
    inbox: Inbox, database: Database, clock: FakeClock
) -> None:
    inbox.put(218).result()
    ledger = make_book(database, clock)
    entry = ledger.entry(218)
    assert entry is not None
    assert (entry.state, entry.reason) == (State.PENDING, NOT_FETCHED)
    assert entry.first_seen_at == entry.updated_at == clock.now()


def test_a_callback_does_not_change_a_known_order(
    inbox: Inbox, database: Database, clock: FakeClock
) -> None:
    ledger = make_book(database, clock)
    ledger.record([Seen(make_order(218), "status Incomplete")])
    before = ledger.entry(218)
    clock.advance(5)
    inbox.put(218).result()
    assert ledger.entry(218) == before


def test_those_that_wait_longest_come_first(inbox: Inbox, clock: FakeClock) -> None:
    for order_id in (5, 3, 4):
        inbox.put(order_id).result()
        clock.advance(1)
    assert ids(inbox.due(2)) == [5, 3]
    assert ids(inbox.due(10)) == [5, 3, 4]


def test_one_order_can_be_asked_for(inbox: Inbox) -> None:
    inbox.put(218).result()
    found = inbox.find(218)
    assert found is not None
    assert (found.order_id, found.received) == (218, 1)
    assert inbox.find(219) is None


def test_an_order_can_be_put_off(inbox: Inbox, clock: FakeClock) -> None:
    inbox.put(218, after=2 * SECOND).result()
    assert inbox.due(10) == []
    assert ids(inbox.all()) == [218]
    clock.advance(2)
    assert ids(inbox.due(10)) == [218]


def test_postponing_counts_lookups_and_another_callback_resets_them(
    inbox: Inbox, clock: FakeClock
) -> None:
    inbox.put(218).result()
    inbox.postpone((one, clock.now() + 60 * SECOND) for one in inbox.due(10))
    (named,) = inbox.all()
    assert named.looks == 1
    assert inbox.due(10) == []
    inbox.put(218).result()
    (named,) = inbox.due(10)
    assert (named.looks, named.received) == (0, 2)


def test_an_order_named_again_meanwhile_stays_in_the_inbox(inbox: Inbox) -> None:
    inbox.put(218).result()
    looked_at = inbox.due(10)
    inbox.put(218).result()
    inbox.remove(looked_at)
    inbox.postpone((one, one.due_at + 60 * SECOND) for one in looked_at)
    assert ids(inbox.due(10)) == [218]


def test_a_late_removal_keeps_an_order_named_after_another_removal(
    inbox: Inbox, clock: FakeClock
) -> None:
    inbox.put(218).result()
    ours, theirs = inbox.due(10), inbox.due(10)
    inbox.remove(theirs)
    clock.advance(0.001)
    inbox.put(218).result()
    inbox.remove(ours)
    assert ids(inbox.due(10)) == [218]


def test_delivered_orders_leave_the_inbox_only_where_changes_are_of_no_interest(
    inbox: Inbox, database: Database, clock: FakeClock
) -> None:
    for order_id in (1, 2):
        inbox.put(order_id).result()
    database.do(lambda t: t.execute("UPDATE orders SET state = 'delivered' WHERE order_id = 1"))
    assert ids(inbox.due(10)) == [1, 2]
    assert ids(inbox.due(10, drop_delivered=True)) == [2]
    assert ids(inbox.all()) == [2]


def test_stores_and_destinations_do_not_meet(database: Database, clock: FakeClock) -> None:
    one, other = make_inbox(database, clock), make_inbox(database, clock, "other")
    one.put(218).result()
    other.remove(one.due(10))
    assert (len(one.all()), len(other.all())) == (1, 0)
    assert other.due(10) == []


def test_concurrent_callbacks_share_a_commit(inbox: Inbox, database: Database) -> None:
    written = [inbox.put(order_id) for order_id in (1, 2, 2, 3)]
    for each in written:
        each.result()
    assert [(one.order_id, one.received) for one in inbox.all()] == [(1, 1), (2, 2), (3, 1)]


def test_after_the_ledger_was_locked_for_too_long_callbacks_are_taken_in_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "ledger.db"
    with (
        closing(Database(path, lock_timeout_s=0.05)) as database,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        inbox = make_inbox(database, clock)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(BusyError):
                inbox.put(218).result()
        other.execute("ROLLBACK")
        inbox.put(219).result()
        assert ids(inbox.all()) == [219]


def test_a_closed_ledger_accepts_no_callbacks(inbox: Inbox, database: Database) -> None:
    database.close()
    for _ in range(2):
        with pytest.raises(LedgerError):
            inbox.put(218)


def test_removing_or_postponing_no_order_changes_nothing(inbox: Inbox) -> None:
    inbox.put(1).result()
    before = inbox.all()
    inbox.remove([])
    inbox.postpone([])
    assert inbox.all() == before


class Callbacks(RuleBasedStateMachine):
    """Readers may hold what they read as long as they like, and give it back in any order."""

    orders = st.integers(1, 3)
    read = Bundle("read")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name) / "ledger.db")
        self.clock = FakeClock()
        self.inbox = make_inbox(self.database, self.clock)
        self.named = dict.fromkeys(range(1, 4), 0)
        """How often each order was named."""
        self.looked_at = dict.fromkeys(range(1, 4), 0)
        """Up to which of them somebody has looked at it."""

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    @rule(order_id=orders, after=st.integers(0, 3))
    def put(self, order_id: int, after: int) -> None:
        self.clock.advance(0.001)
        self.inbox.put(order_id, after=after * SECOND).result()
        self.named[order_id] += 1

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(target=read, everything=st.booleans())
    def look(self, everything: bool) -> object:
        found = self.inbox.all() if everything else self.inbox.due(2)
        return multiple(*((one, self.named[one.order_id]) for one in found))

    @rule(held=read)
    def remove(self, held: tuple[Named, int]) -> None:
        named, version = held
        self.inbox.remove([named])
        order_id = named.order_id
        self.looked_at[order_id] = max(self.looked_at[order_id], version)

    @rule(held=read, seconds=st.integers(1, 5))
    def postpone(self, held: tuple[Named, int], seconds: int) -> None:
        self.inbox.postpone([(held[0], self.clock.now() + seconds * SECOND)])

    @invariant()
    def no_callback_is_lost(self) -> None:
        if not hasattr(self, "inbox"):
            return
        there = set(ids(self.inbox.all()))
        for order_id, number in self.named.items():
            if number > self.looked_at[order_id]:
                assert order_id in there
        assert len(self.inbox.all()) == len(there)


Callbacks.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCallbacks = Callbacks.TestCase
