"""Sync sends what changed and what is owed, misses nothing and fetches nothing needlessly."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onetribe_bc.clock import SystemClock
from onetribe_bc.commands.inbox import iter_named
from onetribe_bc.commands.sync import plan_sync
from onetribe_bc.delivery.context import open_context
from onetribe_bc.errors import CredentialsError, InputError, UnreachableError
from onetribe_bc.ledger.ledger import Ledger, Seen
from onetribe_bc.ledger.states import Disposition, Policy, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Fault, Request, Sandbox
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW, SandboxFactory
from tests.delivering import make_order
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.syncing import LONG_AGO, Station

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(make_sandbox: SandboxFactory, location: Location) -> Station:
    """A store of 60 orders, some of them Incomplete, that was never synced."""
    return Station(make_sandbox(60), location)


@pytest.fixture
def long_desk(make_sandbox: SandboxFactory, tmp_path: Path) -> Station:
    """Three pages."""
    return Station(make_sandbox(600), tmp_path / "ledger.db")


def an_incomplete(sandbox: Sandbox) -> int:
    return next(i for i in sandbox.store.ids() if sandbox.store.row(i).status_id == 0)


def a_real(sandbox: Sandbox) -> int:
    return next(i for i in sandbox.store.ids() if sandbox.store.row(i).status_id != 0)


def at_list(sandbox: Sandbox, number: int, act: Callable[[], object]) -> None:
    """Do something just before the `number`th request for a list of orders."""
    seen = 0
    lock = threading.Lock()

    def on_request(request: Request) -> None:
        nonlocal seen
        if not request.path.endswith("/v2/orders"):
            return
        with lock:
            seen += 1
            due = seen == number
        if due:
            act()

    sandbox.on_request = on_request


def arrives(desk: Station) -> None:
    """Everything eligible is at One Tribe, once."""
    assert set(desk.filed) == desk.owed()
    assert set(desk.filed.values()) == {1}


# The range of a sync


def test_the_first_sync_without_since_starts_now_and_no_later_one_starts_earlier(
    desk: Station,
) -> None:
    run = desk.sync()
    assert (run.error, run.reports, desk.filed) == (None, [], {})
    assert desk.synced_until is not None
    assert abs(desk.synced_until - SERVER_NOW) < timedelta(minutes=5)
    assert desk.sync().reports == []
    new = desk.sandbox.store.add()
    assert desk.sync().ids(Disposition.DELIVERED) == {new}
    assert desk.filed == {new: 1}


def test_a_sync_never_starts_before_the_since_of_the_first_one(desk: Station) -> None:
    since = SERVER_NOW - HOUR
    for _ in range(2):
        desk.sync(since)
        desk.sync()
    early = {i for i in desk.owed() if desk.sandbox.store.row(i).date_modified < since.timestamp()}
    assert early
    assert not early & set(desk.filed)


def test_an_earlier_since_extends_the_range(desk: Station) -> None:
    desk.sync()
    desk.sync(LONG_AGO)
    arrives(desk)
    assert desk.bookmark is not None
    assert desk.bookmark.begins_at == LONG_AGO


def test_with_since_it_sends_all_changes_and_then_only_new_ones(desk: Station) -> None:
    run = desk.sync(LONG_AGO)
    assert run.error is None
    assert run.ids(Disposition.DELIVERED) == desk.owed()
    before = len(desk.sandbox.requests)
    run = desk.sync()
    assert run.error is None
    assert not run.ids(Disposition.DELIVERED)
    assert 1 <= len(desk.sandbox.requests) - before <= 2
    new = desk.sandbox.store.add()
    assert desk.sync().ids(Disposition.DELIVERED) == {new}
    arrives(desk)


def test_a_since_in_the_future_is_refused(desk: Station) -> None:
    run = desk.sync(desk.clock.now() + HOUR)
    assert isinstance(run.error, InputError)
    assert "in the future" in str(run.error)
    assert desk.bookmark is None


def test_an_order_that_was_incomplete_and_became_real_later_is_sent(desk: Station) -> None:
    order_id = an_incomplete(desk.sandbox)
    desk.sync(LONG_AGO)
    entry = desk.entry(order_id)
    assert entry is not None
    assert (entry.state, entry.reason) == ("skipped", "status Incomplete")
    desk.sandbox.store.complete(order_id)
    assert desk.sync().ids(Disposition.DELIVERED) == {order_id}
    arrives(desk)


def test_an_order_modified_in_the_second_of_the_bookmark_is_not_missed(
    desk: Station,
) -> None:
    desk.overlap = timedelta(0)
    desk.sync(LONG_AGO)
    assert desk.synced_until is not None
    stamp = desk.synced_until.strftime("%a, %d %b %Y %H:%M:%S +0000")
    new = desk.sandbox.store.add(date_modified=stamp)
    assert desk.sync().ids(Disposition.DELIVERED) == {new}


def test_an_order_modified_while_the_response_is_in_flight_is_not_missed(desk: Station) -> None:
    """The Date header of a slow response is later than the state that it describes."""
    desk.overlap = timedelta(0)
    desk.sync(LONG_AGO)
    gate = desk.sandbox.faults.hold("bigcommerce", after=True)
    real_now = FollowingClock()
    thread = threading.Thread(target=lambda: desk.sync(clock=real_now))
    thread.start()
    gate.wait_arrival()
    new = desk.sandbox.store.add()
    second = desk.sandbox.clock.now()
    while desk.sandbox.clock.now() < second + 2:
        time.sleep(0.05)
    gate.open()
    thread.join()
    assert new not in desk.filed
    desk.sync(clock=real_now)
    assert desk.filed[new] == 1


class FollowingClock(SystemClock):
    """The machine's clock as if it were the sandbox's day, and an hour more."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = SERVER_NOW + HOUR - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self._ahead


