"""What each answer of One Tribe means for an order and for the run."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from onetribe_bc.delivery.report import Report
from onetribe_bc.delivery.selection import OrderFilter
from onetribe_bc.errors import ExitCode, NoConnectionError, OneTribeUrlError, UnreachableError
from onetribe_bc.ids import parse_ids
from onetribe_bc.ledger.states import Disposition, State
from onetribe_bc.sandbox import Fault, FaultKind, Gate, Sandbox, Service
from tests.clocks import STARTED_AT, FakeClock
from tests.conftest import SandboxFactory
from tests.delivering import Desk, Run


@pytest.fixture
def desk(make_sandbox: SandboxFactory, tmp_path: Path) -> Desk:
    """A store of 12 orders, all of them eligible."""
    return Desk(make_sandbox(12), tmp_path / "ledger.db", skip=())


def first(desk: Desk) -> int:
    return desk.sandbox.store.ids()[0]


def only(order_id: int) -> OrderFilter:
    return OrderFilter(ids=parse_ids([str(order_id)]))


def answer(desk: Desk, status: int, *, times: int | None = None, **options: object) -> None:
    fault = Fault(Service.ONETRIBE, FaultKind.STATUS, status=status, times=times)
    desk.sandbox.faults.add(replace(fault, **options))  # type: ignore[arg-type]


def attempts(desk: Desk, order_id: int) -> list[str]:
    found: list[str] = [one.result for one in desk.ask(lambda ledger: ledger.attempts(order_id))]
    return found


def all_are_accounted_for(desk: Desk, run: Run) -> bool:
    return Counter(report.order_id for report in run.reports) == Counter(desk.sandbox.store.ids())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(desk: Desk, status: int) -> None:
    answer(desk, status)
    run = desk.run()
    assert run.error is None
    assert run.dispositions == {Disposition.DELIVERED: 12}
    entry = desk.entry(first(desk))
    assert entry is not None
    assert (entry.answer_status, entry.attempts, entry.deliveries) == (status, 1, 1)


@pytest.mark.parametrize(
    "kind", [FaultKind.EMPTY, FaultKind.TRUNCATED, FaultKind.GARBLED, FaultKind.CUT_JSON]
)
def test_a_2xx_is_a_delivery_whatever_its_body(desk: Desk, kind: FaultKind) -> None:
    desk.sandbox.faults.add(Fault(Service.ONETRIBE, kind))
    assert desk.run().dispositions == {Disposition.DELIVERED: 12}
    assert set(desk.filed.values()) == {1}


def test_an_html_page_with_a_200_is_a_delivery_and_one_with_a_502_is_not(desk: Desk) -> None:
    desk.sandbox.faults.add(Fault("onetribe", "html", status=502, times=1))
    desk.sandbox.faults.add(Fault("onetribe", "html", status=200))
    assert desk.run(only(first(desk))).dispositions == {Disposition.DELIVERED: 1}
    assert attempts(desk, first(desk)) == ["unknown", "delivered"]


def test_the_proof_of_a_delivery_is_its_ids_in_at_most_200_characters(desk: Desk) -> None:
    many = {f"{n}_id": n for n in range(100)}
    answer(desk, 200, body=json.dumps({"note": "x" * 9_000, **many}).encode())
    desk.run(only(first(desk)))
    entry = desk.entry(first(desk))
    assert entry is not None
    assert entry.answer.startswith('{"0_id":0,"1_id":1,')
    assert 150 < len(entry.answer) <= 200
    assert entry.delivered_at is not None


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 410])
def test_a_wrong_url_stops_the_run_and_leaves_every_order_owed(desk: Desk, status: int) -> None:
    answer(desk, status, headers=(("Location", desk.sandbox.onetribe_url),))
    run = desk.run()
    assert isinstance(run.error, OneTribeUrlError)
    assert run.error.exit_code == ExitCode.REFUSED
    assert str(status) in str(run.error)
    assert run.error.hint
    assert all_are_accounted_for(desk, run)
    assert set(run.dispositions) == {Disposition.PENDING}
    assert desk.states() == {"pending": 12}
    assert desk.filed == {}
    assert len(desk.sandbox.onetribe.requests) <= desk.workers
    desk.sandbox.faults.clear()
    assert desk.run().dispositions == {Disposition.DELIVERED: 12}
    assert desk.flagged() == 0


def test_a_redirect_is_not_followed_and_not_counted_as_a_delivery(desk: Desk) -> None:
    answer(desk, 302, headers=(("Location", desk.sandbox.onetribe_url),))
    desk.run(only(first(desk)))
    assert [request.method for request in desk.sandbox.onetribe.requests] == ["POST"]
    entry = desk.entry(first(desk))
    assert entry is not None
    assert (entry.state, entry.deliveries) == (State.PENDING, 0)
    assert "redirect" in entry.reason


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 521])
def test_a_temporary_failure_is_retried_with_full_jitter(desk: Desk, status: int) -> None:
    answer(desk, status, times=3)
    run = desk.run(only(first(desk)))
    assert run.dispositions == {Disposition.DELIVERED: 1}
    assert desk.clock.slept == [0.5, 1.0, 2.0]
    assert attempts(desk, first(desk)) == ["pending"] * 3 + ["delivered"]
    assert desk.filed == {first(desk): 1}
    assert desk.flagged() == 0


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_an_order_behind_a_gateways_answer_may_have_arrived_and_is_counted_so(
    desk: Desk, status: int
) -> None:
    answer(desk, status, times=1)
    run = desk.run(only(first(desk)))
    assert run.dispositions == {Disposition.DELIVERED: 1}
    assert attempts(desk, first(desk)) == ["unknown", "delivered"]
    assert desk.flagged() == 1


def test_a_gateway_that_loses_each_response_gets_one_more_copy_at_growing_intervals(
    desk: Desk,
) -> None:
    answer(desk, 504)
    one = only(first(desk))
    for hours, copies in ((0, 2), (0.9, 2), (0.2, 3), (100, 3)):
        desk.clock.advance(hours * 3600)
        desk.run(one)
        assert attempts(desk, first(desk)) == ["unknown"] * copies
    assert desk.run(one).dispositions == {Disposition.HELD: 1}


def test_a_gateway_in_front_of_a_one_tribe_that_is_down_ends_the_run_like_an_outage(
    desk: Desk,
) -> None:
    answer(desk, 502)
    run = desk.run(workers=1)
    assert run.error is not None
    assert run.error.exit_code == ExitCode.UNREACHABLE
    assert desk.states() == {"unknown": 1, "pending": 11}


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_an_order_behind_a_gateways_answer_is_held_where_unknown_ones_are(
    desk: Desk, status: int
) -> None:
    desk.on_unknown = "hold"
    answer(desk, status, times=1)
    assert desk.run(only(first(desk))).dispositions == {Disposition.UNKNOWN: 1}
    assert desk.run(only(first(desk))).dispositions == {Disposition.HELD: 1}


@pytest.mark.parametrize("before", [FaultKind.LOST_REPLY, FaultKind.GATEWAY])
def test_a_refused_second_copy_is_still_unknown_in_one_tribes_words(
    desk: Desk, before: FaultKind
) -> None:
    desk.attempts = 1
    desk.sandbox.faults.add(Fault(Service.ONETRIBE, before, times=1))
    assert desk.run(only(first(desk))).dispositions == {Disposition.UNKNOWN: 1}
    answer(desk, 409, body=b'{"error":"exists"}', times=1)
    assert desk.run(only(first(desk))).dispositions == {Disposition.UNKNOWN: 1}
    entry = desk.entry(first(desk))
    assert entry is not None
    assert "exists" in entry.reason
    assert (entry.arrivals, desk.flagged()) == (1, 0)


def test_a_409_for_an_order_that_never_arrived_fails_it(desk: Desk) -> None:
    answer(desk, 409, body=b"exists", times=1)
    assert desk.run(only(first(desk))).dispositions == {Disposition.FAILED: 1}


def test_rather_than_wait_longer_than_two_minutes_for_one_tribe_a_run_ends(desk: Desk) -> None:
    answer(desk, 429, headers=(("Retry-After", "3600"),))
    run = desk.run()
    assert isinstance(run.error, UnreachableError)
    assert "asks to wait 3,600 s" in str(run.error)
    assert desk.clock.monotonic() < 120
    assert desk.states() == {"pending": 12}


def test_retry_after_in_seconds_is_waited_for(desk: Desk) -> None:
    answer(desk, 429, times=1, headers=(("Retry-After", "7"),))
    assert desk.run(only(first(desk))).dispositions == {Disposition.DELIVERED: 1}
    assert sum(desk.clock.slept) == pytest.approx(7.0)


def test_a_retry_after_shorter_than_the_own_backoff_does_not_shorten_it(desk: Desk) -> None:
    answer(desk, 503, times=4, headers=(("Retry-After", "1"),))
    assert desk.run(only(first(desk))).dispositions == {Disposition.DELIVERED: 1}
    assert sum(desk.clock.slept) == pytest.approx(1 + 1 + 2 + 4)


@pytest.mark.parametrize(("asked", "level"), [("9", "DEBUG"), ("10", "WARNING")])
def test_a_wait_for_one_tribe_is_reported_from_ten_seconds_on(
    desk: Desk, caplog: pytest.LogCaptureFixture, asked: str, level: str
) -> None:
    caplog.set_level("DEBUG", "onetribe_bc.delivery.sender")
    answer(desk, 429, times=1, headers=(("Retry-After", asked),))
    desk.run(only(first(desk)))
    [record] = [record for record in caplog.records if "asks to wait" in record.message]
    assert record.levelname == level
    assert f"(order {first(desk)}): no order is sent for {asked}.0 s." in record.message


def test_retry_after_as_a_date_is_waited_for(desk: Desk) -> None:
    date = format_datetime(STARTED_AT + timedelta(seconds=40), usegmt=True)
    answer(desk, 503, times=1, headers=(("Retry-After", date),))
    assert desk.run(only(first(desk))).dispositions == {Disposition.DELIVERED: 1}
    assert sum(desk.clock.slept) == pytest.approx(40.0)


def test_while_one_tribe_asks_for_a_pause_no_worker_sends(desk: Desk) -> None:
    answer(desk, 429, times=1, headers=(("Retry-After", "110"),))
    assert desk.run().dispositions == {Disposition.DELIVERED: 12}
    assert desk.clock.monotonic() >= 110
    times = [entry.sent_at for entry in map(desk.entry, desk.sandbox.store.ids()) if entry]
    assert len(times) == 12
    assert attempts(desk, first(desk)) == ["pending", "delivered"]


@pytest.mark.parametrize("status", [400, 402, 406, 409, 413, 415, 422, 451])
def test_any_other_4xx_fails_only_this_order(desk: Desk, status: int) -> None:
    answer(desk, status, order_ids=frozenset([first(desk)]))
    run = desk.run()
    assert run.error is None
    assert run.dispositions == {Disposition.FAILED: 1, Disposition.DELIVERED: 11}
    assert run.ids(Disposition.FAILED) == {first(desk)}
    assert run.summary.exit_code == ExitCode.INCOMPLETE
    entry = desk.entry(first(desk))
    assert entry is not None
    assert (entry.state, entry.answer_status) == (State.FAILED, status)
    assert attempts(desk, first(desk)) == ["failed"]


def test_failed_orders_are_retried_by_the_next_run_or_left_as_configured(desk: Desk) -> None:
    answer(desk, 422, order_ids=frozenset([first(desk)]), times=1)
    desk.run()
    again = desk.run(retry_failed=False)
    assert again.dispositions == {Disposition.FAILED_BEFORE: 1, Disposition.ALREADY_DELIVERED: 11}
    assert desk.run().dispositions == {Disposition.DELIVERED: 1, Disposition.ALREADY_DELIVERED: 11}
    assert set(desk.filed.values()) == {1}


def test_an_oversized_or_invalid_order_fails_alone(desk: Desk) -> None:
    sizes = {i: len(desk.sandbox.store.raw(i)) for i in desk.sandbox.store.ids()}
    largest = max(sizes, key=lambda order_id: sizes[order_id])
    desk.sandbox.onetribe.max_body = sizes[largest] - 1
    run = desk.run()
    assert largest in run.ids(Disposition.FAILED)
    assert run.ids(Disposition.DELIVERED) == {i for i in sizes if sizes[i] < sizes[largest]}


def test_an_order_fails_after_its_last_attempt(desk: Desk) -> None:
    answer(desk, 503, order_ids=frozenset([first(desk)]))
    run = desk.run(attempts=3)
    assert run.error is None
    assert run.dispositions == {Disposition.FAILED: 1, Disposition.DELIVERED: 11}
    [report] = [report for report in run.reports if report.disposition is Disposition.FAILED]
    assert report.reason == "One Tribe responded with 503, to each of 3 attempts"
    assert attempts(desk, first(desk)) == ["pending", "pending", "failed"]


def test_many_failures_in_a_row_stop_the_run_and_the_rest_stays_owed(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(400), tmp_path / "ledger.db", skip=())
    answer(desk, 503)
    run = desk.run()
    assert isinstance(run.error, UnreachableError)
    assert "10 times in a row" in str(run.error)
    assert "503" in str(run.error)
    assert len(desk.sandbox.onetribe.received) < 10 + desk.workers
    seen = Counter(report.order_id for report in run.reports)
    assert set(seen.values()) == {1}
    assert set(run.dispositions) <= {Disposition.PENDING, Disposition.FAILED}
    assert desk.states().get("pending", 0) + desk.states().get("failed", 0) == len(seen)
    desk.sandbox.faults.clear()
    assert desk.run().error is None
    assert len(desk.filed) == 400
    assert set(desk.filed.values()) == {1}


def test_the_first_of_two_reasons_to_stop_is_reported(desk: Desk) -> None:
    """The tenth failure is the limit in a row, and the order's last attempt in an outage."""
    answer(desk, 503)
    run = desk.run(only(first(desk)), attempts=10, workers=1)
    assert isinstance(run.error, UnreachableError)
    assert "10 times in a row" in str(run.error)


