"""Claims and settlements of many workers, written together and still each its own."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from onetribe_bc.errors import BusyError
from onetribe_bc.ledger.batch import Batcher
from onetribe_bc.ledger.ledger import Ledger, Seen
from onetribe_bc.ledger.rows import Rows
from onetribe_bc.ledger.states import Disposition, Entry, Outcome, Policy, Result, State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import inquire, make_book, make_order
from tests.puppets import Stage

DELIVERED = Outcome(Result.DELIVERED, "", 200)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, lock_timeout_s=0.05)) as database:
        yield database


def enlisted(ledger: Ledger, number: int) -> list[int]:
    ids = list(range(1, number + 1))
    assert ledger.record([Seen(make_order(i)) for i in ids]) == [Disposition.TO_SEND] * number
    return ids


def test_of_many_threads_and_two_ledgers_one_gets_each_order(path: Path) -> None:
    won: Counter[int] = Counter()
    lock = threading.Lock()

    def work(ledger: Ledger, start: int) -> None:
        for order_id in ids[start:] + ids[:start]:
            [(_, decision)] = ledger.claim([make_order(order_id)])
            if decision is Disposition.TO_SEND:
                with lock:
                    won[order_id] += 1

    with ExitStack() as stack:
        books = []
        for _ in range(2):
            database = stack.enter_context(closing(Database(path)))
            ledger = make_book(database, FakeClock())
            stack.enter_context(ledger.run("push-order"))
            books.append(ledger)
        ids = enlisted(books[0], 40)
        threads = [
            threading.Thread(target=work, args=(ledger, 10 * n))
            for ledger in books
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for ledger in books:
            for order_id in ids:
                entry = inquire(ledger).entry(order_id)
                if entry is not None and entry.run_id == ledger._live.id:
                    ledger.release(entry)
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
                won[number] += puppet.call("claim", [order_id])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one, other in zip(*won, strict=True):
        assert sorted([one, other]) == ["claimed by another run", "to send"]


def test_the_same_order_twice_in_one_batch_is_claimed_once(database: Database) -> None:
    ledger = make_book(database, FakeClock())
    with ledger.run("push-order"):
        enlisted(ledger, 1)
        claims = ledger.claim([make_order(1), make_order(1)])
        assert [decision for _, decision in claims] == [Disposition.TO_SEND, Disposition.CLAIMED]
        ledger.release(claims[0][0])


def test_what_was_settled_before_a_claim_is_durable_when_the_claim_is(
    database: Database, path: Path
) -> None:
    ledger = make_book(database, FakeClock())
    with ledger.run("backfill", workers=1), closing(Database(path)) as reader:
        ids = enlisted(ledger, 30)
        other = make_book(reader, FakeClock())
        [(claimed, _)] = ledger.claim([make_order(1)])
        for before, after in pairwise(ids):
            ledger.sending(claimed, 0)
            entry, written = ledger.settle(claimed, DELIVERED)
            [(claimed, _)] = ledger.claim([make_order(after)])
            assert written.done()
            assert inquire(other).entry(before) == entry
        ledger.release(claimed)


def test_an_attempt_is_kept_for_each_try_and_none_for_what_was_never_sent(
    database: Database,
) -> None:
    ledger = make_book(database, FakeClock())
    with ledger.run("backfill"):
        enlisted(ledger, 1)
        tries = [Outcome(Result.PENDING, "One Tribe answered 503", 503, "busy"), DELIVERED]
        for outcome in tries:
            [(claimed, _)] = ledger.claim([make_order(1)])
            ledger.release(claimed)
            [(claimed, _)] = ledger.claim([make_order(1)])
            ledger.sending(claimed, 0)
            ledger.settle(claimed, outcome)[1].result()
    told = [
        (a.number, a.result, a.reason, a.answer_status, a.answer)
        for a in inquire(ledger).attempts(1)
    ]
    assert told == [
        (1, "pending", "One Tribe answered 503", 503, "busy"),
        (2, "delivered", "", 200, ""),
    ]


def test_a_ledger_that_fails_tells_each_who_waits_and_flush(database: Database, path: Path) -> None:
    ledger = make_book(database, FakeClock())
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(BusyError))
        stack.enter_context(ledger.run("backfill", workers=2))
        enlisted(ledger, 2)
        [(first, _), (second, _)] = ledger.claim([make_order(1), make_order(2)])
        locker = Database(path)
        done = threading.Event()
        held = threading.Event()

        def hold(_connection: object) -> None:
            held.set()
            assert done.wait(10)

        waiting = locker.submit(hold)
        assert held.wait(10)
        futures = []
        for worker, claimed in enumerate((first, second)):
            ledger.sending(claimed, worker)
            futures.append(ledger.settle(claimed, DELIVERED, worker)[1])
        assert all(isinstance(future.exception(), BusyError) for future in futures)
        done.set()
        waiting.result()
        locker.close()
        ledger.flush()
    again = make_book(database, FakeClock())
    with again.run("sync"):
        assert inquire(again).status().states == {State.DELIVERED: 2}


def test_stores_and_destinations_do_not_see_each_other(database: Database) -> None:
    mine, other = (make_book(database, FakeClock(), store_hash=name) for name in ("a", "b"))
    enlisted(mine, 3)
    assert inquire(other).entry(1) is None
    assert inquire(other).status().states == {}
    assert not other.mark_gone(1)
    assert mine.mark_gone(1)
    assert inquire(mine).status().states == {State.PENDING: 2, State.GONE: 1}


def test_a_preview_says_what_enlisting_would_and_writes_nothing(database: Database) -> None:
    ledger = make_book(database, FakeClock(), Policy(force=True))
    page = [Seen(make_order(1)), Seen(make_order(2), "status Incomplete")]
    assert ledger.preview(page) == [Disposition.TO_SEND, Disposition.SKIPPED]
    assert inquire(ledger).status().states == {}
    assert ledger.record(page) == [Disposition.TO_SEND, Disposition.SKIPPED]


def test_an_entry_comes_back_from_the_ledger_as_it_was(database: Database) -> None:
    ledger = make_book(database, FakeClock())
    with ledger.run("backfill"):
        order = make_order(2**63 - 1, date_modified="Tue, 05 Mar 2019 21:40:11 +0000")
        ledger.record([Seen(order)])
        [(claimed, _)] = ledger.claim([order])
        assert inquire(ledger).entry(order.id) == claimed
        after, written = ledger.settle(claimed, Outcome(Result.FAILED, "no", 422, "said"))
        written.result()
    found: Entry | None = inquire(ledger).entry(order.id)
    assert found == after
    assert found is not None
    assert found.modified_at == order.date_modified


def test_after_a_batch_that_was_never_begun_the_next_one_is_a_new_one(path: Path) -> None:
    with closing(Database(path, lock_timeout_s=0.01)) as database:
        rows = Rows(store_hash="abc123", destination="d" * 16)
        batcher = Batcher(database, rows)
        with closing(sqlite3.connect(path, isolation_level=None)) as locker:
            locker.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError):
                batcher.claim(1, lambda entry: (entry, Disposition.TO_SEND)).result(timeout=10)
            locker.execute("ROLLBACK")
        with pytest.raises(KeyError):
            batcher.claim(1, lambda entry: (entry, Disposition.TO_SEND)).result(timeout=10)
