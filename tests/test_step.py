"""Steps of many workers, written together and still each its own."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger import orders as rows
from onetribe_bc.ledger.engine import Prepared, Transaction
from onetribe_bc.ledger.ledger import Ledger, Seen, Settlement
from onetribe_bc.ledger.listing import page_query
from onetribe_bc.ledger.states import RELEASED, Disposition, Entry, Outcome, Policy, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order
from tests.puppets import Stage

DELIVERED = Outcome(State.DELIVERED, "", 200)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path)) as database:
        yield database


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return make_book(database, FakeClock())


def recorded(ledger: Ledger, number: int) -> list[int]:
    ids = list(range(1, number + 1))
    assert ledger.record([Seen(make_order(i)) for i in ids]) == [Disposition.TO_SEND] * number
    return ids


def claim(ledger: Ledger, order_id: int, worker: int = 0) -> Entry:
    entry = ledger.step(worker, claim=make_order(order_id)).entry
    assert entry is not None
    assert entry.state is State.SENDING
    return entry


def test_of_many_workers_in_two_runs_one_gets_each_order(path: Path) -> None:
    won: Counter[int] = Counter()
    lock = threading.Lock()

    def work(ledger: Ledger, worker: int, ids: list[int]) -> None:
        last = None
        for order_id in ids:
            step = ledger.step(worker, last, make_order(order_id))
            last = None
            if step.disposition is Disposition.TO_SEND and step.entry is not None:
                last = Settlement(step.entry, DELIVERED)
                with lock:
                    won[order_id] += 1
        ledger.step(worker, last)

    with ExitStack() as stack:
        ledgers = []
        for _ in range(2):
            database = stack.enter_context(closing(Database(path)))
            ledgers.append(make_book(database, FakeClock()))
            stack.enter_context(ledgers[-1].run("push-order"))
        ids = recorded(ledgers[0], 40)
        threads = [
            threading.Thread(target=work, args=(ledger, n, ids[10 * n :] + ids[: 10 * n]))
            for ledger in ledgers
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledgers[0].status().states == {State.DELIVERED: 40}
    assert won == Counter(ids)


def test_of_two_processes_one_gets_each_order(path: Path, tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        puppets = [stage.puppet(path) for _ in range(2)]
        ids = list(range(1, 41))
        won: list[list[str]] = [[], []]

        def work(number: int) -> None:
            puppet = puppets[number]
            puppet.call("start")
            puppet.call("record", ids)
            for order_id in ids:
                won[number].append(puppet.call("step", order_id, None, order_id))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one, other in zip(*won, strict=True):
        assert sorted([one, other]) == ["claimed by another run", "to send"]


def test_an_order_that_another_worker_has_is_not_claimed_again(ledger: Ledger) -> None:
    with ledger.run("push-order"):
        recorded(ledger, 1)
        claimed = claim(ledger, 1)
        step = ledger.step(1, claim=make_order(1))
        assert step.disposition is Disposition.CLAIMED
        ledger.step(0, Settlement(claimed, RELEASED))


def test_one_step_settles_the_last_order_and_claims_the_next(ledger: Ledger, path: Path) -> None:
    with ledger.run("backfill"), closing(Database(path)) as other:
        reader = make_book(other, FakeClock())
        recorded(ledger, 30)
        claimed = claim(ledger, 30)
        for order_id in range(29, 0, -1):
            step = ledger.step(0, Settlement(claimed, DELIVERED), make_order(order_id))
            assert reader.entry(order_id + 1) == step.settled
            assert reader.entry(order_id) == step.entry
            assert step.entry is not None
            claimed = step.entry
        ledger.step(0, Settlement(claimed, RELEASED))
        assert reader.status().states == {State.DELIVERED: 29, State.PENDING: 1}


def test_an_attempt_is_recorded_for_each_request_that_was_sent(ledger: Ledger) -> None:
    with ledger.run("backfill"):
        recorded(ledger, 1)
        for outcome in (
            Outcome(State.PENDING, "One Tribe responded with 503", 503, "busy"),
            DELIVERED,
        ):
            ledger.step(0, Settlement(claim(ledger, 1), RELEASED))
            ledger.step(0, Settlement(claim(ledger, 1), outcome))
    kept = [(a.number, a.result, a.reason, a.answer_status, a.answer) for a in ledger.attempts(1)]
    assert kept == [
        (1, "pending", "One Tribe responded with 503", 503, "busy"),
        (2, "delivered", "", 200, ""),
    ]


def test_a_late_outcome_does_not_overwrite_the_heirs_claim(
    ledger: Ledger, database: Database
) -> None:
    other = make_book(database, FakeClock())
    with ledger.run("backfill"), other.run("sync"):
        recorded(ledger, 1)
        late = claim(ledger, 1)
        now = FakeClock().now()
        database.do(lambda transaction: rows.abandon(transaction, [late.run_id or ""], now))
        heir = claim(other, 1)
        assert ledger.step(0, Settlement(late, DELIVERED)).settled == heir
        other.step(0, Settlement(heir, DELIVERED))
    entry = ledger.entry(1)
    assert entry is not None
    assert (entry.state, entry.arrivals, entry.deliveries) == (State.DELIVERED, 2, 1)
    assert [attempt.result for attempt in ledger.attempts(1)] == ["unknown", "delivered"]


def test_an_order_that_the_ledger_lost_is_entered_by_its_claim(
    ledger: Ledger, database: Database
) -> None:
    with ledger.run("backfill"):
        claimed = claim(ledger, 1)
        database.do(lambda transaction: transaction.execute("DELETE FROM orders"))
        ledger.step(0, Settlement(claimed, DELIVERED))
        assert ledger.status().states == {State.DELIVERED: 1}


def test_an_error_of_one_worker_is_not_the_others(ledger: Ledger, database: Database) -> None:
    with ledger.run("backfill"):
        recorded(ledger, 2)
        database.do(
            lambda transaction: transaction.execute(
                "CREATE TRIGGER no_order_1 BEFORE UPDATE ON orders WHEN new.order_id = 1 "
                "BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
        )
        hold, held = threading.Event(), threading.Event()

        def stall(_transaction: Transaction, _items: object) -> list[bool]:
            held.set()
            return [hold.wait(10)]

        waiting = database.submit(stall, None)
        assert held.wait(10)
        errors: list[str] = []

        def work(worker: int) -> None:
            try:
                claim(ledger, worker)
            except LedgerError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=work, args=(worker,)) for worker in (1, 2)]
        for thread in threads:
            thread.start()
        hold.set()
        waiting.result()
        for thread in threads:
            thread.join()
        assert len(errors) == 1
        assert "no more" in errors[0]
        assert ledger.status().states == {State.PENDING: 1, State.SENDING: 1}


def test_the_database_refuses_a_second_claim_of_a_worker(ledger: Ledger) -> None:
    with ledger.run("backfill"):
        recorded(ledger, 2)
        claim(ledger, 1)
        with pytest.raises(LedgerError, match="UNIQUE"):
            claim(ledger, 2)


def test_stores_and_destinations_do_not_see_each_other(database: Database) -> None:
    mine, other = (make_book(database, FakeClock(), store_hash=name) for name in ("a", "b"))
    recorded(mine, 3)
    assert other.entry(1) is None
    assert other.status().states == {}
    assert not other.mark_gone(1)
    assert mine.mark_gone(1)
    assert mine.status().states == {State.PENDING: 2, State.GONE: 1}


def test_a_preview_decides_like_recording_and_writes_nothing(database: Database) -> None:
    ledger = make_book(database, FakeClock(), Policy(force=True))
    page = [Seen(make_order(1)), Seen(make_order(2), "status Incomplete")]
    assert ledger.preview(page) == [Disposition.TO_SEND, Disposition.SKIPPED]
    assert ledger.status().states == {}
    assert ledger.record(page) == [Disposition.TO_SEND, Disposition.SKIPPED]


def test_an_entry_comes_back_from_the_ledger_as_it_was(ledger: Ledger) -> None:
    order = make_order(2**63 - 1, date_modified="Tue, 05 Mar 2019 21:40:11 +0000", status="Shipped")
    with ledger.run("backfill"):
        ledger.record([Seen(order)])
        claimed = ledger.step(0, claim=order).entry
        assert claimed is not None
        assert ledger.entry(order.id) == claimed
        failed = Outcome(State.FAILED, "no", 422, "said")
        after = ledger.step(0, Settlement(claimed, failed)).settled
    assert ledger.entry(order.id) == after
    assert after is not None
    assert (after.modified_at, after.status_id, after.status) == (
        order.date_modified,
        11,
        "Shipped",
    )


def test_text_is_truncated_to_its_column(ledger: Ledger) -> None:
    with ledger.run("backfill"):
        recorded(ledger, 1)
        failed = Outcome(State.FAILED, "r" * 301, 422, "a\0" * 101)
        ledger.step(0, Settlement(claim(ledger, 1), failed))
    entry = ledger.entry(1)
    assert entry is not None
    assert (entry.reason, entry.answer) == ("r" * 300, "a\N{REPLACEMENT CHARACTER}" * 100)


def test_entries_in_several_states_come_by_id(ledger: Ledger) -> None:
    with ledger.run("backfill"):
        recorded(ledger, 2500)
        for order_id in (3, 2000, 2400):
            ledger.step(0, Settlement(claim(ledger, order_id), DELIVERED))
        for order_id in (5, 1500):
            ledger.step(0, Settlement(claim(ledger, order_id), Outcome(State.UNKNOWN)))

        def ids(*states: State) -> list[int]:
            return [entry.order_id for entry in ledger.iter_entries(states)]

        assert ids(State.DELIVERED, State.UNKNOWN) == [3, 5, 1500, 2000, 2400]
        assert ids(State.PENDING, State.UNKNOWN) == sorted({*range(1, 2501)} - {3, 2000, 2400})
        assert ids() == [*range(1, 2501)]


def test_entries_in_a_state_are_found_without_a_scan(database: Database) -> None:
    prepared = Prepared(page_query((State.FAILED, State.UNKNOWN)), database.engine.dialect)
    values = prepared.binder(("store_hash", "destination", "after", "limit"))(("s", "d", 0, 9))
    with closing(sqlite3.connect(database.engine.label)) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {prepared.sql}", values).fetchall())
    assert plan.count("COVERING INDEX orders_undelivered") == 2
    assert "SCAN orders" not in plan
    assert "order_id>?)" not in plan.replace("state=? AND order_id>?)", "")


def test_orders_are_locked_by_the_whole_key_before_any_statistics(location: Location) -> None:
    with closing(Database(location)) as database:
        prepared = Prepared(rows._LOCK, database.engine.dialect)
        values = prepared.binder(("store_hash", "destination", "ids"))(("s", "d", [1, 2]))
        explain = "EXPLAIN QUERY PLAN" if isinstance(location, Path) else "EXPLAIN"
        plan = database.do(lambda t: t.query(f"{explain} {prepared.sql}", values))
    text = " ".join(str(row) for row in plan)
    assert "order_id=?" in text or "order_id = listed.id" in text.replace("anon_1", "listed"), text
    assert "Seq Scan" not in text
