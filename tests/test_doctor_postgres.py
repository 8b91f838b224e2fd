"""What `bc2ot doctor` reports about a ledger in PostgreSQL, each against a real server."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from onetribe_bc.doctor import Level
from onetribe_bc.doctor.postgres import check_server
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.server import inspect
from onetribe_bc.location import PostgresUrl
from tests.clocks import FakeClock
from tests.conftest import postgres_url
from tests.examining import DAY_S, ask, hook, sandbox_fixture  # noqa: F401
from tests.postgres import PostgresServer, find_binaries
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.wire import free_port

MakePostgres = Callable[[], PostgresUrl]
ROLE = "bc2ot_doctor"


@pytest.fixture
def owner(make_postgres: MakePostgres) -> PostgresUrl:
    """A ledger, as its owner sees it."""
    return make_postgres()


@pytest.fixture
def user(postgres: PostgresServer, owner: PostgresUrl) -> Iterator[PostgresUrl]:
    """The same ledger for a role with the rights and timeouts that `ledger create --role` gives."""
    postgres.execute(f"CREATE ROLE {ROLE} LOGIN")
    with closing(PostgresEngine(owner)) as engine:
        engine.create(role=ROLE)
    yield postgres_url(owner.url.reveal().replace("postgres@", f"{ROLE}@"))
    postgres.execute(f"DROP OWNED BY {ROLE}", owner.database)
    postgres.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def on_postgres(shell: Shell, user: PostgresUrl) -> Shell:
    """A store without problems, with its ledger in PostgreSQL."""
    shell.set(BC2OT_LEDGER=user.url.reveal())
    shell.run("sync", "--since", "2000-01-01").says(0)
    return shell


def test_a_server_without_problems_gets_one_line_per_check(on_postgres: Shell) -> None:
    hook(on_postgres)
    report = ask(on_postgres)
    report.shows(
        "ok ledger.server: PostgreSQL 1 … is reachable at postgresql://127.0.0.1/",
        "ok ledger.tls: stays on this machine, without TLS",
        "ok ledger.rights",
        "ok ledger.durability: the primary",
        "ok ledger.timeouts",
        "ok ledger.clock",
        "ok ledger.connections: enough",
        "ok ledger.file: is sound: version 3, … of this store",
        "ok ledger.sync",
        "ok ledger.owed",
    )
    assert report.problems == set()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (
            f"ALTER ROLE {ROLE} SET lock_timeout = 0",
            "warn ledger.timeouts: no lock_timeout: -> SET lock_timeout = '10s'",
        ),
        (
            f"ALTER ROLE {ROLE} RESET ALL",
            "warn ledger.timeouts: no idle_in … lock_timeout … tcp_user_timeout: -> ledger create",
        ),
        (
            f"ALTER ROLE {ROLE} SET synchronous_commit = off",
            "fail 3 ledger.durability: synchronous_commit = off -> ALTER ROLE",
        ),
        (
            f"REVOKE UPDATE ON orders FROM {ROLE}",
            "fail 3 ledger.rights: lacks UPDATE on orders. -> bc2ot ledger create --role",
        ),
        (
            f"REVOKE ALL ON orders, callbacks FROM {ROLE}",
            "fail 3 ledger.rights: and 5 more. -> bc2ot ledger create --role",
        ),
        (
            f"REVOKE ALL ON SEQUENCE attempts_id_seq FROM {ROLE}",
            "fail 3 ledger.rights: USAGE on attempts_id_seq -> bc2ot ledger create --role",
        ),
        (
            f"ALTER ROLE {ROLE} CONNECTION LIMIT 5",
            "warn ledger.connections: connections left; … needs up to 3 -> max_connections",
        ),
        (
            "UPDATE ledger_meta SET value = '2' WHERE key = 'schema_version'",
            "fail 3 ledger.schema: has version 2 -> bc2ot ledger upgrade",
        ),
        (
            "UPDATE ledger_meta SET value = '99' WHERE key = 'schema_version'",
            "fail 3 ledger.schema: has version 99 -> Upgrade bc2ot",
        ),
        ("DROP TABLE ledger_meta", "fail 3 ledger.schema: has no ledger yet -> ledger create"),
        (
            f"ALTER ROLE {ROLE} NOLOGIN",
            "fail 4 ledger.server: refuses the role a login -> LOGIN",
        ),
    ],
)
def test_a_problem_of_the_server_is_reported_with_its_fix(
    on_postgres: Shell, postgres: PostgresServer, owner: PostgresUrl, damage: str, finding: str
) -> None:
    postgres.execute(damage, owner.database)
    ask(on_postgres).shows(finding)


def test_a_server_that_is_down_is_unreachable(on_postgres: Shell, user: PostgresUrl) -> None:
    here = user.url.reveal()
    port = here.rpartition(":")[2].partition("/")[0]
    on_postgres.set(BC2OT_LEDGER=here.replace(port, str(free_port())))
    report = ask(on_postgres)
    report.shows("fail 5 ledger.server: no connection -> Check the server")
    assert report.rows("ledger.file") == []


def test_a_replica_is_a_failure(on_postgres: Shell) -> None:
    binaries = find_binaries()
    assert binaries is not None
    server = PostgresServer(binaries)
    with closing(_Stopped(server)):
        url = postgres_url(server.url())
        with closing(PostgresEngine(url)) as engine:
            engine.create()
        server.halt(signal.SIGINT)
        server.make_standby()
        on_postgres.set(BC2OT_LEDGER=url.url.reveal())
        ask(on_postgres).shows(
            "fail 3 ledger.durability: is a read-only replica -> to all hosts", "ok ledger.file"
        )


class _Stopped:
    def __init__(self, server: PostgresServer) -> None:
        self.close = server.stop


def test_a_remote_server_must_be_verified(on_postgres: Shell) -> None:
    on_postgres.set(BC2OT_LEDGER="postgresql://db.example.com/bc2ot?sslmode=require")
    ask(on_postgres).shows(
        "fail 3 configuration.file: does not verify a remote server: use verify-full"
    )


@pytest.mark.parametrize(
    ("query", "level", "words"),
    [("", Level.OK, "is verified"), ("?sslmode=verify-ca", Level.WARN, "host name")],
)
def test_the_way_to_a_remote_server_is_reported(
    user: PostgresUrl, monkeypatch: pytest.MonkeyPatch, query: str, level: Level, words: str
) -> None:
    facts = replace(inspect(user, FakeClock(datetime.now(UTC))), uses_tls=True)
    monkeypatch.setattr("onetribe_bc.doctor.postgres.inspect", lambda *_: facts)
    remote = postgres_url(f"postgresql://db.example.com/bc2ot{query}")
    (found,) = [one for one in check_server(remote, FakeClock()) if one.check == "ledger.tls"]
    assert found.level is level
    assert words in found.text


@pytest.mark.parametrize(("minutes", "words"), [(10, "behind"), (-10, "ahead of")])
def test_a_clock_that_differs_from_the_servers_is_a_warning(
    user: PostgresUrl, minutes: int, words: str
) -> None:
    clock = FakeClock(datetime.now(UTC) + timedelta(minutes=minutes))
    (found,) = [one for one in check_server(user, clock) if one.check == "ledger.clock"]
    assert found.level is Level.WARN
    assert f"{words} this machine's" in found.text
    assert "NTP" in found.hint


def test_a_webhook_is_not_idle_while_the_ledger_delivers(
    on_postgres: Shell, postgres: PostgresServer, owner: PostgresUrl
) -> None:
    on_postgres.sandbox.clock.offset_s = -80 * DAY_S
    hook(on_postgres)
    on_postgres.sandbox.clock.offset_s = 0
    assert ask(on_postgres).rows("hooks.idle") == []
    postgres.execute(f"UPDATE counts SET latest = latest - {80 * DAY_S * 1000}", owner.database)
    ask(on_postgres).shows("warn hooks.idle: may have been idle for 80 days")