@pytest.mark.parametrize("page", [1, 2, 3])
def test_changes_between_two_pages_hide_no_order(long_desk: Station, page: int) -> None:
    desk, store = long_desk, long_desk.sandbox.store
    ids = store.ids()
    incomplete = [i for i in ids if store.row(i).status_id == 0]

    def drift() -> None:
        for order_id in (ids[3], ids[260], ids[590]):
            store.modify(order_id, staff_notes="changed")
        for order_id in (ids[10], ids[300], ids[580]):
            store.remove(order_id)
        for order_id in (incomplete[0], incomplete[-1]):
            if order_id in store:
                store.complete(order_id)
        store.add()

    at_list(desk.sandbox, page, drift)
    assert desk.sync(LONG_AGO).error is None
    assert desk.sync().error is None
    assert desk.owed() <= set(desk.filed)
    assert set(desk.filed.values()) == {1}


# What is owed


def test_owed_orders_are_sent_however_old_and_deleted_ones_are_gone(desk: Station) -> None:
    desk.sync()
    desk.sandbox.faults.add("onetribe:status@503")
    assert isinstance(desk.run().error, UnreachableError)
    assert desk.states()["pending"] == len(desk.owed())
    desk.sandbox.faults.clear()
    deleted = a_real(desk.sandbox)
    desk.sandbox.store.remove(deleted)
    run = desk.sync()
    assert (run.error, run.ids(Disposition.MISSING)) == (None, {deleted})
    assert not desk.sync().ids(Disposition.MISSING)
    arrives(desk)


def test_unknown_orders_are_sent_again_and_flagged_or_held(desk: Station) -> None:
    order_id = a_real(desk.sandbox)
    desk.on_unknown = "hold"
    desk.sandbox.faults.add(f"onetribe:lost_reply#{order_id}")
    assert desk.sync(LONG_AGO).ids(Disposition.UNKNOWN) == {order_id}
    desk.sandbox.faults.clear()
    for _ in range(2):
        desk.sync()
    assert desk.filed[order_id] == 1
    assert (desk.states()["unknown"], desk.flagged()) == (1, 0)
    desk.on_unknown = "resend"
    assert desk.sync().ids(Disposition.DELIVERED) == {order_id}
    assert (desk.filed[order_id], desk.flagged()) == (2, 1)
    desk.sync()
    assert desk.filed[order_id] == 2