def test_failures_that_are_not_in_a_row_do_not_stop_the_run(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(60), tmp_path / "ledger.db", skip=(), workers=1)
    for order_id in desk.sandbox.store.ids()[::2]:
        answer(desk, 503, order_ids=frozenset([order_id]), times=4)
    assert desk.run().dispositions == {Disposition.DELIVERED: 60}


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_without_a_connection_all_orders_stay_owed_and_none_is_unknown(desk: Desk) -> None:
    desk.url = f"http://127.0.0.1:{closed_port()}/order/key"
    run = desk.run(attempts=3)
    assert isinstance(run.error, NoConnectionError)
    assert run.error.exit_code == ExitCode.UNREACHABLE
    assert all_are_accounted_for(desk, run)
    assert desk.states() == {"pending": 12}
    assert desk.flagged() == 0


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.RESET])
def test_an_order_without_a_response_is_unknown_and_then_sent_again_and_flagged(
    desk: Desk, kind: FaultKind
) -> None:
    desk.sandbox.faults.add(Fault("onetribe", kind, order_ids=frozenset([first(desk)]), times=1))
    run = desk.run()
    assert run.error is None
    assert run.dispositions == {Disposition.UNKNOWN: 1, Disposition.DELIVERED: 11}
    assert run.summary.exit_code == ExitCode.INCOMPLETE
    assert "may have arrived" in run.summary.problems[0].reason
    assert desk.flagged() == 0
    again = desk.run()
    assert again.dispositions == {Disposition.DELIVERED: 1, Disposition.ALREADY_DELIVERED: 11}
    assert again.summary.possible_duplicates == desk.flagged() == 1
    assert desk.filed[first(desk)] == (2 if kind is FaultKind.LOST_REPLY else 1)


