"""Backfills against both services: every order arrives once, and the numbers add up."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.delivery.selection import OrderFilter, resolve_statuses
from onetribe_bc.errors import (
    Bc2otError,
    BusyError,
    CredentialsError,
    ExitCode,
    InputError,
    UnreachableError,
)
from onetribe_bc.ids import parse_ids
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Fault, Gate
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW, ClientFactory, SandboxFactory
from tests.delivering import Desk, Run


@pytest.fixture
def desk(make_sandbox: SandboxFactory, location: Location) -> Desk:
    """A store of 300 orders, a tenth of them Incomplete: two pages."""
    return Desk(make_sandbox(300, example=True), location)


def ids_request(*texts: str, **fields: Any) -> OrderFilter:
    return OrderFilter(ids=parse_ids(texts), **fields)


def adds_up(desk: Desk, run: Run) -> None:
    """Each order of the store was reported on once."""
    assert Counter(r.order_id for r in run.reports) == Counter(desk.sandbox.store.ids())
    assert run.summary.seen == len(desk.sandbox.store) == sum(run.dispositions.values())


def test_every_order_arrives_once_and_the_numbers_add_up(desk: Desk) -> None:
    run = desk.run()
    assert run.error is None
    adds_up(desk, run)
    assert run.expected == 301
    assert set(desk.filed) == run.ids(Disposition.DELIVERED) == desk.owed()
    assert set(desk.filed.values()) == {1}
    incomplete = set(desk.sandbox.store.ids()) - desk.owed()
    assert run.ids(Disposition.SKIPPED) == incomplete
    assert run.summary.skipped_reasons == {"status Incomplete": len(incomplete)}
    assert run.summary.exit_code == ExitCode.DONE
    assert desk.states() == {"delivered": len(desk.owed()), "skipped": len(incomplete)}


def test_orders_from_pages_go_out_byte_for_byte(desk: Desk) -> None:
    desk.skip = ()
    assert desk.run().dispositions == {Disposition.DELIVERED: 301}
    for order_id in desk.sandbox.store.ids():
        assert desk.sandbox.onetribe.bodies(order_id) == (desk.sandbox.store.raw(order_id),)


def test_orders_fetched_singly_go_out_byte_for_byte(desk: Desk) -> None:
    ids = [i for i in desk.sandbox.store.ids() if i in desk.owed()]
    far_apart = ids[:: len(ids) // 3]
    for order_id in far_apart:
        assert desk.run(ids_request(str(order_id))).dispositions == {Disposition.DELIVERED: 1}
        assert desk.sandbox.onetribe.bodies(order_id) == (desk.sandbox.store.raw(order_id),)


def test_a_second_backfill_sends_nothing(desk: Desk) -> None:
    desk.run()
    again = desk.run()
    adds_up(desk, again)
    assert set(again.dispositions) == {Disposition.ALREADY_DELIVERED, Disposition.SKIPPED}
    assert set(desk.filed.values()) == {1}
    assert desk.flagged() == 0


def test_force_sends_again_and_flags_it(desk: Desk) -> None:
    request = ids_request("218")
    desk.run(request)
    forced = desk.run(request, force=True)
    assert forced.dispositions == {Disposition.DELIVERED: 1}
    assert forced.summary.possible_duplicates == desk.flagged() == 1
    assert desk.filed == {218: 2}


def test_a_changed_order_is_sent_again_only_if_configured(desk: Desk) -> None:
    request = ids_request("218")
    desk.run(request)
    desk.sandbox.store.modify(218, staff_notes="changed")
    assert desk.run(request).dispositions == {Disposition.ALREADY_DELIVERED: 1}
    desk.resend = "on-change"
    assert desk.run(request).dispositions == {Disposition.DELIVERED: 1}
    assert desk.run(request).dispositions == {Disposition.ALREADY_DELIVERED: 1}
    assert desk.sandbox.onetribe.bodies(218)[1] == desk.sandbox.store.raw(218)


def test_a_delivered_order_that_is_no_longer_eligible_is_not_sent_on_its_change(
    desk: Desk,
) -> None:
    desk.resend = "on-change"
    desk.skip = ("Cancelled",)
    request = ids_request("218")
    desk.run(request)
    desk.sandbox.store.modify(218, status_id=5)
    run = desk.run(request)
    assert run.dispositions == {Disposition.SKIPPED: 1}
    assert desk.filed == {218: 1}
    entry = desk.entry(218)
    assert entry is not None
    assert entry.state == "delivered"


def test_a_new_destination_starts_afresh_and_another_spelling_of_it_does_not(
    desk: Desk, make_sandbox: SandboxFactory
) -> None:
    desk.run()
    desk.url = desk.sandbox.onetribe_url + "/"
    assert Disposition.DELIVERED not in desk.run().dispositions
    desk.url = desk.sandbox.onetribe_url.replace("http", "HTTP", 1)
    assert Disposition.DELIVERED not in desk.run().dispositions
    other = make_sandbox(0)
    desk.url = other.onetribe_url
    assert desk.run().ids(Disposition.DELIVERED) == desk.owed()
    assert set(other.onetribe.counts()) == desk.owed()


def test_an_order_that_was_incomplete_is_sent_once_it_is_complete(desk: Desk) -> None:
    desk.run()
    late = min(set(desk.sandbox.store.ids()) - desk.owed())
    desk.sandbox.store.complete(late)
    assert desk.run().ids(Disposition.DELIVERED) == {late}


def test_statuses_narrow_a_run_down_by_name_and_id(desk: Desk) -> None:
    store = desk.sandbox.store
    for statuses, wanted in (
        (["shipped"], {2}),
        (["10"], {10}),
        (["Completed", "2", "Awaiting Payment"], {10, 2, 7}),
    ):
        run = desk.run(OrderFilter(statuses=statuses), force=True)
        expected = {i for i in store.ids() if store.row(i).status_id in wanted}
        assert run.ids(Disposition.DELIVERED) == expected
        assert run.summary.seen == len(expected)


def test_a_status_that_the_merchant_renamed_goes_by_both_names(
    desk: Desk, make_bigcommerce: ClientFactory
) -> None:
    client = make_bigcommerce(desk.sandbox)
    names = client.order_statuses()
    renamed = {i: name for i, all_ in names.items() for name in all_ if name != all_[0]}
    assert renamed, "the sandbox renames a status"
    status_id, own = next(iter(renamed.items()))
    run = desk.run(OrderFilter(statuses=[own.upper()]))
    store = desk.sandbox.store
    expected = {i for i in desk.owed() if store.row(i).status_id == status_id}
    assert run.ids(Disposition.DELIVERED) == expected
    assert resolve_statuses(client, [own]) == {status_id}


@pytest.mark.parametrize("status", ["15", "Sold", "99999999999"])
def test_a_status_that_the_store_does_not_have_is_refused(desk: Desk, status: str) -> None:
    run = desk.run(OrderFilter(statuses=[status]))
    assert isinstance(run.error, InputError)
    assert run.error.hint
    assert run.reports == []


def test_a_channel_narrows_a_run_down(desk: Desk) -> None:
    run = desk.run(OrderFilter(channel_id=2))
    rows = map(desk.sandbox.store.row, desk.owed())
    assert run.ids(Disposition.DELIVERED) == {row.id for row in rows if row.channel_id == 2}
    ids = ids_request(f"1-{max(desk.sandbox.store.ids())}", channel_id=2)
    assert Disposition.DELIVERED not in desk.run(ids).dispositions


def test_a_limit_sends_no_more_than_that_and_the_next_run_goes_on(desk: Desk) -> None:
    sent: set[int] = set()
    for _ in range(3):
        run = desk.run(limit=7)
        assert run.error is None
        assert len(run.ids(Disposition.DELIVERED)) == 7
        assert not run.ids(Disposition.DELIVERED) & sent
        sent |= run.ids(Disposition.DELIVERED)
    assert set(desk.filed) == sent
    assert "pending" not in desk.states()


def test_a_dry_run_sends_and_records_nothing_and_lists_what_it_would_send(desk: Desk) -> None:
    previews = desk.preview()
    assert {r.order_id for r, _ in previews if r.disposition is Disposition.TO_SEND} == desk.owed()
    assert len(previews) == 301
    assert desk.states() == {}
    assert desk.sandbox.onetribe.received == ()
    for report, order in previews:
        assert order is not None
        assert order.body == desk.sandbox.store.raw(report.order_id)
    assert desk.query("SELECT count(*) FROM runs") == [(0,)]
    assert len([r for r, _ in desk.preview(limit=5) if r.disposition is Disposition.TO_SEND]) == 5
    desk.run()
    assert all(report.disposition is not Disposition.TO_SEND for report, _ in desk.preview())
    missing = desk.preview(ids_request("99999"))
    assert [(report.disposition, order) for report, order in missing] == [
        (Disposition.MISSING, None)
    ]


def test_missing_ids_are_reported_and_only_known_ones_become_gone(desk: Desk) -> None:
    ids = [i for i in desk.sandbox.store.ids() if i in desk.owed()]
    known, delivered, kept = ids[0], ids[1], ids[2]
    desk.sandbox.faults.add(Fault("onetribe", "status", status=422, order_ids=frozenset([known])))
    desk.run(ids_request(f"{known},{delivered}"))
    desk.sandbox.store.remove(known)
    desk.sandbox.store.remove(delivered)
    run = desk.run(ids_request(f"{known},{delivered},{kept},99999"))
    assert run.ids(Disposition.MISSING) == {known, delivered, 99999}
    assert run.ids(Disposition.DELIVERED) == {kept}
    assert run.summary.exit_code == ExitCode.INCOMPLETE
    assert desk.states() == {"gone": 1, "delivered": 2}
    assert desk.entry(99999) is None


def test_ids_cannot_be_combined_with_dates() -> None:
    with pytest.raises(InputError, match="cannot be combined"):
        ids_request("218", since=SERVER_NOW)
    with pytest.raises(InputError, match="lower than --from-id"):
        OrderFilter(from_id=9, to_id=8)


def test_a_range_of_ids_is_a_window_on_them(desk: Desk) -> None:
    ids = desk.sandbox.store.ids()
    run = desk.run(OrderFilter(from_id=ids[10], to_id=ids[20]))
    assert {report.order_id for report in run.reports} == set(ids[10:21])


@pytest.mark.parametrize("by", ["created", "modified"])
def test_a_window_takes_in_both_of_its_ends(desk: Desk, by: Any) -> None:
    store = desk.sandbox.store
    dates = {i: getattr(store.row(i), f"date_{by}") for i in store.ids()}
    epoch = SERVER_NOW - timedelta(seconds=SERVER_NOW.timestamp())
    since, until = sorted(dates.values())[50], sorted(dates.values())[200]
    request = OrderFilter(epoch + timedelta(seconds=since), epoch + timedelta(seconds=until), by=by)
    run = desk.run(request)
    expected = {i for i, date in dates.items() if since <= date <= until}
    assert {report.order_id for report in run.reports} == expected
    assert run.expected == len(expected)


@pytest.mark.parametrize("offset_s", [0.0, 7200.0, -7200.0])
def test_an_order_created_after_the_start_is_not_in_the_run(desk: Desk, offset_s: float) -> None:
    desk.sandbox.clock.offset_s = offset_s
    before = set(desk.sandbox.store.ids())
    made: list[int] = []

    def on_request(request: Any) -> None:
        if request.path.endswith("/v2/orders") and not made:
            desk.sandbox.clock.offset_s += 5
            made.append(desk.sandbox.store.add())

    desk.sandbox.on_request = on_request
    run = desk.run()
    assert {report.order_id for report in run.reports} <= before
    if offset_s >= 0:
        assert {report.order_id for report in run.reports} == before
    desk.sandbox.clock.offset_s = 7300
    assert desk.run().ids(Disposition.DELIVERED) >= set(made)


def test_orders_that_come_go_and_change_between_pages_are_seen_once_each(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(520), tmp_path / "ledger.db", skip=())
    store = desk.sandbox.store
    ids = store.ids()
    pages: list[str] = []

    def on_request(request: Any) -> None:
        if request.path.endswith("/v2/orders"):
            pages.append(request.query)
            start = 10 * len(pages)
            store.remove(ids[start])  # of a page that has gone by, or is yet to come
            store.remove(ids[-start])
            for order_id in ids[start + 100 : start + 105]:
                store.modify(order_id, staff_notes="drift")

    desk.sandbox.on_request = on_request
    run = desk.run()
    assert run.error is None
    assert max(Counter(report.order_id for report in run.reports).values()) == 1
    assert {report.order_id for report in run.reports} >= set(store.ids())
    assert set(desk.filed) >= set(store.ids())
    assert set(desk.filed.values()) == {1}


def test_a_thousand_orders_cost_at_most_six_requests(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    desk = Desk(make_sandbox(1000), tmp_path / "ledger.db", skip=(), workers=8)
    assert desk.run().dispositions == {Disposition.DELIVERED: 1000}
    assert len(desk.sandbox.requests) <= 6
    assert set(desk.filed.values()) == {1}


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault("bigcommerce", "5xx", path="/v2/orders", skip=2), UnreachableError, 5),
        (
            Fault("bigcommerce", "status", status=401, path="/v2/orders", skip=2),
            CredentialsError,
            4,
        ),
    ],
    ids=["outage", "revoked token"],
)
def test_when_bigcommerce_fails_for_good_no_order_is_passed_over(
    desk: Desk, fault: Fault, error: type[Bc2otError], code: int
) -> None:
    desk.sandbox.faults.add(fault)
    run = desk.run()
    assert isinstance(run.error, error)
    assert run.error.exit_code == code
    assert run.summary.seen == sum(run.dispositions.values()) == 250
    assert code == ExitCode.UNREACHABLE or fault.struck == 1
    assert "sending" not in desk.states()
    desk.sandbox.faults.clear()
    assert desk.run().error is None
    assert set(desk.filed) == desk.owed()
    assert set(desk.filed.values()) == {1}


@pytest.mark.parametrize("on_unknown", ["resend", "hold"])
def test_under_faults_on_both_sides_nothing_is_lost_and_each_duplicate_is_flagged(
    make_sandbox: SandboxFactory, tmp_path: Path, on_unknown: str
) -> None:
    desk = Desk(make_sandbox(550), tmp_path / "ledger.db", workers=8, on_unknown=on_unknown)
    desk.max_copies = 20
    for kind in ("5xx", "reset", "truncated", "garbled", "bare_429", "cut_json"):
        desk.sandbox.faults.add(f"bigcommerce:{kind}=0.1")
    for kind in ("5xx=0.1", "reset=0.05", "lost_reply=0.05", "html=0.05@503", "truncated=0.1"):
        desk.sandbox.faults.add(f"onetribe:{kind}")
    for _ in range(12):
        desk.clock.advance(86_400)  # unknown orders are due again
        run = desk.run()
        assert sum(run.dispositions.values()) == run.summary.seen
        assert max(Counter(report.order_id for report in run.reports).values(), default=1) == 1
        if run.error is None and (on_unknown == "hold" or desk.owed() <= set(desk.filed)):
            break
    left = desk.owed() - set(desk.filed)
    doubled = sum(times - 1 for times in desk.filed.values())
    assert doubled <= desk.flagged()
    if on_unknown == "hold":
        assert doubled == 0
        counts = Counter(r.order_id for r in desk.sandbox.onetribe.received if r.answered is None)
        assert set(counts.values()) == {1}  # what got no answer was not sent again
        assert len(left) <= desk.states()["unknown"] + desk.states().get("failed", 0)
    else:
        assert left == set()
        twice = {i for i, times in desk.filed.items() if times > 1}
        lost = {r.order_id for r in desk.sandbox.onetribe.received if r.answered is None}
        assert twice <= lost


def start_backfill(desk: Desk) -> tuple[Gate, threading.Thread, list[Run]]:
    """Start a backfill whose first order waits at One Tribe; its run is in the list at the end."""
    gate = desk.sandbox.faults.hold("onetribe")
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(desk.run()))
    thread.start()
    gate.wait_arrival()
    return gate, thread, runs


def test_a_second_backfill_of_a_store_stops_immediately_and_sends_nothing(
    desk: Desk,
) -> None:
    gate, thread, runs = start_backfill(desk)
    second = desk.run(clock=FakeClock())
    posts = len(desk.sandbox.onetribe.received)
    gate.open()
    thread.join()
    assert isinstance(second.error, BusyError)
    assert second.error.exit_code == ExitCode.BUSY
    assert second.reports == []
    assert posts == 1
    assert runs[0].error is None
    assert desk.run().error is None  # the hold ends with the run


def test_single_orders_can_be_pushed_while_a_backfill_runs_and_nothing_goes_twice(
    desk: Desk,
) -> None:
    ids = sorted(desk.owed())
    gate, thread, runs = start_backfill(desk)
    pushed = desk.run(ids_request(",".join(map(str, ids))), exclusive=False, clock=FakeClock())
    gate.open()
    thread.join()
    assert runs[0].error is pushed.error is None
    assert set(desk.filed) == desk.owed()
    assert set(desk.filed.values()) == {1}
    assert pushed.ids(Disposition.CLAIMED)
    assert pushed.ids(Disposition.DELIVERED)
    assert not pushed.ids(Disposition.DELIVERED) & runs[0].ids(Disposition.DELIVERED)
    assert desk.flagged() == 0