def test_a_failed_order_is_not_hammered_but_sent_again_when_it_changed(desk: Station) -> None:
    order_id = desk.sandbox.store.add()
    desk.sandbox.faults.add(f"onetribe:status@422#{order_id}")
    assert desk.sync(LONG_AGO).ids(Disposition.FAILED) == {order_id}
    for _ in range(3):
        assert desk.sync().ids(Disposition.FAILED_BEFORE) == {order_id}
    assert sum(r.order_id == order_id for r in desk.sandbox.onetribe.received) == 1
    desk.sandbox.faults.clear()
    assert desk.sync().ids(Disposition.FAILED_BEFORE) == {order_id}
    desk.sandbox.store.modify(order_id, staff_notes="corrected")
    assert desk.sync().ids(Disposition.DELIVERED) == {order_id}
    arrives(desk)


# The bookmark


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        *((kind, UnreachableError) for kind in ("status@500", "html@503", "html@404", "reset")),
        ("cut_json", UnreachableError),
        ("status@401", CredentialsError),
    ],
)
def test_when_bigcommerce_fails_in_mid_run_the_bookmark_stays(
    long_desk: Station, kind: str, error: type[Exception]
) -> None:
    desk = long_desk
    at_list(desk.sandbox, 2, lambda: desk.sandbox.faults.add(f"bigcommerce:{kind}"))
    assert isinstance(desk.sync(LONG_AGO).error, error)
    assert desk.bookmark is None
    assert "gone" not in desk.states()
    desk.sandbox.on_request = None
    desk.sandbox.faults.clear()
    assert desk.sync(LONG_AGO).error is None
    arrives(desk)


def test_during_a_one_tribe_outage_orders_stay_owed_and_the_next_sync_sends_them(
    long_desk: Station,
) -> None:
    desk = long_desk
    desk.sandbox.faults.add("onetribe:status@503")
    run = desk.sync(LONG_AGO)
    assert isinstance(run.error, UnreachableError)
    assert len(desk.sandbox.onetribe.received) < 40
    # Whatever the bookmark has passed is in the ledger.
    if desk.bookmark is not None:
        assert desk.states()["pending"] == len(desk.owed())
    desk.sandbox.faults.clear()
    assert desk.sync(None if desk.bookmark else LONG_AGO).error is None
    arrives(desk)


def test_the_bookmark_has_not_moved_while_an_order_of_the_window_is_not_in_the_ledger(
    long_desk: Station,
) -> None:
    desk = long_desk
    seen: list[tuple[datetime | None, int]] = []

    def look() -> None:
        seen.append((desk.synced_until, sum(desk.states().values())))

    at_list(desk.sandbox, 3, look)
    desk.sync(LONG_AGO)
    assert seen == [(None, 500)]
    assert desk.synced_until is not None


def test_a_since_later_than_the_bookmark_does_not_make_it_jump_over_the_gap(
    desk: Station,
) -> None:
    desk.overlap = timedelta(0)
    desk.sync(SERVER_NOW - 20 * 24 * HOUR)
    with desk.connect() as connection:
        connection.execute("UPDATE bookmarks SET synced_until = synced_until - 864000000")
    before = desk.synced_until
    assert before is not None
    within = desk.sandbox.store.add(
        date_modified=(before + HOUR).strftime("%a, %d %b %Y %H:%M:%S +0000")
    )
    assert desk.sync(SERVER_NOW - HOUR).error is None
    assert desk.synced_until == before
    assert within not in desk.filed
    assert desk.sync().ids(Disposition.DELIVERED) == {within}


# Clocks


