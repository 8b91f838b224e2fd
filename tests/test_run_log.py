"""Runs: who is at work, who is dead, and what the dead left behind."""

from __future__ import annotations

import fcntl
import resource
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.errors import BusyError, ExitCode, LedgerError
from onetribe_bc.ledger.in_flight import boot_id
from onetribe_bc.ledger.ledger import Ledger, Seen
from onetribe_bc.ledger.locks import FileLock, Locks, locks_folder
from onetribe_bc.ledger.states import Outcome, Result, State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import inquire, make_book, make_order
from tests.puppets import Puppet, Stage

trusting = pytest.mark.skipif(not boot_id(), reason="without a boot id every claim is in doubt")


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


def runs(database: Database) -> list[tuple[Any, ...]]:
    """Command and outcome of each run, and whether it has ended."""
    query = "SELECT command, outcome, ended_at IS NOT NULL FROM runs ORDER BY rowid"
    return [tuple(row) for row in database.do(lambda c: list(c.exec_driver_sql(query)))]


def run_locks(path: Path) -> list[Path]:
    return list(path.with_name(path.name + ".locks").glob("run-*"))


def state(ledger: Ledger, order_id: int) -> State:
    entry = inquire(ledger).entry(order_id)
    assert entry is not None
    return entry.state


def test_the_claims_of_a_live_run_stand(ledger: Ledger, puppet: Puppet) -> None:
    puppet.call("start")
    puppet.call("record", [1])
    puppet.call("claim", [1])
    with ledger.run("push-order"):
        assert state(ledger, 1) is State.SENDING
        [(entry, decision)] = ledger.claim([make_order(1)])
        assert (entry.state, decision) == (State.SENDING, "claimed by another run")


@trusting
def test_a_killed_run_is_known_as_dead_at_once_and_what_it_left_is_taken_over(
    ledger: Ledger, database: Database, puppet: Puppet, path: Path
) -> None:
    puppet.call("start")
    puppet.call("record", [1, 2, 3, 4])
    puppet.call("claim", [1, 2, 3])
    puppet.call("send", 2, 0)
    puppet.call("send", 3, 1)
    puppet.call("answered", 3, 1, "delivered")
    puppet.kill()
    with ledger.run("sync"):
        assert [state(ledger, i) for i in (1, 2, 3, 4)] == [
            State.PENDING,
            State.UNKNOWN,
            State.DELIVERED,
            State.PENDING,
        ]
        assert runs(database) == [("backfill", "killed", 1), ("sync", "running", 0)]
        assert len(run_locks(path)) == 1
    assert [attempt.result for attempt in inquire(ledger).attempts(2)] == ["unknown"]
    assert inquire(ledger).attempts(1) == []
    assert run_locks(path) == []


@trusting
def test_what_a_run_had_claimed_again_and_not_sent_is_owed_whatever_was_answered_before(
    ledger: Ledger, puppet: Puppet
) -> None:
    puppet.call("start")
    puppet.call("record", [1])
    puppet.call("claim", [1])
    puppet.call("send", 1, 0)
    puppet.call("settle", 1, 0, "failed")
    puppet.call("record", [1], 2)
    puppet.call("claim", [1], 2)
    puppet.kill()
    with ledger.run("sync"):
        entry = inquire(ledger).entry(1)
        assert entry is not None
        assert (entry.state, entry.attempts, entry.arrivals) == (State.PENDING, 1, 0)
        [decision] = ledger.record([Seen(make_order(1, version=2))])
        assert decision == "to send"


@trusting
def test_a_dead_run_is_not_taken_over_twice(
    ledger: Ledger, database: Database, puppet: Puppet
) -> None:
    puppet.call("start")
    puppet.call("record", [1])
    puppet.call("claim", [1])
    puppet.call("send", 1, 0)
    puppet.kill()
    for _ in range(3):
        with ledger.run("sync"):
            pass
    entry = inquire(ledger).entry(1)
    assert entry is not None
    assert (entry.state, entry.arrivals) == (State.UNKNOWN, 1)
    assert len(inquire(ledger).attempts(1)) == 1


def test_claims_of_a_run_whose_record_is_lost_are_in_doubt(
    ledger: Ledger, puppet: Puppet, path: Path
) -> None:
    puppet.call("start")
    puppet.call("record", [1])
    puppet.call("claim", [1])
    puppet.kill()
    for lock in run_locks(path):
        lock.unlink()
    with ledger.run("sync"):
        assert state(ledger, 1) is State.UNKNOWN
    assert run_locks(path) == []


def hold(ledger: Ledger) -> None:
    """Be an exclusive run, for a moment."""
    with ledger.run("backfill", exclusive=True):
        pass