def test_an_order_whose_response_times_out_is_unknown(desk: Desk) -> None:
    gate = Gate()
    fault = Fault("onetribe", "hold", order_ids=frozenset([first(desk)]), gate=gate, after=True)
    desk.sandbox.faults.add(fault)
    run = desk.run(read_timeout_s=0.1)
    gate.open()
    assert run.dispositions == {Disposition.UNKNOWN: 1, Disposition.DELIVERED: 11}
    assert desk.states() == {"unknown": 1, "delivered": 11}


def test_held_unknown_orders_are_not_sent_again_unless_forced(desk: Desk) -> None:
    desk.on_unknown = "hold"
    desk.sandbox.faults.add(
        Fault("onetribe", "lost_reply", order_ids=frozenset([first(desk)]), times=1)
    )
    desk.run()
    assert desk.run().dispositions == {Disposition.HELD: 1, Disposition.ALREADY_DELIVERED: 11}
    assert desk.filed[first(desk)] == 1
    assert desk.run(only(first(desk)), force=True).dispositions == {Disposition.DELIVERED: 1}
    assert (desk.filed[first(desk)], desk.flagged()) == (2, 1)


def keys(sandbox: Sandbox, order_id: int) -> list[str | None]:
    received = sandbox.onetribe.received
    return [r.headers.get("Idempotency-Key") for r in received if r.order_id == order_id]