@pytest.mark.parametrize("whose", ["store", "machine"])
def test_one_fast_clock_reading_does_not_make_later_syncs_miss_changes(
    desk: Station, whose: str
) -> None:
    desk.overlap = timedelta(0)
    desk.clock = FakeClock(SERVER_NOW)
    year = timedelta(days=365)
    if whose == "store":
        desk.sandbox.clock.offset_s = year.total_seconds()
        desk.sync(LONG_AGO)
        desk.sandbox.clock.offset_s = 0
    else:
        desk.sync(LONG_AGO, clock=FakeClock(SERVER_NOW + year))
    new = desk.sandbox.store.add()
    assert desk.sync().ids(Disposition.DELIVERED) >= {new}
    new = desk.sandbox.store.add()
    assert desk.sync().ids(Disposition.DELIVERED) == {new}
    assert desk.owed() <= set(desk.filed)


def test_when_both_clocks_ran_ahead_the_bookmark_comes_back_to_the_present(
    desk: Station,
) -> None:
    year = timedelta(days=365)
    desk.sandbox.clock.offset_s = year.total_seconds()
    desk.sync(clock=FakeClock(SERVER_NOW + year))
    desk.sync(clock=FakeClock(SERVER_NOW + year))
    desk.sandbox.clock.offset_s = 0
    assert desk.synced_until is not None
    assert desk.synced_until > SERVER_NOW + HOUR
    desk.sync()
    assert desk.synced_until < SERVER_NOW + HOUR
    new = desk.sandbox.store.add()
    assert new in desk.sync().ids(Disposition.DELIVERED)


def test_the_bookmark_leaves_out_the_time_that_the_first_response_took(desk: Station) -> None:
    at_list(desk.sandbox, 1, lambda: desk.clock.advance(600))
    assert desk.sync(LONG_AGO).error is None
    assert desk.synced_until is not None
    assert abs(desk.synced_until - (SERVER_NOW - HOUR / 6)) < timedelta(minutes=5)


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_a_first_sync_starts_at_the_earlier_of_two_clocks(desk: Station, ahead: timedelta) -> None:
    desk.sync(clock=FakeClock(SERVER_NOW + ahead))
    assert desk.bookmark is not None
    assert abs(desk.bookmark.begins_at - (SERVER_NOW + min(ahead, 0 * HOUR))) < HOUR / 12


def test_a_clock_that_steps_back_loses_nothing_and_sends_nothing_twice(desk: Station) -> None:
    desk.sync(LONG_AGO)
    reached = desk.synced_until
    desk.sandbox.clock.offset_s = -3600
    new = desk.sandbox.store.add()
    run = desk.sync(clock=FakeClock(SERVER_NOW - HOUR))
    assert run.error is None
    assert run.ids(Disposition.DELIVERED) == {new}
    desk.sandbox.clock.offset_s = 0
    newer = desk.sandbox.store.add()
    assert desk.sync().ids(Disposition.DELIVERED) == {newer}
    arrives(desk)
    assert reached is not None


# Two at once, and a dead BigCommerce


@pytest.mark.parametrize("kind", ["html@404", "html@503", "reset", "empty", "garbled"])
def test_a_bigcommerce_outage_never_marks_an_order_as_gone(desk: Station, kind: str) -> None:
    desk.sync()
    desk.sandbox.faults.add("onetribe:status@503")
    desk.run()
    desk.sandbox.faults.clear()
    owed = desk.states()["pending"]
    desk.sandbox.faults.add(f"bigcommerce:{kind}")
    assert isinstance(desk.sync().error, UnreachableError)
    assert desk.states()["pending"] == owed
    # Only single orders fail, as behind a proxy that knows not every path.
    desk.sandbox.faults.clear()
    desk.sandbox.faults.add(Fault("bigcommerce", kind.partition("@")[0], path="/orders/",
                                  status=int(kind.partition("@")[2] or 0)))  # fmt: skip
    assert "gone" not in desk.states()
    desk.sync()
    assert "gone" not in desk.states()
    desk.sandbox.faults.clear()
    desk.sync()
    arrives(desk)


# At the shell

SINCE = ("--since", "2000-01-01")


