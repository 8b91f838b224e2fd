"""Runs on PostgreSQL live by leases: renewed while they work, recovered when they are gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from onetribe_bc.errors import BusyError
from onetribe_bc.ledger.ledger import Ledger, Seen, Settlement
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.states import Disposition, Entry, Outcome, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import PostgresUrl
from tests.clocks import FakeClock
from tests.conftest import postgres_url, wait_until_old
from tests.delivering import make_book, make_order
from tests.postgres import PostgresServer
from tests.relay import Relay

LEASE_S = 1.0
DELIVERED = Outcome(State.DELIVERED, "", 200)


@dataclass
class Host:
    """One process's part of a ledger."""

    database: Database
    ledger: Ledger

    def claim(self, order_id: int, worker: int = 0, settle: Settlement | None = None) -> Entry:
        step = self.ledger.step(worker, settle, make_order(order_id))
        assert step.disposition is Disposition.TO_SEND
        assert step.entry is not None
        return step.entry

    def freeze(self) -> None:
        """Renew no lease any more, as a process does that was stopped."""
        engine: Any = self.database.engine
        engine._leases.close()


MakeHost = Callable[..., Host]


@pytest.fixture
def url(postgres: PostgresServer, make_postgres: Callable[[], PostgresUrl]) -> PostgresUrl:
    wait_until_old(postgres, LEASE_S)
    return make_postgres()


@pytest.fixture
def make_host(url: PostgresUrl) -> Iterator[MakeHost]:
    with ExitStack() as stack:

        def make(location: PostgresUrl = url, lease_s: float = LEASE_S) -> Host:
            engine = PostgresEngine(location, lease_s=lease_s, renew_s=lease_s / 4)
            database = stack.enter_context(closing(Database(engine)))
            return Host(database, make_book(database, FakeClock()))

        yield make


@contextmanager
def running(host: Host, *ids: int, exclusive: bool = False) -> Iterator[None]:
    with host.ledger.run("backfill", exclusive=exclusive):
        host.ledger.record([Seen(make_order(i)) for i in ids])
        yield


def test_a_run_that_renews_its_lease_is_never_recovered(make_host: MakeHost) -> None:
    one, other = make_host(), make_host()
    with running(one, 1):
        claimed = one.claim(1)
        time.sleep(2 * LEASE_S)
        assert other.ledger.recover() == []
        one.ledger.check_lease()
        step = one.ledger.step(0, Settlement(claimed, DELIVERED))
        assert step.settled is not None
        assert step.settled.arrivals == 1


def test_what_a_frozen_run_holds_may_have_arrived_and_it_sends_nothing_more(
    make_host: MakeHost,
) -> None:
    frozen, heir = make_host(), make_host()
    with running(frozen, 1, 2):
        claims = [frozen.claim(1, worker=0), frozen.claim(2, worker=1)]
        frozen.freeze()
        assert heir.ledger.recover() == []
        time.sleep(LEASE_S)
        assert sorted(heir.ledger.recover()) == [1, 2]
        entries = heir.ledger.entries([1, 2])
        assert {entry.state for entry in entries.values()} == {State.UNKNOWN}
        with pytest.raises(BusyError, match="could not renew its lease"):
            frozen.ledger.check_lease()
        with running(heir):
            resent = heir.claim(1)
            heir.ledger.step(0, Settlement(resent, DELIVERED))
        # What it had sent before it froze was counted when its claims were recovered.
        settled = frozen.ledger.step(0, Settlement(claims[0], DELIVERED)).settled
        assert settled is not None
        assert (settled.state, settled.arrivals) == (State.DELIVERED, 2)
    assert heir.ledger.status().possible_duplicates == 1


@pytest.mark.parametrize("fenced", [True, False])
def test_the_fence_keeps_a_process_that_wakes_after_its_lease_from_sending_again(
    make_host: MakeHost, *, fenced: bool
) -> None:
    """Without it, One Tribe gets the order twice: the control."""
    frozen, heir = make_host(), make_host()
    posts: list[str] = []

    def post(host: Host, name: str) -> None:
        if fenced:
            host.ledger.check_lease()
        posts.append(name)

    with running(frozen, 1):
        frozen.claim(1)
        frozen.freeze()
        time.sleep(1.1 * LEASE_S)
        assert heir.ledger.recover() == [1]
        with running(heir):
            claimed = heir.claim(1)
            post(heir, "heir")
            heir.ledger.step(0, Settlement(claimed, DELIVERED))
        with suppress(BusyError):
            post(frozen, "frozen")
    assert posts == (["heir"] if fenced else ["heir", "frozen"])
    entry = heir.ledger.entry(1)
    assert entry is not None
    assert entry.arrivals == 2  # flagged in either case: its claim was durable


def test_a_settlement_whose_claim_vanished_still_counts_its_arrival(
    make_host: MakeHost, postgres: PostgresServer, url: PostgresUrl
) -> None:
    one, other = make_host(), make_host()
    with running(one, 1):
        claimed = one.claim(1)
        # As after a failover to a standby that lacks the last commits.
        postgres.execute("UPDATE orders SET state = 'pending', run_id = NULL", url.database)
        with running(other):
            other.ledger.step(0, Settlement(other.claim(1), DELIVERED))
        late = one.ledger.step(0, Settlement(claimed, DELIVERED)).settled
    assert late is not None
    assert late.arrivals == 2
    assert other.ledger.status().possible_duplicates == 1