def test_the_idempotency_key_is_the_same_for_all_attempts_and_changes_with_force(
    desk: Desk,
) -> None:
    answer(desk, 503, times=2)
    desk.run(only(first(desk)))
    desk.run(only(first(desk)), force=True)
    one, two, three, forced = keys(desk.sandbox, first(desk))
    assert one == two == three != forced
    assert one


def test_another_version_of_an_undelivered_order_has_another_idempotency_key(desk: Desk) -> None:
    order_id = first(desk)
    desk.sandbox.faults.add(f"onetribe:status@422#{order_id}")
    desk.run(only(order_id))
    desk.run(only(order_id))
    desk.sandbox.store.modify(order_id, staff_notes="changed")
    desk.run(only(order_id))
    one, two, changed = keys(desk.sandbox, order_id)
    assert one == two != changed


def test_one_tribe_that_heeds_the_key_files_an_order_of_unknown_outcome_once(
    desk: Desk,
) -> None:
    desk.sandbox.onetribe.deduplicate = True
    desk.sandbox.faults.add(Fault("onetribe", "lost_reply", times=3))
    desk.run()
    desk.run()
    assert set(desk.filed.values()) == {1}
    assert desk.flagged() == 3


def test_no_two_orders_share_a_key(desk: Desk) -> None:
    desk.run()
    found = [keys(desk.sandbox, order_id) for order_id in desk.sandbox.store.ids()]
    assert len({key for each in found for key in each}) == 12