def test_the_first_sync_reports_that_it_starts_now_and_the_alternatives(shell: Shell) -> None:
    told = shell.run("sync")
    told.says(
        0,
        "first sync with this ledger: it starts from now",
        "--since",
        "bc2ot backfill",
        "0 orders seen.",
    )
    assert told.out == ""
    shell.run("sync").says(0, "orders modified since 2026-03-01 1", "+00:00, and what is owed.")
    shell.run("sync", "--since", "1h").says(0, "still continues from the end of the last one")


def test_it_reports_in_one_line_and_when_quiet_only_problems(shell: Shell) -> None:
    told = shell.run("sync", *SINCE).says(0)
    assert "Created a new ledger" in told.err
    summary = f"21 orders seen: {shell.eligible} delivered, 2 skipped (2 status Incomplete)."
    lines = [line for line in told.lines[1:] if "new ledger" not in line]
    # Order 218 is more than a year old; when this runs decides about the others.
    assert [line.partition(" Created more than a year ago")[0] for line in lines] == [summary]
    new = shell.sandbox.store.add()
    quiet = shell.run("-q", "sync")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, b"", b"")
    assert shell.state(new)["state"] == "delivered"
    new = shell.sandbox.store.add()
    shell.sandbox.faults.add(f"onetribe:status@422#{new}")
    assert len(shell.run("-q", "sync").says(1, f"Order {new} failed").lines) == 1
    assert len(shell.run("-q", "sync").says(0, "need attention: 1 refused").lines) == 1
    shell.sandbox.faults.add("bigcommerce:status@401")
    assert len(shell.run("-q", "sync").says(4, "401").lines) == 1


def test_json_reports_the_range_and_the_results(shell: Shell) -> None:
    assert shell.run("sync", "--json").json["since"] is None
    found = shell.run("sync", "--json", *SINCE).json
    assert found["since"] == "2000-01-01T00:00:00+00:00"
    assert (found["complete"], found["delivered"]) == (True, shell.eligible)
    first = shell.run("sync", "--json")
    assert first.code == 0
    shell.sandbox.faults.add("bigcommerce:status@503")
    broken = shell.run("sync", "--json")
    assert (broken.code, broken.json["complete"]) == (5, False)
    assert "503" in broken.json["ended_by"]


def test_a_second_sync_of_a_store_exits_with_6_and_sends_nothing(shell: Shell) -> None:
    gate = shell.sandbox.faults.hold("onetribe", times=None)
    process = shell.start("sync", *SINCE)
    gate.wait_arrival()
    before = len(shell.sandbox.requests)
    told = shell.run("sync").says(6, "Another sync or backfill of store sandbox1 is running: sync")
    assert "since" in told.err
    assert shell.run("-q", "sync").says(6).lines == []
    assert len(shell.sandbox.requests) == before
    gate.open()
    assert shell.finish(process).code == 0
    assert set(shell.sandbox.onetribe.counts().values()) == {1}


@pytest.mark.parametrize(("minutes", "is_reported"), [(59, False), (61, True)])
def test_quiet_reports_a_run_that_holds_the_store_only_after_an_hour(
    shell: Shell, minutes: int, is_reported: bool
) -> None:
    gate = shell.sandbox.faults.hold("onetribe", times=None)
    process = shell.start("sync", *SINCE)
    gate.wait_arrival()
    began = datetime.now(UTC) - timedelta(minutes=minutes)
    with closing(sqlite3.connect(shell.ledger)) as connection, connection:
        connection.execute("UPDATE runs SET started_at = ?", (int(began.timestamp() * 1000),))
    for command in (["sync"], ["backfill", "--yes"]):
        told = shell.run("-q", *command).says(6)
        assert (f"since {began:%F %T} UTC" in told.err) is is_reported
        assert len(told.lines) == is_reported
    gate.open()
    assert shell.finish(process).code == 0


def test_the_overlap_is_a_setting(shell: Shell) -> None:
    shell.configure(sync={"overlap": "0h"})
    shell.run("sync", *SINCE).says(0)
    shell.run("sync").says(0, "0 orders seen")
    shell.configure(sync={"overlap": "40d"})
    shell.run("sync").says(0, "already delivered")


