"""Kills and interrupts of real processes: nothing is lost, and nothing is sent twice unseen."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Sandbox
from tests.clocks import FakeClock
from tests.conftest import SandboxFactory
from tests.delivering import Desk

ORDERS = 600
WORKERS = 6
KILLS = 15


@pytest.fixture
def busy_shop(make_sandbox: SandboxFactory) -> Sandbox:
    sandbox = make_sandbox(ORDERS)
    sandbox.onetribe.latency_s = 0.01
    return sandbox


@pytest.fixture
def desk(busy_shop: Sandbox, location: Location) -> Desk:
    return Desk(busy_shop, location)


@contextmanager
def backfill(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    """`bc2ot backfill` as a process of its own. Several kills may leave the same order in doubt."""
    configuration = Path("bc2ot.yaml").absolute()
    configuration.write_text("delivery: {max_copies: 20}\n")
    more = {"BC2OT_WORKERS": str(WORKERS), "BC2OT_CONFIG": str(configuration)}
    environment = {**desk.environment, **more}
    command = [sys.executable, "-m", "onetribe_bc", "backfill", "--yes"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def await_arrivals(desk: Desk, process: subprocess.Popen[str], number: int) -> None:
    """Until One Tribe got so many orders, or the process has ended."""
    while len(desk.sandbox.onetribe.received) < number and process.poll() is None:
        time.sleep(0.001)


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal and wait until the process confirms it."""
    process.send_signal(number)
    assert process.stderr is not None
    while "Finishing what is in flight" not in process.stderr.readline():
        assert process.poll() is None


def recover(desk: Desk) -> None:
    """What the next run does first, a day later."""
    with closing(Database(desk.ledger)) as database:
        desk.book(database).recover()
    desk.let_unknown_orders_be_due()


def duplicated(desk: Desk) -> set[int]:
    return {order_id for order_id, times in desk.filed.items() if times > 1}


def flagged(desk: Desk) -> set[int]:
    def ask(ledger: Ledger) -> set[int]:
        entries = (ledger.entry(order_id) for order_id in desk.sandbox.store.ids())
        return {e.order_id for e in entries if e is not None and e.possible_duplicates}

    found: set[int] = desk.ask(ask)
    return found


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)  # without a lease to wait for
def test_repeated_kills_lose_no_order_and_every_duplicate_is_flagged(
    desk: Desk,
) -> None:
    dice = random.Random(20260301)
    kills = 0
    unknown = 0
    while kills < KILLS:
        with backfill(desk) as process:
            goal = len(desk.sandbox.onetribe.received) + dice.randrange(1, 28)
            await_arrivals(desk, process, goal)
            time.sleep(dice.random() * 0.01)
            process.kill()
            process.wait()
            assert process.returncode == -signal.SIGKILL, process.communicate()[1]
        kills += 1
        recover(desk)
        states = desk.states()
        assert states.get("sending", 0) == 0
        assert states.get("unknown", 0) <= WORKERS
        unknown += states.get("unknown", 0)
    with backfill(desk) as process:
        _, errors = process.communicate()
    assert process.returncode == ExitCode.DONE, errors
    assert set(desk.filed) == desk.owed()
    assert set(desk.states()) == {"delivered", "skipped"}
    assert duplicated(desk) <= flagged(desk)
    assert sum(times - 1 for times in desk.filed.values()) <= desk.flagged() <= unknown
    assert desk.run_locks() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_orders_in_flight_and_prints_the_summary(
    desk: Desk, number: signal.Signals
) -> None:
    gate = desk.sandbox.faults.hold("onetribe", times=None)
    with backfill(desk) as process:
        gate.wait_arrival()
        interrupt(process, number)
        gate.open()
        _, errors = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED
    for words in ("seen: 1 delivered", "asked to stop", "Interrupted.", "stay owed"):
        assert words in errors
    assert "stopped immediately" not in errors
    assert desk.states()["delivered"] == sum(desk.filed.values()) == 1
    assert set(desk.states()) <= {"delivered", "pending", "skipped"}
    desk.sandbox.faults.clear()
    again = desk.run()
    assert again.error is None
    assert set(desk.filed) == desk.owed()
    assert set(desk.filed.values()) == {1}
    assert desk.flagged() == 0


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)  # without a lease to wait for
def test_a_second_interrupt_stops_immediately_and_flags_orders_in_flight(
    desk: Desk,
) -> None:
    gate = desk.sandbox.faults.hold("onetribe", times=None)
    with backfill(desk) as process:
        gate.wait_arrival()
        interrupt(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.wait()
        assert process.stderr is not None
        assert "stopped immediately" in process.stderr.read()
    assert process.returncode == ExitCode.INTERRUPTED
    gate.open()
    desk.sandbox.faults.clear()
    again = desk.run()
    assert again.error is None
    assert set(desk.filed) == desk.owed()
    assert duplicated(desk) <= flagged(desk)
    assert len(flagged(desk)) == 1


def test_an_order_whose_response_was_not_recorded_before_the_kill_is_sent_again_and_flagged(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(30), tmp_path / "ledger.db", FakeClock())
    desk.skip = ()
    gate = desk.sandbox.faults.hold("onetribe")
    with backfill(desk) as process:
        gate.wait_arrival()
        # From here on the ledger takes no write, as behind a slow disk.
        with closing(desk.connect()) as locker:
            locker.execute("BEGIN IMMEDIATE")
            gate.open()
            while any(r.answered is None for r in desk.sandbox.onetribe.received):
                time.sleep(0.001)
            time.sleep(0.05)
            process.kill()
            process.wait()
            locker.rollback()
    arrived = set(desk.filed)
    assert len(arrived) == 1
    assert desk.run().error is None
    assert len(desk.filed) == 30
    assert duplicated(desk) == flagged(desk) == arrived
