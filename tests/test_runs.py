"""Runs: who is at work, who is dead, and what the dead left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.errors import BusyError, ExitCode, LedgerError
from onetribe_bc.ledger.ledger import Ledger, Seen, Settlement
from onetribe_bc.ledger.locks import LockDirectory, locks_beside
from onetribe_bc.ledger.states import Disposition, Outcome, State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order
from tests.puppets import Puppet, Stage

DELIVERED = Outcome(State.DELIVERED, "", 200)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


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


@pytest.fixture
def puppet(stage: Stage, path: Path) -> Puppet:
    return stage.puppet(path)


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def runs(path: Path) -> list[tuple[Any, ...]]:
    """Command and outcome of each run, and whether it has ended."""
    return query(path, "SELECT command, outcome, ended_at IS NOT NULL FROM runs ORDER BY rowid")


def run_locks(path: Path) -> list[Path]:
    return list(locks_beside(path).glob("run-*"))


def state(ledger: Ledger, order_id: int) -> State:
    entry = ledger.entry(order_id)
    assert entry is not None
    return entry.state


def claimed_by(puppet: Puppet, *ids: int) -> None:
    """A run of the puppet claims orders, each for another worker."""
    puppet.call("start")
    puppet.call("record", list(ids))
    for worker, order_id in enumerate(ids):
        assert puppet.call("step", worker, None, order_id) == "to send"


def deliver(ledger: Ledger, *ids: int) -> None:
    """A run delivers orders."""
    with ledger.run("sync"):
        for order_id in ids:
            ledger.record([Seen(make_order(order_id))])
            claimed = ledger.step(0, claim=make_order(order_id)).entry
            assert claimed is not None
            ledger.step(0, Settlement(claimed, DELIVERED))


def hold(ledger: Ledger) -> None:
    """Be an exclusive run, for a moment."""
    with ledger.run("backfill", exclusive=True):
        pass


def test_the_claims_of_a_live_run_stand(ledger: Ledger, puppet: Puppet) -> None:
    claimed_by(puppet, 1)
    with ledger.run("push-order"):
        step = ledger.step(0, claim=make_order(1))
        assert step.disposition is Disposition.CLAIMED
        assert state(ledger, 1) is State.SENDING


def test_the_claims_of_a_killed_run_may_have_arrived_and_the_rest_is_owed(
    ledger: Ledger, puppet: Puppet, path: Path
) -> None:
    claimed_by(puppet, 1, 2)
    puppet.call("record", [3, 4])
    puppet.call("step", 0, "delivered", 3)
    puppet.kill()
    with ledger.run("sync"):
        states = [state(ledger, i) for i in (1, 2, 3, 4)]
        assert states == [State.DELIVERED, State.UNKNOWN, State.UNKNOWN, State.PENDING]
        assert runs(path) == [("backfill", "killed", 1), ("sync", "running", 0)]
        assert len(run_locks(path)) == 1
    assert [attempt.result for attempt in ledger.attempts(2)] == ["unknown"]
    assert run_locks(path) == []


def test_a_dead_run_is_recovered_once(ledger: Ledger, puppet: Puppet) -> None:
    claimed_by(puppet, 1)
    puppet.kill()
    for _ in range(3):
        hold(ledger)
    entry = ledger.entry(1)
    assert entry is not None
    assert (entry.state, entry.arrivals) == (State.UNKNOWN, 1)
    assert len(ledger.attempts(1)) == 1


def test_a_missing_lock_file_proves_nothing_until_somebody_accepts_it(
    ledger: Ledger, puppet: Puppet, path: Path
) -> None:
    claimed_by(puppet, 1)
    for lock in run_locks(path):
        lock.unlink()
    puppet.kill()
    ledger.recover()
    assert state(ledger, 1) is State.SENDING
    assert ledger.status().runs[0].outcome == "running"
    assert ledger.accept() is None
    assert state(ledger, 1) is State.UNKNOWN
    assert ledger.status().runs[0].outcome == "killed"


def test_accepting_leaves_the_claims_of_a_live_run_alone(ledger: Ledger, puppet: Puppet) -> None:
    claimed_by(puppet, 1)
    ledger.accept()
    assert state(ledger, 1) is State.SENDING


def test_a_store_is_held_by_one_exclusive_run_at_a_time(ledger: Ledger) -> None:
    same = make_book(ledger._database, FakeClock())
    with ledger.run("backfill", exclusive=True):
        with pytest.raises(BusyError, match="of store shop is running: backfill, since 2026-03-01"):
            hold(same)
        hold(make_book(ledger._database, FakeClock(), store_hash="other"))
        with same.run("push-order"):
            pass  # not exclusive: no conflict
    hold(same)


def test_a_store_is_held_against_other_processes_until_the_holder_dies(
    ledger: Ledger, puppet: Puppet
) -> None:
    puppet.call("start", "sync", True)
    with pytest.raises(BusyError) as caught:
        hold(ledger)
    assert f" UTC on {os.uname().nodename}." in str(caught.value)
    assert caught.value.exit_code == ExitCode.BUSY
    puppet.kill()
    hold(ledger)


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "symbolic link to the directory"])
def test_all_links_to_a_ledger_reach_the_same_locks(
    tmp_path: Path, stage: Stage, kind: str
) -> None:
    first, other = tmp_path / "first" / "ledger.db", tmp_path / "other" / "name.db"
    hold(make_book(Database(first), FakeClock()))
    other.parent.mkdir()
    match kind:
        case "symbolic link":
            other.symlink_to(first)
        case "hard link":
            other.hardlink_to(first)
        case _:
            (tmp_path / "link").symlink_to(first.parent)
            other = tmp_path / "link" / "ledger.db"
    puppet = stage.puppet(other)
    puppet.call("start", "sync", True)
    puppet.call("record", [1])
    puppet.call("step", 0, None, 1)
    with closing(Database(first)) as database:
        ledger = make_book(database, FakeClock())
        with pytest.raises(BusyError):
            hold(ledger)
        puppet.kill()
        hold(ledger)
        assert state(ledger, 1) is State.UNKNOWN
    assert not locks_beside(other).exists() or locks_beside(other).samefile(locks_beside(first))


def test_a_ledger_that_moved_without_its_locks_gets_new_ones(
    ledger: Ledger, puppet: Puppet, path: Path, tmp_path: Path
) -> None:
    claimed_by(puppet, 1)
    puppet.kill()
    ledger._database.close()
    moved = tmp_path / "elsewhere" / "ledger.db"
    moved.parent.mkdir()
    path.rename(moved)
    with closing(Database(moved)) as database:
        again = make_book(database, FakeClock())
        hold(again)
        assert state(again, 1) is State.SENDING
        again.accept()
        assert state(again, 1) is State.UNKNOWN


def test_a_new_ledger_at_an_old_name_begins_without_the_old_ones_mark(path: Path) -> None:
    with closing(Database(path)) as database:
        deliver(make_book(database, FakeClock()), 1)
    path.unlink()
    with closing(Database(path)) as database:
        deliver(make_book(database, FakeClock()), 1)


@pytest.fixture
def older(path: Path) -> FakeClock:
    """A ledger is an older copy: it knows of order 1, and an hour later order 2 was delivered."""
    clock = FakeClock()
    with closing(Database(path)) as database:
        ledger = make_book(database, clock)
        ledger.record([Seen(make_order(3))])
        deliver(ledger, 1)
    shutil.copy(path, path.with_name("copy"))
    clock.advance(3600)
    with closing(Database(path)) as database:
        deliver(make_book(database, clock), 2)
    shutil.copy(path.with_name("copy"), path)
    return clock


def test_a_restored_older_copy_ends_the_next_run(path: Path, older: FakeClock) -> None:
    with closing(Database(path)) as database:
        ledger = make_book(database, older)
        with pytest.raises(LedgerError, match="is an older copy") as caught:
            deliver(ledger, 2)
        assert "from 2026-03-01 12:00:00 UTC to 2026-03-01 13:00:00 UTC" in str(caught.value)
        assert "ledger accept" in caught.value.hint
        assert ledger.status().states == {State.DELIVERED: 1, State.PENDING: 1}


def test_after_an_older_copy_is_accepted_orders_of_the_missing_period_are_flagged(
    path: Path, older: FakeClock
) -> None:
    created = {"date_created": "Sun, 01 Mar 2026 12:30:00 +0000"}
    later = {"date_created": "Sun, 01 Mar 2026 13:30:00 +0000"}
    with closing(Database(path)) as database:
        ledger = make_book(database, older)
        older.advance(3600)
        gap = ledger.accept()
        assert gap is not None
        assert gap.until == older.now() - timedelta(hours=1)
        assert ledger.accept() is None
        with ledger.run("sync"):
            for order in (make_order(2, **created), make_order(3), make_order(4, **later)):
                ledger.record([Seen(order)])
                claimed = ledger.step(0, claim=order).entry
                assert claimed is not None
                ledger.step(0, Settlement(claimed, DELIVERED))
        copies = {i: ledger.entries([i])[i].possible_duplicates for i in (1, 2, 3, 4)}
        assert copies == {1: 0, 2: 1, 3: 1, 4: 0}


def test_a_run_is_recorded_from_its_start_to_its_end(path: Path) -> None:
    clock = FakeClock()
    with closing(Database(path)) as database:
        ledger = make_book(database, clock)
        with ledger.run("backfill"):
            assert runs(path) == [("backfill", "running", 0)]
            clock.advance(90)
            counts = dict.fromkeys(("failed", "unknown"), 0)
            ledger.record_counts({"seen": 3, "delivered": 2, "skipped": 1, **counts})
        assert runs(path) == [("backfill", "done", 1)]
        counted = "SELECT seen, delivered, skipped, failed, ended_at - started_at FROM runs"
        assert query(path, counted) == [(3, 2, 1, 0, 90_000)]


def test_a_run_that_ends_in_an_error_names_it(ledger: Ledger, path: Path) -> None:
    with pytest.raises(LedgerError), ledger.run("sync"):
        raise LedgerError("no more")
    with pytest.raises(KeyboardInterrupt), ledger.run("sync"):
        raise KeyboardInterrupt
    assert runs(path) == [("sync", "no more", 1), ("sync", "bug: KeyboardInterrupt", 1)]
    assert run_locks(path) == []


def test_a_run_that_ends_with_a_claim_leaves_it_to_the_next(ledger: Ledger, path: Path) -> None:
    with ledger.run("backfill"):
        ledger.record([Seen(make_order(1))])
        ledger.step(0, claim=make_order(1))
    assert len(run_locks(path)) == 1
    with ledger.run("sync"):
        assert state(ledger, 1) is State.UNKNOWN
    assert run_locks(path) == []


def test_a_directory_that_takes_no_locks_is_reported(database: Database, path: Path) -> None:
    locks_beside(path).write_text("in the way")
    with pytest.raises(LedgerError, match="lock directory") as caught:
        hold(make_book(database, FakeClock()))
    assert caught.value.hint


def test_a_process_that_checks_a_run_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    locks = LockDirectory(tmp_path)
    going, done = threading.Event(), threading.Event()

    def be() -> None:
        with locks.live("here") as run:
            going.set()
            done.wait(10)
            run.clean = True

    with (tmp_path / "run-here.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        thread = threading.Thread(target=be)
        thread.start()
        assert not going.wait(0.05)
    assert going.wait(10)
    assert locks.is_live("here")
    done.set()
    thread.join()
    with suppress(FileNotFoundError):
        (tmp_path / "run-here.lock").unlink()