def test_the_first_sync_to_a_new_url_requires_a_since(
    tmp_path: Path,
) -> None:
    with closing(Database(tmp_path / "ledger.db")) as database:
        ledger = Ledger(database, FakeClock(), store_hash="shop", destination="old")
        with ledger.run("sync"):
            ledger.record([Seen(make_order(1))])
        ledger = Ledger(database, store_hash=ledger.store_hash, destination="new")
        with pytest.raises(InputError, match="has 1 order of this store for another One Tribe URL"):
            plan_sync(ledger, since=None, overlap=timedelta(hours=48), now=FakeClock().now())
        since = FakeClock().now() - timedelta(days=7)
        plan = plan_sync(ledger, since=since, overlap=timedelta(hours=48), now=FakeClock().now())
        assert plan.since == since


def test_a_sync_reports_unknown_orders_that_are_held(shell: Shell) -> None:
    shell.configure(delivery={"on_unknown": "hold"})
    shell.run("sync").says(0)
    shell.sandbox.faults.add("onetribe:lost_reply#218")
    shell.run("push-order", "218").says(1)
    told = shell.run("sync").says(0, "1 unknown and held (bc2ot retry --unknown)")
    assert len(told.lines) == 3
    shell.run("-q", "sync").says(0, "1 unknown and held")
    shell.sandbox.faults.clear()
    shell.run("retry", "--unknown").says(0)
    assert "held" not in shell.run("sync").says(0).err


# A One Tribe that takes each order and responds after the timeout


def test_a_one_tribe_that_always_answers_late_gets_max_copies_and_then_the_order_is_held(
    desk: Station,
) -> None:
    desk.read_timeout_s = 0.05
    order_id = a_real(desk.sandbox)
    desk.sandbox.faults.add(f"onetribe:late@0.2#{order_id}")
    copied_at, before = [], 0
    for quarter in range(96):  # a day of syncs
        desk.sync(LONG_AGO if desk.bookmark is None else None)
        if (copies := desk.filed.get(order_id, 0)) != before:
            copied_at.append(quarter / 4)
            before = copies
        desk.clock.advance(900)
    assert copied_at == [0, 0.25, 1.25]
    assert desk.filed[order_id] == desk.max_copies == 3
    assert desk.flagged() == 2
    assert desk.inquire(Ledger.held) == 1
    assert desk.run().ids(Disposition.HELD) == {order_id}
    desk.max_copies = 4
    desk.sync()
    desk.max_copies = 3
    assert desk.filed[order_id] == 4
    desk.retry(states=[State.UNKNOWN])
    assert desk.filed[order_id] == 5
    desk.sandbox.faults.clear()
    assert desk.retry([order_id]).ids(Disposition.DELIVERED) == {order_id}


def test_an_order_that_is_held_after_max_copies_is_named_until_it_is_retried(
    shell: Shell,
) -> None:
    shell.configure(delivery={"timeout": {"read": 0.05}, "max_copies": 2})
    shell.run("sync").says(0)
    shell.sandbox.faults.add("onetribe:late@0.2#218")
    shell.run("push-order", "218").says(1, "Order 218 unknown: ", "It may have arrived")
    shell.run("sync").says(
        1,
        "Order 218 unknown (One Tribe may have it 2 times): ",
        "at growing intervals",
        "Orders that need attention: 1 unknown and held (bc2ot retry --unknown).",
    )
    shell.run("sync").says(0, "1 unknown and held (bc2ot retry --unknown)")
    named = "Order 218 unknown and held (One Tribe may have it 2 times): "
    shell.run("backfill", "--ids", "218").says(1, named, "It may have arrived", "retry --unknown")
    assert shell.sandbox.onetribe.counts()[218] == 2
    assert "may have arrived, 1 held: retry --unknown" in shell.run("status").out
    assert shell.run("status", "--json").json["held"] == 1
    history = shell.run("history", "218").out
    assert "Order 218: unknown and held (" in history
    assert "One Tribe may have it 2 times." in history
    shell.run("reconcile").says(1, "Held (delivery.on_unknown, delivery.max_copies): 1 unknown")
    shell.run("retry", "--unknown").says(1, "Order 218 unknown (One Tribe may have it 3 times)")
    shell.sandbox.faults.clear()
    shell.run("retry", "--unknown").says(0, "1 delivered", "3 possible duplicates")
    assert shell.sandbox.onetribe.counts()[218] == 4
    assert "held" not in shell.run("sync").says(0).err