def test_at_most_one_post_per_worker_is_in_flight(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(60), tmp_path / "ledger.db", skip=(), workers=3)
    gate = Gate()
    desk.sandbox.faults.add(Fault("onetribe", "hold", skip=1, gate=gate))
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(desk.run()))
    thread.start()
    while len(desk.sandbox.onetribe.received) < 1 + 3:
        time.sleep(0.001)
    time.sleep(0.05)  # whoever would come fourth has come by now
    assert len(desk.sandbox.onetribe.received) == 1 + 3
    states = desk.states()
    gate.open()
    thread.join()
    assert states["sending"] >= 3
    assert runs[0].dispositions == {Disposition.DELIVERED: 60}


def test_the_ledger_can_be_written_while_a_post_is_in_flight(desk: Desk) -> None:
    gate = desk.sandbox.faults.hold("onetribe")
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(desk.run()))
    thread.start()
    gate.wait_arrival()
    with closing(desk.connect()) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO ledger_meta VALUES ('other', 'process')")
        other.execute("COMMIT")
    [(state,)] = desk.query(f"SELECT state FROM orders WHERE order_id = {first(desk)}")
    gate.open()
    thread.join()
    assert state == "sending"  # the claim was durable before the request left
    assert runs[0].dispositions == {Disposition.DELIVERED: 12}


