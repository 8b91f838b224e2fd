"""How a run ends early: all that was seen is told, what was claimed is given back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from onetribe_bc.commands.backfill import backfill
from onetribe_bc.delivery.context import (
    Context,
    open_clients,
    policy_of,
)
from onetribe_bc.delivery.report import KEPT_PROBLEMS, Report, Summary
from onetribe_bc.delivery.selection import OrderFilter, Selection, select
from onetribe_bc.errors import (
    BusyError,
    ExitCode,
    InterruptedRunError,
    LedgerError,
    OneTribeUrlError,
)
from onetribe_bc.ledger.sqlite import LOCK_TIMEOUT_S
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.ledger.writer import Database
from onetribe_bc.sandbox import Fault, Gate
from tests.clocks import FakeClock
from tests.conftest import SandboxFactory
from tests.delivering import Desk, Run


@pytest.fixture
def desk(make_sandbox: SandboxFactory, tmp_path: Path) -> Desk:
    """A store of 320 orders, all of them eligible: two pages."""
    return Desk(make_sandbox(320), tmp_path / "ledger.db", skip=())


def each_once(run: Run) -> bool:
    return max(Counter(report.order_id for report in run.reports).values()) == 1


def nothing_hangs(desk: Desk) -> bool:
    """No claim is left, and no lock of a run."""
    return "sending" not in desk.states() and not desk.run_locks()


def finish(desk: Desk, *, in_doubt: int = 0) -> None:
    """The next run sends the rest, and nothing twice but what was in doubt, which is flagged."""
    desk.sandbox.faults.clear()
    desk.clock = FakeClock()
    run = desk.run()
    assert run.error is None
    assert set(desk.filed) == set(desk.sandbox.store.ids())
    doubled = sum(times - 1 for times in desk.filed.values())
    assert doubled <= desk.flagged() <= in_doubt


@pytest.mark.parametrize("after", [1, 40, 251])
def test_an_interrupt_finishes_orders_in_flight_and_the_next_run_continues(
    desk: Desk, after: int
) -> None:
    def on_report(report: Report) -> None:
        if report.disposition is Disposition.DELIVERED:
            delivered.append(report.order_id)
        if len(delivered) == after:
            desk.clock.stop()

    delivered: list[int] = []
    run = desk.run(on_report=on_report)
    assert isinstance(run.error, InterruptedRunError)
    assert run.error.exit_code == ExitCode.INTERRUPTED
    assert each_once(run)
    assert set(run.dispositions) == {Disposition.DELIVERED, Disposition.PENDING}
    assert run.ids(Disposition.DELIVERED) == set(desk.filed)
    assert desk.states() == {
        "delivered": len(desk.filed),
        "pending": run.dispositions[Disposition.PENDING],
    }
    assert nothing_hangs(desk)
    finish(desk)


def test_an_interrupt_before_the_first_order_sends_nothing(desk: Desk) -> None:
    def on_request(request: object) -> None:
        if len(desk.sandbox.requests) == 1:
            desk.clock.stop()

    desk.sandbox.on_request = on_request
    run = desk.run()
    assert isinstance(run.error, InterruptedRunError)
    assert desk.sandbox.onetribe.received == ()
    desk.sandbox.on_request = None
    finish(desk)


def test_an_interrupt_waits_for_the_responses_of_posts_in_flight(desk: Desk) -> None:
    gate = Gate()
    desk.sandbox.faults.add(Fault("onetribe", "hold", skip=1, gate=gate))
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(desk.run()))
    thread.start()
    while len(desk.sandbox.onetribe.received) < 1 + desk.workers:
        time.sleep(0.001)
    desk.clock.stop()
    gate.open()
    thread.join()
    assert isinstance(runs[0].error, InterruptedRunError)
    assert runs[0].dispositions[Disposition.DELIVERED] == 1 + desk.workers
    assert each_once(runs[0])
    assert nothing_hangs(desk)
    finish(desk)


def test_a_wrong_address_in_mid_run_accounts_for_all_that_was_seen(desk: Desk) -> None:
    desk.sandbox.faults.add(Fault("onetribe", "status", status=410, skip=30))
    run = desk.run()
    assert isinstance(run.error, OneTribeUrlError)
    assert each_once(run)
    assert run.dispositions[Disposition.DELIVERED] == 30
    assert set(run.dispositions) == {Disposition.DELIVERED, Disposition.PENDING}
    assert sum(desk.states().values()) == run.summary.seen
    assert nothing_hangs(desk)
    finish(desk)


def fail_the_ledger(desk: Desk, state: str, first_id: int) -> None:
    """No order from `first_id` on can be written with that state."""
    when = f"WHEN new.state = '{state}' AND new.order_id >= {first_id}"
    with closing(desk.connect()) as connection:
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER fail_{event} BEFORE {event} ON orders {when} "
                "BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )


def mend_the_ledger(desk: Desk) -> None:
    with closing(desk.connect()) as connection:
        for event in ("INSERT", "UPDATE"):
            connection.execute(f"DROP TRIGGER fail_{event}")


@pytest.mark.parametrize("state", ["sending", "delivered", "pending"])
def test_a_ledger_failure_stops_the_run_without_losses_or_unflagged_duplicates(
    desk: Desk, state: str
) -> None:
    desk.run(limit=20)
    fail_the_ledger(desk, state, desk.sandbox.store.ids()[270])
    run = desk.run()
    assert isinstance(run.error, LedgerError)
    assert run.error.exit_code == ExitCode.CONFIGURATION
    assert each_once(run)
    assert 20 <= len(desk.filed) < 320
    assert run.ids(Disposition.PENDING).isdisjoint(desk.filed)
    assert run.ids(Disposition.UNKNOWN) <= set(desk.filed)
    assert bool(run.ids(Disposition.UNKNOWN)) is (state == "delivered")
    mend_the_ledger(desk)
    finish(desk, in_doubt=desk.workers if state == "delivered" else 0)


def test_a_ledger_that_fails_at_the_end_does_not_hide_why_the_run_ended(desk: Desk) -> None:
    desk.run(limit=20)
    with closing(desk.connect()) as connection:
        connection.execute(
            "CREATE TRIGGER fail_release BEFORE UPDATE ON orders WHEN old.state = 'sending' "
            "BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
    desk.sandbox.faults.add(Fault("onetribe", "status", status=401))
    run = desk.run()
    assert isinstance(run.error, OneTribeUrlError)
    assert "401" in str(run.error)
    assert each_once(run)


def test_a_ledger_that_stays_locked_ends_the_run_without_unflagged_duplicates(
    desk: Desk,
) -> None:
    desk.run(limit=1)
    with open_run(desk, lock_timeout_s=0.01) as (context, selection):
        locker = desk.connect()
        reports = backfill(context, selection)
        next(report for report in reports if report.disposition is Disposition.DELIVERED)
        locker.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            list(reports)
        locker.close()
    finish(desk, in_doubt=desk.workers)


@contextmanager
def open_run(
    desk: Desk, *, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[tuple[Context, Selection]]:
    """Services and a selection of every order."""
    settings, clock = desk.settings(), desk.clock
    with (
        open_clients(settings, clock) as clients,
        closing(Database(settings.ledger, lock_timeout_s=lock_timeout_s)) as database,
    ):
        context = replace(clients, database=database).context(policy_of(settings))
        yield context, select(context.bigcommerce, OrderFilter(), now=clock.now)


def test_a_reader_that_turns_away_ends_the_run_and_every_claim_is_given_back(
    desk: Desk,
) -> None:
    with open_run(desk) as (context, selection):
        reports = backfill(context, selection)
        assert isinstance(reports, Iterator)
        for report, _ in zip(reports, range(10), strict=False):
            assert report.disposition is Disposition.DELIVERED
        reports.close()
    assert nothing_hangs(desk)
    assert set(desk.states()) == {"delivered", "pending"}
    assert desk.query("SELECT outcome FROM runs") == [("given up",)]
    finish(desk)


def test_a_reader_that_raises_ends_the_run_and_every_claim_is_given_back(desk: Desk) -> None:
    def on_report(report: Report) -> None:
        raise RuntimeError("the reader's own trouble")

    with pytest.raises(RuntimeError, match="own trouble"):
        desk.run(on_report=on_report)
    del on_report
    assert nothing_hangs(desk)
    finish(desk)


def test_a_bug_in_the_selection_ends_the_run_and_is_not_hidden(desk: Desk) -> None:
    with open_run(desk) as (context, selection):
        broken = Selection(selection.query, status_ids=7)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            list(backfill(context, broken))
    assert desk.query("SELECT outcome FROM runs") == [("bug: TypeError",)]
    assert nothing_hangs(desk)
    finish(desk)


def test_one_worker_is_enough(desk: Desk) -> None:
    run = desk.run(workers=1, limit=60)
    assert run.dispositions == {Disposition.DELIVERED: 60}
    assert len({r.order_id for r in desk.sandbox.onetribe.received}) == 60


def test_a_limit_that_falls_into_a_page_leaves_the_rest_of_it_alone(desk: Desk) -> None:
    run = desk.run(limit=255)
    assert run.dispositions == {Disposition.DELIVERED: 255}
    assert desk.states() == {"delivered": 255}


def test_fetching_is_at_most_a_page_and_a_queue_ahead_of_the_workers(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(2000), tmp_path / "ledger.db", skip=())
    gate = desk.sandbox.faults.hold("onetribe")
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(desk.run()))
    thread.start()
    gate.wait_arrival()
    time.sleep(0.05)
    pages = sum(request.path.endswith("/v2/orders") for request in desk.sandbox.requests)
    desk.clock.stop()
    gate.open()
    thread.join()
    assert pages <= 3
    assert desk.states()


def test_a_tally_names_a_thousand_orders_in_trouble_and_counts_all() -> None:
    summary = Summary()
    for order_id in range(KEPT_PROBLEMS + 5):
        summary.add(Report(order_id, Disposition.FAILED, "no", 1))
    assert len(summary.problems) == KEPT_PROBLEMS
    assert summary.counts()["failed"] == summary.seen == summary.possible_duplicates == 1005
    assert summary.exit_code == ExitCode.INCOMPLETE


def test_a_skipped_order_is_a_problem_only_if_requested_by_id() -> None:
    for strict, code in ((False, ExitCode.DONE), (True, ExitCode.INCOMPLETE)):
        summary = Summary(strict=strict)
        summary.add(Report(1, Disposition.SKIPPED, "status Incomplete"))
        assert summary.exit_code == code
        assert summary.skipped_reasons == {"status Incomplete": 1}