# What callbacks named


def named(desk: Station, order_id: int, *, due_in: timedelta, looks: int = 0) -> None:
    """Put an order into the inbox, due after `due_in`."""
    desk.ask(lambda ledger: ledger.inbox.put(order_id, after=due_in).result())
    with closing(desk.connect()) as ledger:
        ledger.execute(f"UPDATE callbacks SET looks = {looks} WHERE order_id = {order_id}")


def test_an_order_that_was_named_when_a_clock_ran_ahead_is_sent(
    desk: Station,
) -> None:
    desk.sync()
    named(desk, a_real(desk.sandbox), due_in=timedelta(days=400), looks=1)
    assert desk.sync().ids(Disposition.DELIVERED) == {a_real(desk.sandbox)}


def test_an_order_that_was_not_found_waits_for_its_retry(desk: Station) -> None:
    desk.sync()
    named(desk, 90_000, due_in=timedelta(minutes=5), looks=3)
    assert desk.sync().dispositions == {}
    assert desk.status.states == {State.PENDING: 1}


def test_with_on_change_a_change_during_the_delivery_stays_in_the_inbox(desk: Station) -> None:
    order_id = a_real(desk.sandbox)
    desk.sync()
    named(desk, order_id, due_in=timedelta())
    desk.sync()
    desk.resend = "on-change"
    named(desk, order_id, due_in=timedelta())
    desk.sandbox.store.modify(order_id, staff_notes="changed")
    with closing(Database(desk.ledger)) as database, desk.book(database).run("backfill"):
        with closing(desk.connect()) as ledger:
            ledger.execute(
                "UPDATE orders SET state = 'sending', sha256 = 'other', run_id ="
                " (SELECT id FROM runs WHERE command = 'backfill')"
            )
        assert desk.sync().ids(Disposition.CLAIMED) == {order_id}
        assert desk.query("SELECT order_id, looks FROM callbacks") == [(order_id, 1)]


BEING_SENT = "state = 'sending', sha256 = 'other', run_id = 'another'"
SENT = "state = 'delivered', sha256 = 'other', run_id = NULL"


@pytest.mark.parametrize(
    ("before", "meanwhile", "kept"),
    [
        (SENT, f"{BEING_SENT}, attempts = attempts + 1", True),
        (BEING_SENT, SENT, True),
        (SENT, "attempts = attempts + 1", True),
        (SENT, SENT, False),
        (BEING_SENT, "state = 'delivered', run_id = NULL, sha256 = '{fetched}'", False),
    ],
    ids=["claimed", "settled", "claimed and settled", "untouched", "the same version"],
)
def test_a_change_fetched_while_another_version_is_sent_stays_in_the_inbox(
    desk: Station, before: str, meanwhile: str, kept: bool
) -> None:
    order_id = a_real(desk.sandbox)
    desk.sync(LONG_AGO)
    named(desk, order_id, due_in=timedelta())
    with (
        closing(desk.connect()) as ledger,
        open_context(desk.settings(), desk.clock, Policy(on_change=True)) as context,
    ):
        ledger.execute(f"UPDATE orders SET {before} WHERE order_id = {order_id}")
        pages = iter_named(context, context.ledger.inbox.all(), lookups=1)
        (order,) = next(pages).orders
        change = meanwhile.format(fetched=order.sha256)
        ledger.execute(f"UPDATE orders SET {change} WHERE order_id = {order_id}")
        assert list(pages) == []
        assert [one.order_id for one in context.ledger.inbox.all()] == [order_id] * kept