class WaitingClock(FakeClock):
    """Whoever backs off for half a second, the first wait, waits for a signal instead."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def sleep(self, seconds: float) -> None:
        if seconds == 0.5:
            assert self.go_on.wait(10)
        super().sleep(seconds)


def test_a_worker_waiting_to_retry_sends_nothing_after_the_run_stopped(desk: Desk) -> None:
    waiting, wrong = desk.sandbox.store.ids()[:2]
    answer(desk, 503, order_ids=frozenset([waiting]))
    answer(desk, 401, order_ids=frozenset([wrong]))
    clock = WaitingClock()

    def on_report(report: Report) -> None:
        if report.order_id == wrong:
            clock.go_on.set()

    run = desk.run(clock=clock, workers=2, on_report=on_report)
    assert isinstance(run.error, OneTribeUrlError)
    assert sum(r.order_id == waiting for r in desk.sandbox.onetribe.received) == 1
    assert all_are_accounted_for(desk, run)
    assert "sending" not in desk.states()


def test_a_retry_leaves_the_order_to_a_run_that_claimed_it_meanwhile(desk: Desk) -> None:
    answer(desk, 503, order_ids=frozenset([first(desk)]), times=1)
    clock = WaitingClock()
    runs: list[Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(desk.run(only(first(desk)), clock=clock, exclusive=False))
    )
    thread.start()
    while attempts(desk, first(desk)) != ["pending"]:
        time.sleep(0.001)
    other = desk.run(only(first(desk)), exclusive=False)
    clock.go_on.set()
    thread.join()
    assert other.dispositions == {Disposition.DELIVERED: 1}
    assert runs[0].dispositions == {Disposition.ALREADY_DELIVERED: 1}
    assert desk.filed == {first(desk): 1}


def test_an_interrupt_while_waiting_to_try_again_leaves_the_order_owed(desk: Desk) -> None:
    answer(desk, 503, order_ids=frozenset([first(desk)]))

    class StoppingClock(FakeClock):
        def sleep(self, seconds: float) -> None:
            if seconds == 0.5:
                self.stop()
            super().sleep(seconds)

    run = desk.run(only(first(desk)), clock=StoppingClock())
    assert run.error is not None
    assert run.error.exit_code == ExitCode.INTERRUPTED
    assert run.dispositions == {Disposition.PENDING: 1}
    assert desk.states() == {"pending": 1}


def test_an_interrupt_during_a_pause_gives_the_claim_back_unsent(desk: Desk) -> None:
    answer(desk, 503, times=1, headers=(("Retry-After", "30"),))

    class StoppingClock(FakeClock):
        def sleep(self, seconds: float) -> None:
            if self.monotonic() > 10:
                self.stop()
            super().sleep(seconds)

    run = desk.run(clock=StoppingClock(), workers=1)
    assert run.error is not None
    assert run.error.exit_code == ExitCode.INTERRUPTED
    assert all_are_accounted_for(desk, run)
    assert desk.states() == {"pending": 12}
    assert attempts(desk, first(desk)) == ["pending"]
    assert desk.flagged() == 0


def test_an_outage_fails_no_order_however_few_are_due(desk: Desk) -> None:
    answer(desk, 503)
    run = desk.run(only(first(desk)))
    assert run.error is not None
    assert run.error.exit_code == ExitCode.UNREACHABLE
    assert desk.states() == {"pending": 1}


def test_a_first_order_that_another_run_took_holds_up_no_other(desk: Desk) -> None:
    """Until One Tribe has responded once, all workers wait for the first order's turn."""
    *_, last = desk.sandbox.store.ids()
    desk.run(only(last))
    with closing(desk.connect()) as ledger:
        ledger.execute(
            f"CREATE TRIGGER other_run AFTER INSERT ON orders WHEN new.order_id = {first(desk)} "
            f"BEGIN UPDATE orders SET state = 'delivered' WHERE order_id = {first(desk)}; END"
        )
    run = desk.run(workers=1)
    assert run.dispositions == {Disposition.DELIVERED: 10, Disposition.ALREADY_DELIVERED: 2}
    assert first(desk) not in desk.filed


def test_a_wrong_key_costs_one_request(desk: Desk) -> None:
    answer(desk, 401)
    run = desk.run(workers=8)
    assert run.error is not None
    assert run.error.exit_code == ExitCode.REFUSED
    assert len(desk.sandbox.onetribe.received) == 1
    assert desk.states() == {"pending": 12}


def test_retry_after_zero_still_waits_between_attempts(desk: Desk) -> None:
    answer(desk, 503, times=2, headers=(("Retry-After", "0"),))
    assert desk.run(only(first(desk))).dispositions == {Disposition.DELIVERED: 1}
    assert sum(desk.clock.slept) > 0


def test_a_response_after_another_run_took_the_order_over_counts_as_a_copy(desk: Desk) -> None:
    gate = desk.sandbox.faults.hold("onetribe")
    runs: list[Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(desk.run(only(first(desk)), exclusive=False))
    )
    thread.start()
    gate.wait_arrival()
    # As after a lease that ran out: the order is another run's by now.
    with closing(desk.connect()) as ledger:
        ledger.execute("UPDATE orders SET run_id = 'heir' WHERE state = 'sending'")
    gate.open()
    thread.join()
    assert runs[0].error is None
    assert runs[0].dispositions == {Disposition.DELIVERED: 1}
    entry = desk.entry(first(desk))
    assert entry is not None
    assert (entry.state, entry.run_id, entry.arrivals) == (State.SENDING, "heir", 1)
