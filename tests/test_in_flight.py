"""What a dead run's record tells, and that it never tells too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger.in_flight import InFlight, Record, boot_id, read_record
from onetribe_bc.ledger.states import ABANDONED, UNSENT, Outcome, Result

DELIVERED = Outcome(Result.DELIVERED, "", 200)
pytestmark = pytest.mark.skipif(not boot_id(), reason="this system has no boot id")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def record(file: int) -> Iterator[InFlight]:
    record = InFlight(file, 2)
    yield record
    record.close()


def result(file: int, order_id: int) -> Result:
    return read_record(file).outcome(order_id, 1).result


def test_a_claim_that_was_never_sent_is_unsent(record: InFlight, file: int) -> None:
    assert read_record(file) == Record(trusted=True, outcomes={})
    assert read_record(file).outcome(218, 1) is UNSENT


def test_what_was_under_way_is_in_doubt(record: InFlight, file: int) -> None:
    record.sent(0, 218, 1)
    record.sent(1, 2**63 - 1, 1)
    assert read_record(file).outcomes == {(218, 1): ABANDONED, (2**63 - 1, 1): ABANDONED}
    assert read_record(file).outcome(219, 1) is UNSENT


@pytest.mark.parametrize("ended", list(Result))
def test_what_was_answered_is_known_though_the_ledger_was_not_told(
    record: InFlight, file: int, ended: Result
) -> None:
    record.sent(1, 218, 1)
    record.answered(1, 218, 1, Outcome(ended, "why", 503))
    told = read_record(file).outcome(218, 1)
    assert (told.result, told.answer_status) == (ended, 503)
    assert "killed before it could write this down" in told.reason


def test_an_outcome_without_an_answer_has_no_status(record: InFlight, file: int) -> None:
    record.sent(0, 218, 1)
    record.answered(0, 218, 1, Outcome(Result.PENDING))
    assert read_record(file).outcome(218, 1).answer_status is None


def test_an_answer_stays_told_while_the_worker_sends_its_next_order(
    record: InFlight, file: int
) -> None:
    written: Future[None] = Future()
    record.sent(0, 1, 1)
    record.answered(0, 1, 1, DELIVERED)
    record.keep_until(0, written)
    record.sent(0, 2, 1)
    assert (result(file, 1), result(file, 2)) == (Result.DELIVERED, Result.UNKNOWN)
    record.answered(0, 2, 1, DELIVERED)
    record.keep_until(0, Future())
    written.set_result(None)
    record.sent(0, 3, 1)
    assert result(file, 1) is Result.UNSENT  # the ledger has it
    assert (result(file, 2), result(file, 3)) == (Result.DELIVERED, Result.UNKNOWN)


def test_an_answer_that_the_ledger_did_not_take_is_not_overwritten(
    record: InFlight, file: int
) -> None:
    lost: Future[None] = Future()
    record.sent(0, 1, 1)
    record.answered(0, 1, 1, DELIVERED)
    record.keep_until(0, lost)
    record.sent(0, 2, 1)
    record.answered(0, 2, 1, DELIVERED)
    record.keep_until(0, Future())
    lost.set_exception(LedgerError("The disk is full."))
    with pytest.raises(LedgerError, match="full"):
        record.sent(0, 3, 1)
    assert (result(file, 1), result(file, 2)) == (Result.DELIVERED, Result.DELIVERED)
    assert result(file, 3) is Result.UNSENT


def test_an_answer_to_an_earlier_claim_says_nothing_of_a_later_one(
    record: InFlight, file: int
) -> None:
    record.sent(0, 218, 1)
    record.answered(0, 218, 1, Outcome(Result.FAILED, "", 422))
    assert read_record(file).outcome(218, 2) is UNSENT
    record.sent(1, 218, 2)
    assert read_record(file).outcome(218, 2) is ABANDONED
    assert read_record(file).outcome(218, 1).result is Result.FAILED


def test_a_second_try_of_an_order_puts_it_in_doubt_again(record: InFlight, file: int) -> None:
    for other in (None, 1):
        if other is not None:
            record.sent(0, other, 1)
        for _ in range(3):
            done: Future[None] = Future()
            record.sent(0, 218, 1)
            assert result(file, 218) is Result.UNKNOWN
            record.answered(0, 218, 1, Outcome(Result.PENDING, "", 503))
            assert result(file, 218) is Result.PENDING
            record.keep_until(0, done)
            done.set_result(None)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 6), st.none() | st.sampled_from(Result)),
        max_size=20,
    )
)
def test_the_last_word_of_each_worker_is_told_and_never_two_in_doubt(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[int, int, Result | None]],
) -> None:
    path = tmp_path_factory.mktemp("record") / "run.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    record = InFlight(descriptor, 3)
    last: dict[int, tuple[int, Result]] = {}
    for worker, number, ended in history:
        order_id = 3 * number + worker  # an order has one worker in a run
        record.sent(worker, order_id, 1)
        last[worker] = (order_id, Result.UNKNOWN)
        if ended is not None:
            record.answered(worker, order_id, 1, Outcome(ended))
            last[worker] = (order_id, ended)
            written: Future[None] = Future()
            written.set_result(None)
            record.keep_until(worker, written)
    told = read_record(descriptor)
    for order_id, ended in last.values():
        assert told.outcome(order_id, 1).result is ended
    record.close()
    os.close(descriptor)
    assert told.trusted


def test_after_a_restart_of_the_machine_every_claim_is_in_doubt(
    record: InFlight, file: int
) -> None:
    record.sent(0, 1, 1)
    record.answered(0, 1, 1, DELIVERED)
    os.pwrite(file, b"another-boot".ljust(64, b"\0"), 8)
    told = read_record(file)
    assert not told.trusted
    assert told.outcome(1, 1) is told.outcome(2, 1) is ABANDONED


@given(st.binary(max_size=200))
def test_a_file_that_is_no_record_puts_every_claim_in_doubt(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.mktemp("record") / "run.lock"
    path.write_bytes(body)
    descriptor = os.open(path, os.O_RDONLY)
    assert read_record(descriptor).outcome(218, 1) is ABANDONED
    os.close(descriptor)


@given(st.binary(max_size=100))
def test_garbage_in_the_slots_is_never_taken_for_an_answer_that_does_not_exist(
    tmp_path_factory: pytest.TempPathFactory, slots: bytes
) -> None:
    path = tmp_path_factory.mktemp("record") / "run.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    InFlight(descriptor, 0).close()
    os.pwrite(descriptor, slots, 72)
    told = read_record(descriptor)
    os.close(descriptor)
    assert told.trusted is (len(slots) % 16 == 0)
    assert all(outcome.result in Result for outcome in told.outcomes.values())


@pytest.mark.parametrize(
    ("result_byte", "phase", "told"),
    [(9, 2, ABANDONED), (255, 2, ABANDONED), (0, 3, ABANDONED), (0, 255, ABANDONED)],
)
def test_an_unknown_result_or_phase_is_in_doubt(
    record: InFlight, file: int, result_byte: int, phase: int, told: Outcome
) -> None:
    record.sent(0, 218, 1)
    slot = 72 + 16 * next(
        i for i in range(4) if os.pread(file, 8, 72 + 16 * i) == (218).to_bytes(8, "little")
    )
    os.pwrite(file, bytes([result_byte, phase]), slot + 14)
    assert read_record(file).outcome(218, 1) is told


def test_an_order_that_two_slots_tell_of_is_in_doubt(record: InFlight, file: int) -> None:
    for worker in (0, 1):
        record.sent(worker, 218, 1)
        record.answered(worker, 218, 1, DELIVERED)
    assert read_record(file).outcome(218, 1) is ABANDONED


@pytest.mark.parametrize("length", [0, 1, 71, 73, 83])
def test_a_record_that_was_cut_off_puts_every_claim_in_doubt(
    record: InFlight, file: int, tmp_path: Path, length: int
) -> None:
    record.sent(0, 1, 1)
    short = tmp_path / "short.lock"
    short.write_bytes(os.pread(file, length, 0))
    descriptor = os.open(short, os.O_RDONLY)
    assert read_record(descriptor).outcome(2, 1) is ABANDONED
    os.close(descriptor)


_DIE = """
import os, signal, sys
from onetribe_bc.ledger.states import Outcome, Result
from onetribe_bc.ledger.in_flight import InFlight
record = InFlight(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), 3)
record.sent(0, 1, 1)
record.sent(1, 2, 1)
record.answered(1, 2, 1, Outcome(Result.DELIVERED, "", 201))
record.sent(2, 3, 1)
record.answered(2, 3, 1, Outcome(Result.FAILED, "", 422))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_record_survives_the_kill_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    died = subprocess.run([sys.executable, "-c", _DIE, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    descriptor = os.open(path, os.O_RDONLY)
    told = read_record(descriptor)
    os.close(descriptor)
    assert told.trusted
    assert told.outcome(1, 1) is ABANDONED
    assert (told.outcome(2, 1).result, told.outcome(2, 1).answer_status) == (Result.DELIVERED, 201)
    assert (told.outcome(3, 1).result, told.outcome(3, 1).answer_status) == (Result.FAILED, 422)
    assert told.outcome(4, 1) is UNSENT
