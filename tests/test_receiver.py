"""The receiver at work: each order that callbacks name is sent once, whatever goes wrong."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.commands import receiver as receiver_module
from onetribe_bc.commands.inbox import CLAIMED_RETRY_AFTER, RETRY_AFTER
from onetribe_bc.commands.receiver import RESEND_AFTER, Receiver
from onetribe_bc.delivery.context import open_clients
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.locks import locks_beside
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.web.service import Service
from tests.callbacks import (
    CREATED,
    STATUS_UPDATED,
    UPDATED,
    Site,
    callback,
    post,
    until,
)
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW, SandboxFactory
from tests.wire import WireServer, answer, read_request

NEW_ID = 90_000


@pytest.fixture
def site(sandbox: Sandbox, location: Location) -> Site:
    return Site(sandbox, location)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SERVER_NOW + timedelta(hours=1))


@pytest.fixture
def service(site: Site, clock: FakeClock) -> Iterator[Service]:
    with site.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        yield service


def real_ids(site: Site) -> list[int]:
    """The orders of the store that are not Incomplete."""
    return [i for i in site.sandbox.store.ids() if site.sandbox.store.row(i).status_id]


def name(service: Service, *order_ids: int, scope: str = CREATED) -> None:
    for order_id in order_ids:
        assert post(service.application, callback(order_id, scope)).status == 200


def settled(site: Site) -> bool:
    """Whether no order is waiting, owed or in flight."""
    return not site.inbox() and not {"pending", "sending", "unknown"} & set(site.states())


def fetched(site: Site) -> list[str]:
    """The requests for orders, without those of the periodic sync."""
    found = [r for r in site.sandbox.requests if "orders" in r.path]
    return [f"{r.path}?{r.query}" for r in found if "modified" not in r.query]


def sent_and_settled(site: Site, clock: FakeClock, counts: dict[int, int]) -> bool:
    """Advances the clock with each call, so that claimed orders become due for a retry."""
    clock.advance(1)
    return site.sandbox.onetribe.counts() == counts and settled(site)


# Once each


def test_created_updated_and_status_updated_together_are_one_delivery(
    site: Site, service: Service
) -> None:
    for scope in (CREATED, UPDATED, STATUS_UPDATED, CREATED):
        name(service, 218, scope=scope)
    until(lambda: settled(site))
    assert site.sandbox.onetribe.counts() == {218: 1}
    assert site.sandbox.onetribe.bodies(218) == (site.sandbox.store.raw(218),)


def test_a_callback_for_a_delivered_order_costs_no_request(site: Site, service: Service) -> None:
    name(service, 218)
    until(lambda: site.states() == {"delivered": 1})
    until(lambda: settled(site))
    before = fetched(site)
    name(service, 218, scope=UPDATED)
    until(lambda: not site.inbox())
    assert fetched(site) == before
    assert site.sandbox.onetribe.counts() == {218: 1}


def test_an_order_is_skipped_while_incomplete_and_sent_once_complete(
    site: Site, service: Service
) -> None:
    store = site.sandbox.store
    order_id = store.add(status_id=0)
    name(service, order_id)
    until(lambda: site.states() == {"skipped": 1})
    store.complete(order_id)
    name(service, order_id, scope=STATUS_UPDATED)
    until(lambda: site.sandbox.onetribe.counts() == {order_id: 1})


def test_with_on_change_each_change_is_sent_once(site: Site, clock: FakeClock) -> None:
    site.resend = "on-change"
    with site.serving(clock) as service:
        name(service, 218)
        # The first sync may come across it, too, while it is being sent.
        until(partial(sent_and_settled, site, clock, {218: 1}))
        for number in range(3):
            site.sandbox.store.modify(218, staff_notes=f"note {number}")
            for _ in range(2):
                name(service, 218, scope=UPDATED)
            until(partial(sent_and_settled, site, clock, {218: number + 2}))
    assert len(set(site.sandbox.onetribe.bodies(218))) == 4


def test_a_change_that_comes_while_the_order_is_being_sent_is_sent_after_it(
    site: Site, clock: FakeClock
) -> None:
    site.resend = "on-change"
    onetribe = site.sandbox.onetribe
    onetribe.latency_s = 0.5
    with site.serving(clock) as service:
        name(service, 218)
        until(lambda: site.states() == {"sending": 1})
        site.sandbox.store.modify(218, staff_notes="changed")
        name(service, 218, scope=UPDATED)
        until(lambda: site.query("SELECT 1 FROM callbacks WHERE due_at > received_at"))

        def sent_again() -> bool:
            clock.advance(CLAIMED_RETRY_AFTER[0].total_seconds())
            return onetribe.counts() == {218: 2}

        until(sent_again)
    assert onetribe.bodies(218)[-1] == site.sandbox.store.raw(218)


def claimed_by_the_dead(site: Site, order_id: int) -> None:
    """A process was sending another version of the order when it was killed."""
    assert isinstance(site.ledger, Path)
    (locks_beside(site.ledger) / "run-dead.lock").touch()
    with closing(site.connect()) as ledger:
        ledger.execute(
            "UPDATE orders SET state = 'sending', state_before = 'delivered', run_id = 'dead',"
            f" sha256 = 'other', attempts = attempts + 1 WHERE order_id = {order_id}"
        )


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_change_to_an_order_that_a_dead_process_was_sending_is_sent_later(
    site: Site, clock: FakeClock
) -> None:
    site.resend = "on-change"
    with site.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM runs WHERE command = 'sync' AND outcome = 'done'"))
        name(service, 218)
        until(lambda: settled(site))
        claimed_by_the_dead(site, 218)
        site.sandbox.store.modify(218, staff_notes="changed")
        before = len(fetched(site))
        name(service, 218, scope=UPDATED)
        for looks, wait in enumerate(CLAIMED_RETRY_AFTER[:3]):
            until(partial(site.query, f"SELECT 1 FROM callbacks WHERE looks = {looks + 1}"))
            assert len(fetched(site)) == before + looks + 1
            clock.advance(wait.total_seconds())
        clock.advance(receiver_module.RECOVER_EVERY_S)
        until(partial(sent_and_settled, site, clock, {218: 2}))
    assert site.sandbox.onetribe.bodies(218)[-1] == site.sandbox.store.raw(218)


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_orders_of_a_dead_process_are_sent_before_the_next_sync(
    site: Site, service: Service, clock: FakeClock
) -> None:
    name(service, 218)
    until(lambda: settled(site))
    claimed_by_the_dead(site, 218)
    clock.advance(receiver_module.RECOVER_EVERY_S)
    until(lambda: site.sandbox.onetribe.counts() == {218: 2})
    until(lambda: settled(site))
    assert site.flagged() == 2


def test_a_live_run_records_its_counts(site: Site, service: Service) -> None:
    name(service, 218)
    running = "SELECT seen, delivered FROM runs WHERE command = 'serve' AND ended_at IS NULL"
    until(lambda: site.query(running) == [(1, 1)])


# Orders that BigCommerce does not have


def test_an_order_that_bigcommerce_does_not_have_yet_is_retried(
    site: Site, service: Service, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "onetribe_bc.commands.inbox")
    name(service, NEW_ID)
    for looks, wait in enumerate(RETRY_AFTER[:2]):
        until(partial(site.query, f"SELECT 1 FROM callbacks WHERE looks = {looks + 1}"))
        until(partial(site.query, "SELECT 1 FROM orders WHERE reason LIKE '%not have it yet'"))
        clock.advance(wait.total_seconds())
    site.sandbox.store.add(id=NEW_ID, status_id=11)
    clock.advance(RETRY_AFTER[2].total_seconds())
    until(lambda: site.sandbox.onetribe.counts() == {NEW_ID: 1})
    assert f"Order {NEW_ID}: not found at BigCommerce; retrying in 5 seconds." in caplog.messages


def test_after_the_last_retry_the_order_is_gone_until_another_callback(
    site: Site, service: Service, clock: FakeClock
) -> None:
    name(service, NEW_ID)
    for looks, wait in enumerate(RETRY_AFTER):
        until(partial(site.query, f"SELECT 1 FROM callbacks WHERE looks = {looks + 1}"))
        assert site.states() == {"pending": 1}
        clock.advance(wait.total_seconds())
    until(lambda: site.states() == {"gone": 1})
    until(lambda: not site.inbox())
    site.sandbox.store.add(id=NEW_ID, status_id=11)
    name(service, NEW_ID)
    until(lambda: site.sandbox.onetribe.counts() == {NEW_ID: 1})


# Bursts


def test_a_burst_of_callbacks_sends_each_order_once_in_few_requests(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    sandbox = make_sandbox(0, now=None)
    ids = [sandbox.store.add(status_id=11) for _ in range(1_000)]
    site = Site(sandbox, tmp_path / "ledger.db")
    with site.serving() as service:
        for scope in (CREATED, UPDATED, STATUS_UPDATED):
            name(service, *ids, scope=scope)
        until(lambda: settled(site), 90)
    assert sandbox.onetribe.counts() == dict.fromkeys(ids, 1)
    assert len(fetched(site)) < 300


def test_one_tribe_sees_no_more_concurrent_requests_than_workers(
    site: Site, clock: FakeClock
) -> None:
    lock, now, most, times = threading.Lock(), 0, 0, Counter[bytes]()

    def play(connection: socket.socket) -> None:
        nonlocal now, most
        while got := read_request(connection):
            with lock:
                now += 1
                most = max(most, now)
                times[got.partition(b"\r\n\r\n")[2][:20]] += 1
            time.sleep(0.01)
            with lock:
                now -= 1
            connection.sendall(answer())

    with WireServer(play) as onetribe:
        site.url, site.workers = f"{onetribe.url}/direct/webhook/key", 2
        site.sync_every = timedelta(seconds=1)
        for _ in range(100):
            site.sandbox.store.add(status_id=11)
        ids = real_ids(site)
        with site.serving(clock) as service:
            until(lambda: site.query("SELECT 1 FROM bookmarks"))
            for order_id in ids:
                name(service, order_id)
                clock.advance(1)
            until(lambda: settled(site))
    assert most == 2
    assert set(times.values()) == {1}
    assert len(times) == len(ids)
    assert len(site.query("SELECT 1 FROM runs WHERE command = 'sync'")) > 1


# Trouble


def test_while_bigcommerce_is_down_callbacks_are_accepted_and_sent_afterwards(
    site: Site, service: Service
) -> None:
    site.sandbox.faults.add("bigcommerce:5xx=1")
    name(service, 218)
    until(lambda: any((record.status or 0) >= 500 for record in site.sandbox.requests))
    name(service, site.sandbox.store.ids()[0])
    site.sandbox.faults.clear()
    until(lambda: len(site.sandbox.onetribe.counts()) == 2)
    assert service.receiver.problem(5) == ""


@pytest.mark.parametrize("service_name", ["onetribe", "bigcommerce"])
def test_a_long_wait_that_a_service_imposes_makes_the_receiver_not_ready(
    site: Site, service_name: str
) -> None:
    with site.serving() as service:
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        assert service.receiver.problem(5) == ""
        site.sandbox.faults.add(f"{service_name}:retry_after@3600")
        name(service, 218)
        until(lambda: service.receiver.problem(5) == "a service asks to wait")


def test_a_short_wait_leaves_the_receiver_ready(site: Site) -> None:
    with site.serving() as service:
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        site.sandbox.faults.add("onetribe:retry_after@60")
        name(service, 218)
        until(lambda: site.query("SELECT 1 FROM attempts"))
        assert service.receiver.problem(5) == ""


@pytest.mark.parametrize("service_name", ["onetribe", "bigcommerce"])
def test_an_outage_is_reported_until_it_is_over(
    site: Site, service: Service, service_name: str
) -> None:
    site.sandbox.faults.add(f"{service_name}:status@503")
    name(service, 218)
    until(lambda: service.receiver.problem(5) == "a service cannot be reached")
    site.sandbox.faults.clear()
    until(lambda: site.sandbox.onetribe.counts() == {218: 1})
    until(lambda: service.receiver.problem(5) == "")


def test_refused_credentials_are_reported_until_they_work_again(
    site: Site, service: Service
) -> None:
    before = set(site.sandbox.scopes)
    site.sandbox.scopes.clear()
    name(service, 218)
    until(lambda: service.receiver.problem(5) == "credentials or a URL are refused")
    name(service, 218)
    site.sandbox.scopes |= before
    until(lambda: site.sandbox.onetribe.counts() == {218: 1})
    until(lambda: service.receiver.problem(5) == "")


def test_invalid_settings_are_reported(site: Site, clock: FakeClock) -> None:
    url = site.sandbox.onetribe_url.replace(site.sandbox.merchant_key, "wrong")
    wrong = Site(site.sandbox, site.ledger, url=url)
    with wrong.serving(clock) as service:
        name(service, 218)
        until(lambda: service.receiver.problem(5) == "credentials or a URL are refused")
    assert wrong.states() == {"pending": 1}
    with Site(site.sandbox, site.ledger, skip=("Nonsense",)).serving(FakeClock()) as service:
        until(lambda: service.receiver.problem(5) == "the configuration is wrong")


def test_a_ledger_that_cannot_be_written_is_reported(site: Site, clock: FakeClock) -> None:
    with site.serving(clock) as service:
        pass
    assert service.receiver.problem(5) == "the ledger cannot be written"


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_an_order_whose_outcome_the_ledger_did_not_record_is_sent_again_and_flagged(
    site: Site, clock: FakeClock
) -> None:
    refuse = (
        "CREATE TRIGGER broken BEFORE UPDATE ON orders WHEN NEW.state = 'delivered'"
        " BEGIN SELECT RAISE(FAIL, 'broken'); END"
    )
    with site.serving(clock) as service, closing(site.connect()) as ledger:
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        ledger.execute(refuse)
        name(service, 218)
        until(lambda: service.receiver.problem(5) == "the ledger failed")
        ledger.execute("DROP TRIGGER broken")
        until(lambda: settled(site) and service.receiver.problem(5) == "")
    assert site.sandbox.onetribe.counts() == {218: 2}
    assert site.flagged() == 1


def test_an_order_in_doubt_is_sent_again_soon_but_once(site: Site, clock: FakeClock) -> None:
    site.sandbox.faults.add("onetribe:lost_reply")
    counts = site.sandbox.onetribe.counts
    with site.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM runs WHERE command = 'sync' AND outcome = 'done'"))
        name(service, 218)
        until(lambda: site.states() == {"unknown": 1} and site.inbox())
        assert counts() == {218: 1}
        clock.advance(RESEND_AFTER.total_seconds())
        until(lambda: site.flagged() == 1 and not site.inbox())
        site.sandbox.faults.clear()
        clock.advance(RESEND_AFTER.total_seconds())
        assert not site.inbox()
    assert site.states() == {"unknown": 1}
    assert counts() == {218: 2}


def test_with_hold_an_order_in_doubt_is_not_sent_again(site: Site, clock: FakeClock) -> None:
    site.on_unknown = "hold"
    site.sandbox.faults.add("onetribe:lost_reply")
    with site.serving(clock) as service:
        name(service, 218)
        until(lambda: site.states() == {"unknown": 1} and not site.inbox())
    assert site.sandbox.onetribe.counts() == {218: 1}


# The periodic sync


def test_the_periodic_sync_finds_orders_that_no_callback_named(
    site: Site, clock: FakeClock
) -> None:
    site.sync_every = timedelta(minutes=15)
    with site.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM runs WHERE command = 'sync' AND outcome = 'done'"))
        site.sandbox.clock.offset_s = 4000
        order_id = site.sandbox.store.add(status_id=11)
        assert site.sandbox.onetribe.counts() == {}

        def found() -> bool:
            clock.advance(60)
            return site.sandbox.onetribe.counts() == {order_id: 1}

        until(found)
        assert service.receiver.problem(5) == ""


def test_orders_owed_to_a_new_one_tribe_url_are_sent_without_a_sync(
    site: Site, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    other = Site(site.sandbox, site.ledger, url=site.sandbox.onetribe_url + "-before")
    with other.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM runs WHERE command = 'sync'"))
        name(service, 218)
    site.query("DELETE FROM runs")
    clock = FakeClock(SERVER_NOW + timedelta(hours=2))
    with site.serving(clock) as service:
        until(lambda: "--since" in caplog.text)
        site.sandbox.faults.add("onetribe:status@503")
        name(service, *real_ids(site)[:3])
        until(lambda: site.query("SELECT 1 FROM runs WHERE outcome LIKE '%One Tribe%'"))
        site.sandbox.faults.clear()
        until(lambda: site.states() == {"delivered": 3})
        assert service.receiver.problem(5) == ""
    assert caplog.text.count("for another One Tribe URL") < 20  # and not without a pause
    assert site.query("SELECT 1 FROM runs WHERE command = 'sync'") == []


def test_latency_counts_from_the_callback_even_if_a_later_attempt_delivers(
    site: Site, clock: FakeClock
) -> None:
    with site.serving(clock) as service:
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        site.sandbox.faults.add("onetribe:status@503")
        name(service, 218)
        until(lambda: site.query("SELECT 1 FROM runs WHERE outcome LIKE '%One Tribe%'"))
        site.sandbox.faults.clear()
        until(lambda: site.states() == {"delivered": 1})
        count = 'bc2ot_delivery_latency_seconds_count{store="sandbox1"} 1'
        until(lambda: count in service.application._metrics.text())


def test_the_periodic_sync_skips_a_store_that_another_process_holds(
    site: Site, clock: FakeClock
) -> None:
    with (
        closing(Database(site.ledger)) as database,
        Ledger(database, clock, store_hash=site.sandbox.store_hash, destination="another").run(
            "backfill", exclusive=True
        ),
        site.serving(clock) as service,
    ):
        name(service, 218)
        until(lambda: site.sandbox.onetribe.counts() == {218: 1})
    assert site.query("SELECT 1 FROM runs WHERE command = 'sync'") == []


def test_orders_accepted_before_a_stop_are_sent_after_a_restart(site: Site) -> None:
    clock = FakeClock()
    with site.serving(clock) as service:
        clock.stop()
        assert service.receiver.join(30)
        name(service, 218)
    assert site.sandbox.onetribe.counts() == {}
    with site.serving():
        until(lambda: site.sandbox.onetribe.counts() == {218: 1})


def test_stopping_finishes_work_in_flight(site: Site) -> None:
    site.sandbox.onetribe.latency_s = 0.5
    with site.serving() as service:
        name(service, 218)
        until(lambda: site.states() == {"sending": 1})
        assert service.finish(30)
    assert site.states() == {"delivered": 1}


def test_settled_orders_leave_nothing_in_memory(site: Site, service: Service) -> None:
    gate = site.sandbox.faults.hold("onetribe")
    name(service, *site.sandbox.store.ids())
    gate.wait_arrival()
    name(service, *site.sandbox.store.ids(), scope=UPDATED)
    until(lambda: not site.inbox())
    gate.open()
    until(lambda: settled(site))
    name(service, *site.sandbox.store.ids(), scope=STATUS_UPDATED)
    until(lambda: settled(site) and not service.receiver._waiting)


def test_the_orders_kept_to_measure_latency_are_limited(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "KEPT_WAITING", 3)
    gate = site.sandbox.faults.hold("onetribe")
    name(service, *site.sandbox.store.ids())
    gate.wait_arrival()
    until(lambda: not site.inbox())  # all were fetched, and none was delivered
    assert len(service.receiver._waiting) == 3
    gate.open()
    until(lambda: settled(site))


def test_a_bug_in_a_thread_is_logged_without_its_text_and_the_thread_continues(
    site: Site, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def observe(*told: Any) -> None:
        seen.append(told)
        if len(seen) == 1:
            raise ValueError("a customer's name")

    with open_clients(site.settings(), clock) as clients:
        receiver = Receiver(site.settings(), clients, clock, observe)
        receiver.start()
        until(lambda: site.query("SELECT 1 FROM bookmarks"))
        receiver.accept(218).result()
        until(lambda: site.sandbox.onetribe.counts() == {218: 1} and seen)
        until(lambda: "a bug: ValueError" in caplog.text)
        assert "a customer's name" not in caplog.text
        receiver.accept(real_ids(site)[0]).result()
        until(lambda: len(site.sandbox.onetribe.counts()) == 2)
        clock.stop()
        assert receiver.join(30)