def test_a_store_is_held_by_one_exclusive_run_at_a_time(ledger: Ledger) -> None:
    same = make_book(ledger._database, FakeClock())
    with ledger.run("backfill", exclusive=True):
        with pytest.raises(BusyError, match="shop") as caught:
            hold(same)
        hold(make_book(ledger._database, FakeClock(), store_hash="other"))
        with same.run("push-order"):
            pass  # not exclusive: in nobody's way
    assert caught.value.exit_code == ExitCode.BUSY
    hold(same)


def test_a_store_is_held_against_other_processes_until_the_holder_dies(
    ledger: Ledger, puppet: Puppet
) -> None:
    puppet.call("start", "sync", True)
    with pytest.raises(BusyError):
        hold(ledger)
    puppet.kill()
    hold(ledger)


def test_a_run_is_written_down_from_its_start_to_its_end(path: Path) -> None:
    clock = FakeClock()
    with closing(Database(path)) as database:
        ledger = make_book(database, clock)
        with ledger.run("backfill"):
            assert runs(database) == [("backfill", "running", 0)]
            clock.advance(90)
            ledger.record_counts({"seen": 3, "delivered": 2, "skipped": 1})
        assert runs(database) == [("backfill", "done", 1)]
        query = "SELECT seen, delivered, skipped, failed, ended_at - started_at FROM runs"
        assert database.do(lambda c: c.exec_driver_sql(query).one()) == (3, 2, 1, 0, 90_000)


def test_a_run_that_ends_in_an_error_names_it(
    ledger: Ledger, database: Database, path: Path
) -> None:
    with pytest.raises(LedgerError), ledger.run("sync"):
        raise LedgerError("no more")
    with pytest.raises(KeyboardInterrupt), ledger.run("sync"):
        raise KeyboardInterrupt
    assert runs(database) == [("sync", "no more", 1), ("sync", "bug: KeyboardInterrupt", 1)]
    assert run_locks(path) == []


@trusting
def test_a_run_that_ends_with_claims_leaves_its_record_for_the_next(
    ledger: Ledger, path: Path
) -> None:
    with ledger.run("backfill", workers=2):
        ledger.record([Seen(make_order(i)) for i in (1, 2)])
        claims = ledger.claim([make_order(i) for i in (1, 2)])
        ledger.sending(claims[1][0], 1)
    assert len(run_locks(path)) == 1
    with ledger.run("sync"):
        assert (state(ledger, 1), state(ledger, 2)) == (State.PENDING, State.UNKNOWN)
    assert run_locks(path) == []


_NO_DELIVERIES = (
    "CREATE TRIGGER no_deliveries BEFORE INSERT ON orders WHEN new.state = 'delivered' "
    "BEGIN SELECT RAISE(ABORT, 'no more'); END"
)


@trusting
def test_an_outcome_that_could_not_be_written_is_told_by_the_record(
    ledger: Ledger, database: Database, path: Path
) -> None:
    with ledger.run("backfill"):
        ledger.record([Seen(make_order(1))])
        [(claimed, _)] = ledger.claim([make_order(1)])
        ledger.sending(claimed, 0)
        database.do(lambda c: c.exec_driver_sql(_NO_DELIVERIES))
        ledger.settle(claimed, Outcome(Result.DELIVERED, "", 200))
        with pytest.raises(LedgerError):
            ledger.flush()
    database.do(lambda c: c.exec_driver_sql("DROP TRIGGER no_deliveries"))
    assert state(ledger, 1) is State.SENDING
    later = make_book(database, FakeClock(datetime(2026, 3, 2, tzinfo=UTC)))
    with later.run("sync"):
        entry = inquire(later).entry(1)
    assert entry is not None
    assert (entry.state, entry.answer_status, entry.arrivals) == (State.DELIVERED, 200, 1)
    assert entry.updated_at >= datetime(2026, 3, 2, tzinfo=UTC) - timedelta(seconds=1)


def test_a_folder_that_takes_no_locks_is_told_as_such(database: Database, path: Path) -> None:
    path.with_name(path.name + ".locks").write_text("in the way")
    with pytest.raises(LedgerError, match="lock folder") as caught:
        hold(make_book(database, FakeClock()))
    assert caught.value.hint


@pytest.mark.parametrize("room", [0, 20])
def test_a_record_that_finds_no_room_ends_the_run_before_anything_is_sent(
    ledger: Ledger, path: Path, room: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(LedgerError, match="cannot be written") as caught, ledger.run("sync"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Make room" in caught.value.hint
    assert run_locks(path) == []
    with ledger.run("sync"):
        pass


def test_whoever_looks_whether_a_run_lives_does_not_keep_it_from_starting(path: Path) -> None:
    folder = locks_folder(path)
    folder.mkdir()
    held: list[FileLock] = []
    with (folder / "run-here.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        starting = threading.Thread(target=lambda: held.append(Locks(path).take_run("here")))
        starting.start()
        starting.join(0.05)
    starting.join()
    [lock] = held
    assert Locks(path).lives("here")
    lock.close()
    assert not Locks(path).lives("here")
