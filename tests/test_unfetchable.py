"""One order that cannot be fetched or read stops no other, and is not lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from onetribe_bc.errors import ExitCode, RejectedError, UnreachableError
from onetribe_bc.ledger.inbox import DEFERRED_FOR
from onetribe_bc.ledger.states import Disposition, State
from onetribe_bc.sandbox import Fault, FaultKind, Service
from tests.conftest import SandboxFactory
from tests.syncing import LONG_AGO, Station

BAD = [
    FaultKind.UNFETCHABLE,
    FaultKind.ROW_NOT_UTF8,
    FaultKind.ROW_BROKEN_JSON,
    FaultKind.ROW_WITHOUT_ID,
]


@pytest.fixture
def station(make_sandbox: SandboxFactory, tmp_path: Path) -> Station:
    """A store of 12 orders, all of them eligible."""
    return Station(make_sandbox(12), tmp_path / "ledger.db", skip=())


def spoil(station: Station, kind: FaultKind, *ids: int) -> None:
    station.sandbox.faults.add(Fault(Service.BIGCOMMERCE, kind, order_ids=frozenset(ids)))


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_sync_sends_the_others_and_names_the_one_that_is_owed(
    station: Station, kind: FaultKind, place: int
) -> None:
    bad = station.sandbox.store.ids()[place]
    spoil(station, kind, bad)
    run = station.sync(LONG_AGO)
    assert run.error is None
    assert run.dispositions == {Disposition.DELIVERED: 11, Disposition.PENDING: 1}
    assert run.ids(Disposition.PENDING) == {bad}
    assert run.summary.exit_code is ExitCode.INCOMPLETE
    (problem,) = run.summary.problems
    assert problem.reason.startswith("cannot be fetched: ")
    entry = station.entry(bad)
    assert entry is not None
    assert (entry.state, entry.reason) == (State.PENDING, problem.reason)
    assert station.synced_until is not None


@pytest.mark.parametrize("kind", BAD)
def test_once_it_can_be_fetched_it_is_sent(station: Station, kind: FaultKind) -> None:
    bad = station.sandbox.store.ids()[3]
    spoil(station, kind, bad)
    station.sync(LONG_AGO)
    station.sandbox.faults.clear()
    station.clock.advance(DEFERRED_FOR[-1].total_seconds())
    station.overlap = timedelta()
    assert station.sync().ids(Disposition.DELIVERED) == {bad}
    assert station.states() == {"delivered": 12}
    assert station.inquire(lambda ledger: ledger.inbox.all()) == []


def test_an_owed_order_is_tried_again_at_growing_intervals(station: Station) -> None:
    bad = station.sandbox.store.ids()[0]
    spoil(station, FaultKind.UNFETCHABLE, bad)
    station.sync(LONG_AGO)
    station.overlap = timedelta()
    waits = []
    for _ in range(8):
        (named,) = station.inquire(lambda ledger: ledger.inbox.all())
        waits.append(named.due_at - station.clock.now())
        before = len(station.sandbox.requests)
        station.clock.advance(waits[-1].total_seconds() - 60)
        assert station.sync().reports == []
        assert len(station.sandbox.requests) - before < 3
        station.clock.advance(61)
        assert station.sync().ids(Disposition.PENDING) == {bad}
    expected = [*DEFERRED_FOR, DEFERRED_FOR[-1], DEFERRED_FOR[-1]]
    for wait, most in zip(waits, expected, strict=True):
        assert timedelta() <= most - wait < timedelta(minutes=1)


@pytest.mark.parametrize("status", [404, 500, 200])
def test_an_owed_order_that_answers_without_a_body_stops_no_other(
    station: Station, status: int
) -> None:
    bad = station.sandbox.store.ids()[0]
    station.ask(lambda ledger: ledger.inbox.put(bad).result())
    fault = Fault(Service.BIGCOMMERCE, FaultKind.EMPTY, status=status, order_ids=frozenset([bad]))
    station.sandbox.faults.add(fault)
    run = station.sync()
    assert run.error is None
    assert run.dispositions == {Disposition.PENDING: 1}
    entry = station.entry(bad)
    assert entry is not None
    assert entry.state is State.PENDING
    assert entry.reason.startswith("cannot be fetched: ")


@pytest.mark.parametrize("kind", BAD)
def test_a_backfill_a_retry_and_a_preview_go_on_as_well(station: Station, kind: FaultKind) -> None:
    bad = station.sandbox.store.ids()[7]
    spoil(station, kind, bad)
    previewed = [report.order_id for report, _ in station.preview()]
    assert sorted(previewed) == list(station.sandbox.store.ids())
    assert station.run().dispositions == {Disposition.DELIVERED: 11, Disposition.PENDING: 1}
    assert station.retry([bad]).dispositions == {Disposition.PENDING: 1}


@pytest.mark.parametrize("status", [302, 400, 405, 409, 410, 422, 423, 451, 501])
def test_whatever_bigcommerce_responds_for_one_order_the_others_are_sent(
    station: Station, status: int
) -> None:
    bad = station.sandbox.store.ids()[4]
    station.sandbox.faults.add(f"bigcommerce:unfetchable@{status}#{bad}")
    run = station.sync(LONG_AGO)
    assert run.error is None
    assert run.dispositions == {Disposition.DELIVERED: 11, Disposition.PENDING: 1}
    (problem,) = run.summary.problems
    assert problem.order_id == bad
    assert f"responded with {status}" in problem.reason


@pytest.mark.parametrize("status", [400, 422, 451])
def test_if_bigcommerce_rejects_every_list_no_order_is_blamed(
    station: Station, status: int
) -> None:
    station.sync(LONG_AGO - timedelta(days=1))
    fault = Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=status, path="v2/orders")
    station.sandbox.faults.add(fault)
    run = station.sync(LONG_AGO)
    assert isinstance(run.error, RejectedError)
    assert station.inquire(lambda ledger: ledger.inbox.all()) == []


@pytest.mark.parametrize(("status", "times"), [(400, 1), (404, 1), (422, 1), (500, 5)])
def test_only_the_count_failing_stops_no_backfill(
    station: Station, caplog: pytest.LogCaptureFixture, status: int, times: int
) -> None:
    fault = Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=status, times=times)
    station.sandbox.faults.add(fault)  # the count is the first request
    run = station.run()
    assert run.dispositions == {Disposition.DELIVERED: 12}
    assert run.expected is None
    assert "The number of orders is not known" in caplog.text


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.RESET, FaultKind.HTML])
def test_if_nothing_can_be_fetched_no_order_is_blamed(station: Station, kind: FaultKind) -> None:
    station.sync(LONG_AGO - timedelta(days=1))
    station.sandbox.faults.add(Fault(Service.BIGCOMMERCE, kind))
    run = station.sync(LONG_AGO)
    assert isinstance(run.error, UnreachableError)
    assert station.inquire(lambda ledger: ledger.inbox.all()) == []