def test_a_server_outage_makes_no_run_count_as_dead(
    make_host: MakeHost, postgres: PostgresServer
) -> None:
    lease_s = 1.5
    frozen, heir = make_host(lease_s=lease_s), make_host(lease_s=lease_s)
    with running(frozen, 1):
        frozen.claim(1)
        frozen.freeze()
        postgres.halt()
        time.sleep(lease_s)
        postgres.start()
        started_at = time.monotonic()
        late = make_host(lease_s=lease_s)
        assert late.ledger.recover() == []
        while not (found := late.ledger.recover()):
            time.sleep(0.1)
        assert found == [1]
        assert time.monotonic() - started_at > lease_s * 0.8
    assert heir.ledger.recover() == []


def test_a_process_that_just_lost_the_database_recovers_no_run(
    make_host: MakeHost, postgres: PostgresServer, url: PostgresUrl
) -> None:
    with Relay(postgres.port) as relay:
        text = url.url.reveal().replace(f":{postgres.port}/", f":{relay.port}/")
        frozen, cut_off = make_host(), make_host(postgres_url(text))
        with running(frozen, 1):
            frozen.claim(1)
            frozen.freeze()
            cut_off.database.check_writable()
            time.sleep(LEASE_S)
            relay.drop_all()
            cut_off.database.check_writable()
            assert cut_off.ledger.recover() == []
            time.sleep(LEASE_S)
            assert cut_off.ledger.recover() == [1]


def test_a_run_that_was_recovered_ends_and_the_next_one_works(
    make_host: MakeHost, postgres: PostgresServer, url: PostgresUrl
) -> None:
    host = make_host()
    with running(host, 1):
        time.sleep(LEASE_S)  # its lease was renewed at least once
        postgres.execute("UPDATE runs SET ended_at = 1, outcome = 'killed'", url.database)
        time.sleep(LEASE_S / 2)
        with pytest.raises(BusyError):
            host.ledger.check_lease()
    with running(host, 1):
        host.ledger.check_lease()
        host.claim(1)


def test_of_many_concurrent_syncs_one_runs_and_the_others_name_it(
    make_host: MakeHost,
) -> None:
    hosts = [make_host() for _ in range(4)]
    barrier, told = threading.Barrier(4), []

    def sync(host: Host) -> None:
        barrier.wait()
        try:
            with host.ledger.run("sync", exclusive=True):
                barrier.wait()
        except BusyError as error:
            told.append(str(error))
            barrier.wait()

    threads = [threading.Thread(target=sync, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 3
    assert all("Another sync or backfill of store shop is running: sync" in one for one in told)


def test_a_store_is_free_again_one_lease_after_its_holder_died(make_host: MakeHost) -> None:
    dead, heir = make_host(), make_host()
    with running(dead, exclusive=True):
        dead.freeze()
        with pytest.raises(BusyError), running(heir, exclusive=True):
            pass
        time.sleep(LEASE_S)
        with running(heir, exclusive=True):
            heir.ledger.check_lease()


def test_a_step_costs_at_most_seven_round_trips(
    make_host: MakeHost, postgres: PostgresServer, url: PostgresUrl
) -> None:
    with Relay(postgres.port) as relay:
        text = url.url.reveal().replace(f":{postgres.port}/", f":{relay.port}/")
        host = make_host(postgres_url(text), lease_s=60)
        with running(host, *range(1, 12)):
            claimed = host.claim(1)
            relay.requests = 0
            for order_id in range(2, 12):
                claimed = host.claim(order_id, settle=Settlement(claimed, DELIVERED))
            assert relay.requests <= 7 * 10


def test_many_hosts_record_and_claim_the_same_orders_and_each_is_claimed_once(
    make_host: MakeHost,
) -> None:
    """In opposite directions, which would deadlock if rows were locked in that order."""
    ids = list(range(1, 81))
    claims: list[int] = []

    def work(host: Host, number: int) -> None:
        mine = ids if number % 2 else ids[::-1]
        with host.ledger.run("backfill"):
            host.ledger.record([Seen(make_order(i)) for i in mine])
            last = None
            for order_id in mine:
                step = host.ledger.step(0, last, make_order(order_id))
                last = None
                if step.disposition is Disposition.TO_SEND:
                    assert step.entry is not None
                    claims.append(order_id)
                    last = Settlement(step.entry, DELIVERED)
            host.ledger.step(0, last)

    hosts = [make_host(lease_s=30) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(h, n)) for n, h in enumerate(hosts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == ids
    assert hosts[0].ledger.status().states == {State.DELIVERED: 80}


def test_the_inbox_is_shared_and_each_order_is_taken_once(make_host: MakeHost) -> None:
    hosts = [make_host(lease_s=30) for _ in range(3)]
    named = list(range(1, 301))
    for future in [hosts[i % 3].ledger.inbox.put(i) for i in (*named, *reversed(named))]:
        future.result()
    taken: list[int] = []

    def take(host: Host) -> None:
        while found := host.ledger.inbox.due(25):
            taken.extend(one.order_id for one in found)

    threads = [threading.Thread(target=take, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == named
    one, other = hosts[:2]
    assert one.ledger.inbox.due(10) == []
    # A receiver that died with orders in its hands leaves them to the others.
    clock: Any = other.ledger._clock
    clock.advance(61)
    assert len(other.ledger.inbox.due(1000)) == 300
    first = next(found for found in other.ledger.inbox.all() if found.order_id == 1)
    one.ledger.inbox.put(1).result()
    other.ledger.inbox.remove([first])
    assert one.ledger.inbox.find(1) is not None  # another callback named it meanwhile
