"""A ledger in PostgreSQL: opened, refused in its own words, and reached again after it was lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from onetribe_bc.errors import Bc2otError, BusyError, ExitCode, UnreachableError
from onetribe_bc.ledger.inbox import DEFERRED_FOR
from onetribe_bc.ledger.ledger import Seen, Settlement
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.states import Outcome, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import PostgresUrl
from tests.callbacks import until
from tests.clocks import FakeClock
from tests.conftest import postgres_url
from tests.delivering import make_book, make_order
from tests.postgres import PostgresServer, find_binaries, wait_for_port
from tests.relay import Relay
from tests.wire import free_port

MakePostgres = Callable[[], PostgresUrl]
PASSWORD = "correct-horse"


@pytest.fixture
def url(make_postgres: MakePostgres) -> PostgresUrl:
    return make_postgres()


def open_now(url: PostgresUrl, **times: float) -> Database:
    """A database that gives up at once."""
    return Database(PostgresEngine(url, **times), retry_for_s=0)


def changed(url: PostgresUrl, before: str, after: str) -> PostgresUrl:
    text = url.url.reveal()
    assert before in text
    return postgres_url(text.replace(before, after))


def deliver(database: Database, ids: range) -> None:
    """A run that sends orders."""
    ledger = make_book(database, FakeClock())
    with ledger.run("backfill"):
        ledger.record([Seen(make_order(i)) for i in ids])
        last = None
        for order_id in ids:
            step = ledger.step(0, last, make_order(order_id))
            ledger.check_lease()
            assert step.entry is not None
            last = Settlement(step.entry, Outcome(State.DELIVERED, "", 200))
        ledger.step(0, last)


# Refused


@contextmanager
def server_with_password(postgres: PostgresServer, url: PostgresUrl) -> Iterator[PostgresUrl]:
    """A URL of a role that has to name a password."""
    hba = Path(str(postgres.execute("SHOW hba_file")[0][0]))
    before = hba.read_text()
    postgres.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + before)
    postgres.execute("SELECT pg_reload_conf()")
    try:
        yield changed(url, "postgres@", "guarded@")
    finally:
        hba.write_text(before)
        postgres.execute("SELECT pg_reload_conf()")
        postgres.execute("DROP ROLE guarded")


def refusal(url: PostgresUrl) -> Any:
    with pytest.raises(Bc2otError) as caught, closing(open_now(url)) as database:
        deliver(database, range(1, 2))
    error: Any = caught.value
    assert error.hint
    assert PASSWORD not in f"{error} {error.hint}"
    return error


def test_a_wrong_password_is_refused_and_shown_nowhere(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    with server_with_password(postgres, url) as guarded:
        wrong = changed(guarded, "guarded@", f"guarded:{PASSWORD}1@")
        error = refusal(wrong)
        assert error.exit_code == ExitCode.REFUSED
        assert "refuses the user or the password" in str(error)
        assert "asks for a password" in str(refusal(guarded))
        assert PASSWORD not in f"{wrong} {wrong!r} {wrong.url}"


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ("postgres@", "nobody_here@", ExitCode.REFUSED, "has no such role"),
        ("127.0.0.1:", "127.0.0.1:1,127.0.0.1:", None, ""),
        ("127.0.0.1", "nowhere.invalid", ExitCode.UNREACHABLE, "does not resolve"),
        ("/ledger_", "/nothing_", ExitCode.CONFIGURATION, "has no such database"),
        ("sslmode=disable", "sslmode=require", ExitCode.UNREACHABLE, "does not offer the TLS"),
    ],
)
def test_each_problem_of_a_connection_has_its_own_words(
    url: PostgresUrl, before: str, after: str, code: ExitCode | None, words: str
) -> None:
    if before == "127.0.0.1":
        after += ":1"
        before = url.url.reveal().partition("@")[2].partition("/")[0]
        other = postgres_url(
            url.url.reveal()
            .replace(before, after)
            .replace("sslmode=disable", "sslmode=verify-full")
        )
    else:
        other = changed(url, before, after)
    if code is None:  # one of several hosts is enough
        with closing(open_now(other)) as database:
            deliver(database, range(1, 2))
        return
    error = refusal(other)
    assert error.exit_code == code
    assert words in str(error)


def test_a_server_that_is_not_there_is_unreachable(url: PostgresUrl) -> None:
    port = url.url.reveal().partition("127.0.0.1:")[2].partition("/")[0]
    error = refusal(changed(url, f":{port}/", ":1/"))
    assert error.exit_code == ExitCode.UNREACHABLE
    assert "could not be reached: no connection" in str(error)


def test_a_database_without_tables_or_with_those_of_another_version_is_refused(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    name = url.database
    for version, words in ((2, "needs version 3"), (4, "needs version 3")):
        postgres.execute(f"UPDATE ledger_meta SET value = '{version}' "
                         "WHERE key = 'schema_version'", name)  # fmt: skip
        error = refusal(url)
        assert words in str(error)
        assert error.exit_code == ExitCode.CONFIGURATION
    assert "Upgrade bc2ot" in error.hint
    error = refusal(changed(url, name, "postgres"))
    assert "has no ledger yet" in str(error)
    assert error.exit_code == ExitCode.CONFIGURATION


def test_a_role_needs_rights_that_create_gives_it(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    postgres.execute("CREATE ROLE runner LOGIN")
    try:
        runner = changed(url, "postgres@", "runner@")
        error = refusal(runner)
        assert error.exit_code == ExitCode.CONFIGURATION
        assert "the rights it needs" in str(error)
        with closing(PostgresEngine(url)) as engine:
            assert not engine.create(role="runner")
        with closing(open_now(runner)) as database:
            deliver(database, range(1, 5))
        with psycopg.connect(runner.url.reveal()) as connection:
            shown = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
            assert shown == ("1min",)
        postgres.execute("ALTER ROLE runner SET synchronous_commit = off")
        error = refusal(runner)
        assert error.exit_code == ExitCode.CONFIGURATION
        assert "synchronous_commit" in str(error)
    finally:
        postgres.execute("DROP OWNED BY runner", url.database)
        postgres.execute("DROP ROLE runner")


def test_a_replica_is_read_and_not_written() -> None:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL")
    server = PostgresServer(binaries)
    try:
        url = postgres_url(server.url())
        with closing(PostgresEngine(url)) as engine:
            engine.create()
        with closing(open_now(url)) as database:
            deliver(database, range(1, 5))
        server.halt(signal.SIGINT)
        server.make_standby()
        with closing(open_now(url)) as database:
            ledger = make_book(database, FakeClock())
            assert ledger.status().states == {State.DELIVERED: 4}
            assert [entry.order_id for entry in ledger.iter_entries()] == [1, 2, 3, 4]
        error = refusal(url)
        assert error.exit_code == ExitCode.CONFIGURATION
        assert "read-only replica" in str(error)
    finally:
        server.stop()


def test_without_psycopg_the_extra_is_named(url: PostgresUrl, tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError")
    code = (
        "from onetribe_bc.ledger.writer import Database\n"
        "from onetribe_bc.location import parse_location\n"
        "try: Database(parse_location('postgresql://127.0.0.1/x'))\n"
        "except Exception as error: print(error, error.hint)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "needs psycopg" in ran.stdout
    assert "pip install 'psycopg[binary]'" in ran.stdout


# Made


def test_an_order_that_cannot_be_fetched_is_owed_and_due_after_growing_waits(
    url: PostgresUrl,
) -> None:
    clock = FakeClock()
    with closing(open_now(url)) as database:
        ledger = make_book(database, clock)
        ledger.inbox.put(7).result()
        for looks, wait in enumerate(DEFERRED_FOR):
            ledger.inbox.defer([(8, f"try {looks}"), (7, f"try {looks}")])
            found = {one.order_id: one for one in ledger.inbox.all()}
            assert {i: one.looks for i, one in found.items()} == {7: looks + 1, 8: looks + 1}
            assert {one.due_at for one in found.values()} == {clock.now() + wait}
        entries = ledger.entries([7, 8])
    assert {e.order_id: (e.state, e.reason) for e in entries.values()} == {
        i: (State.PENDING, f"try {len(DEFERRED_FOR) - 1}") for i in (7, 8)
    }


def test_of_many_hosts_that_create_a_ledger_concurrently_one_does(postgres: PostgresServer) -> None:
    postgres.execute("CREATE DATABASE crowded")
    url = postgres_url(postgres.url("crowded"))
    made: list[bool] = []

    def create() -> None:
        with closing(PostgresEngine(url)) as engine:
            made.append(engine.create())

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    with closing(open_now(url)) as database:
        deliver(database, range(1, 3))
    postgres.execute("DROP DATABASE crowded WITH (FORCE)")


def count(postgres: PostgresServer, url: PostgresUrl) -> int:
    """How many rows keep the counts."""
    return int(str(postgres.execute("SELECT count(*) FROM counts", url.database)[0][0]))


def test_counts_are_exact_and_stay_few(postgres: PostgresServer, url: PostgresUrl) -> None:
    with closing(open_now(url)) as database:
        deliver(database, range(1, 30))
        before = count(postgres, url)
        deliver(database, range(30, 31))  # its start adds up what the first run appended
        assert make_book(database, FakeClock()).status().states == {State.DELIVERED: 30}
    assert before > 30 > count(postgres, url)


# Lost and reached again


@contextmanager
def relayed(postgres: PostgresServer, url: PostgresUrl) -> Iterator[tuple[Relay, PostgresUrl]]:
    with Relay(postgres.port) as relay:
        yield relay, changed(url, f":{postgres.port}/", f":{relay.port}/")


def is_sound(database: Database, ids: range) -> None:
    """Each order was delivered once, by one attempt that is kept."""
    ledger = make_book(database, FakeClock())
    assert ledger.status().states == {State.DELIVERED: len(ids)}
    assert ledger.status().possible_duplicates == 0
    for order_id, entry in ledger.entries(list(ids)).items():
        assert (entry.attempts, entry.arrivals, entry.deliveries) == (1, 1, 1)
        assert len(ledger.attempts(order_id)) == 1


@pytest.mark.parametrize(
    "disturb",
    [
        lambda relay: setattr(relay, "lose_reply_to", b"COMMIT"),
        lambda relay: setattr(relay, "cut_at", b"UPDATE orders"),
        lambda relay: setattr(relay, "delay_s", 0.005),
        lambda relay: relay.drop_all(),
    ],
    ids=["lost reply to COMMIT", "cut in mid-transaction", "slow", "all connections dropped"],
)
def test_whatever_happens_to_a_connection_each_order_counts_once(
    postgres: PostgresServer, url: PostgresUrl, disturb: Callable[[Relay], None]
) -> None:
    ids = range(1, 6)
    with relayed(postgres, url) as (relay, through), closing(Database(through)) as database:
        ledger = make_book(database, FakeClock())
        with ledger.run("backfill"):
            ledger.record([Seen(make_order(i)) for i in ids])
            last = None
            for order_id in [*ids, None]:
                disturb(relay)
                order = None if order_id is None else make_order(order_id)
                step = ledger.step(0, last, order)
                if last is not None:
                    assert step.settled is not None
                    assert step.settled.state is State.DELIVERED
                if step.entry is not None:
                    last = Settlement(step.entry, Outcome(State.DELIVERED, "", 200))
        relay.delay_s = 0.0
        is_sound(database, ids)


def test_a_connection_that_falls_silent_is_shut_down(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    with relayed(postgres, url) as (relay, through):
        engine = PostgresEngine(through, patience_s=0.3)
        with closing(Database(engine)) as database:
            deliver(database, range(1, 3))
            relay.hanging = True
            timer = threading.Timer(0.6, setattr, (relay, "hanging", False))
            timer.start()
            deliver(database, range(3, 5))
            timer.join()
            is_sound(database, range(1, 5))


def test_a_command_gives_up_after_its_time_and_a_receiver_does_not(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    with relayed(postgres, url) as (relay, through):
        clock = FakeClock()
        with closing(Database(PostgresEngine(through), clock)) as database:
            database.check_writable()
            relay.refusing = True
            relay.drop_all()
            with pytest.raises(UnreachableError) as caught:
                database.check_writable()
            assert caught.value.exit_code == ExitCode.UNREACHABLE
            assert 60 <= sum(clock.slept) < 70
            relay.refusing = False
            database.check_writable()
        with closing(Database(PostgresEngine(through), clock, retry_for_s=None)) as database:
            database.check_writable()
            relay.refusing = True
            relay.drop_all()
            slept = sum(clock.slept)
            with pytest.raises(BusyError):
                database.check_writable(wait_s=0.2)
            written = database.submit(lambda transaction, items: list(items), "written")
            while sum(clock.slept) < slept + 120:
                time.sleep(0.01)
            relay.refusing = False
            assert written.result(10) == "written"


def test_too_many_connections_are_waited_for(postgres: PostgresServer, url: PostgresUrl) -> None:
    postgres.execute("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data, "
                     "pg_write_all_data")  # fmt: skip
    crowd = changed(url, "postgres@", "crowd@")
    try:
        taken = psycopg.connect(crowd.url.reveal())
        error = refusal(crowd)
        assert error.exit_code == ExitCode.UNREACHABLE
        assert "no free connection" in str(error)
        threading.Timer(0.3, taken.close).start()
        with closing(Database(crowd)) as database:
            database.check_writable()
    finally:
        postgres.execute("DROP ROLE crowd")


def test_terminated_backends_and_a_restart_in_a_crash_disturb_no_run(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    def terminate() -> None:
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{url.database}' AND pid <> pg_backend_pid()"
        )

    ids = range(1, 41)
    with closing(Database(url)) as database:
        ledger = make_book(database, FakeClock())
        with ledger.run("backfill", exclusive=True):
            ledger.record([Seen(make_order(i)) for i in ids])
            last = None
            for order_id in ids:
                if order_id % 10 == 0:
                    (postgres.restart if order_id == 20 else terminate)()
                step = ledger.step(0, last, make_order(order_id))
                assert step.entry is not None
                last = Settlement(step.entry, Outcome(State.DELIVERED, "", 200))
                assert ledger.entry(order_id) == step.entry
            ledger.step(0, last)
        is_sound(database, ids)


def test_a_process_has_at_most_three_connections(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    with closing(open_now(url, renew_s=0.05)) as database:
        ledger = make_book(database, FakeClock())
        with ledger.run("backfill"):
            time.sleep(0.3)
            threads = [
                threading.Thread(target=lambda: [ledger.status() for _ in range(5)])
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            ledger.record([Seen(make_order(i)) for i in range(1, 300)])
            for thread in threads:
                thread.join()
            query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{url.database}'"
            assert postgres.execute(query) == [(3,)]
    until(lambda: postgres.execute(query) == [(0,)])  # the server takes a moment to end them


# PgBouncer


@contextmanager
def pgbouncer(postgres: PostgresServer, folder: Path) -> Iterator[int]:
    """A pooler by transaction, with two connections to the server."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port = free_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "bouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=postgres\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 2\n"
        "server_tls_sslmode = disable\nunix_socket_dir =\n"
    )
    for path in (folder, *folder.parents):
        if path.owner() == "root" and path != Path("/tmp"):
            with suppress(PermissionError):
                path.chmod(path.stat().st_mode | 0o055)
    user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    with subprocess.Popen(
        [program, str(folder / "bouncer.ini")], stderr=subprocess.DEVNULL, **user
    ) as process:
        try:
            wait_for_port(port)
            yield port
        finally:
            process.terminate()


def test_it_works_behind_a_pooler_that_shares_connections_by_transaction(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        pgbouncer(postgres, Path(folder)) as port,
    ):
        pooled = changed(url, f":{postgres.port}/", f":{port}/")
        databases = [Database(PostgresEngine(pooled, renew_s=0.02)) for _ in range(4)]
        threads = [
            threading.Thread(target=deliver, args=(database, range(100 * n + 1, 100 * n + 41)))
            for n, database in enumerate(databases)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert make_book(databases[0], FakeClock()).status().states == {State.DELIVERED: 160}
        for database in databases:
            database.close()
        postgres.execute("SELECT 1")
