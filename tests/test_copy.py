"""A ledger moves to another place with everything in it, and the old one is used no more."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.errors import BusyError, InputError, LedgerError, UnreachableError
from onetribe_bc.ledger.copy import copy
from onetribe_bc.ledger.ledger import Ledger, Seen, Settlement
from onetribe_bc.ledger.states import Outcome, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location, PostgresUrl, parse_location
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order
from tests.postgres import PostgresServer
from tests.relay import Relay

ORDERS = 6_000
MakePostgres = Callable[[], PostgresUrl]


def fill(ledger: Ledger, orders: int) -> None:
    """Orders in all states, attempts, a bookmark and callbacks."""
    with ledger.run("backfill"):
        for first in range(1, orders, 1000):
            page = range(first, min(first + 1000, orders + 1))
            ledger.record([Seen(make_order(i), "Incomplete" * (i % 7 == 0)) for i in page])
        last = None
        outcomes = [State.DELIVERED, State.UNKNOWN, State.FAILED, State.PENDING]
        for order_id in (i for i in range(1, 60) if i % 7):
            step = ledger.step(0, last, make_order(order_id))
            assert step.entry is not None
            reason = "a “reason” with \\ and \t and ;"
            last = Settlement(step.entry, Outcome(outcomes[order_id % 4], reason, 200, "ok"))
        ledger.step(0, last)
    for order_id in (5, 70_000, 80_000):
        ledger.inbox.put(order_id).result()


def contents(location: Location) -> dict[str, Any]:
    with closing(Database(location)) as database:
        ledger = make_book(database, FakeClock())
        return {
            "status": ledger.status(),
            "entries": list(ledger.iter_entries()),
            "attempts": [ledger.attempts(i) for i in range(1, 20)],
            "inbox": ledger.inbox.all(),
        }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def made(location: Location, orders: int = 100) -> None:
    with closing(Database(location)) as database:
        fill(make_book(database, FakeClock()), orders)


def was_moved(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT 1 FROM ledger_meta WHERE key = 'moved_to'").fetchone()
    return found is not None


def test_a_ledger_moves_to_postgresql_and_back_with_everything_in_it(
    file: Path, make_postgres: MakePostgres, tmp_path: Path
) -> None:
    made(file, ORDERS)
    with closing(Database(file)) as database:
        other = make_book(database, FakeClock(), store_hash="other")
        other.record([Seen(make_order(3))])
    before, url, back = contents(file), make_postgres(), tmp_path / "back.db"
    counts = copy(file, url, FakeClock())
    assert counts["orders"] == ORDERS + 3
    assert contents(url) == before
    with closing(Database(url)) as database:
        (number,) = database.read(lambda t: t.query("SELECT count(*) FROM counts"))[0]
    assert number < 20, "the start of the next run would add up a row per order"
    for moved, where in ((file, url), (url, back)):
        if moved is url:
            copy(url, back, FakeClock())
        with pytest.raises(LedgerError, match="was moved to") as caught:
            Database(moved)
        assert str(where) in str(caught.value)
    assert contents(back) == before
    with closing(Database(back)) as database:
        assert make_book(database, FakeClock(), store_hash="other").entry(3) is not None


def test_what_a_dead_run_held_may_have_arrived(file: Path, make_postgres: MakePostgres) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from onetribe_bc.ledger.ledger import Seen\n"
        "from onetribe_bc.ledger.writer import Database\n"
        "from tests.clocks import FakeClock\n"
        "from tests.delivering import make_book, make_order\n"
        "ledger = make_book(Database(Path(sys.argv[1])), FakeClock())\n"
        "with ledger.run('backfill'):\n"
        "    ledger.record([Seen(make_order(1))])\n"
        "    ledger.step(0, None, make_order(1))\n"
        "    os._exit(0)\n"
    )
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, cwd=root)
    url = make_postgres()
    copy(file, url, FakeClock())
    assert contents(url)["status"].states == {State.UNKNOWN: 1}


def test_a_ledger_in_use_is_not_copied(file: Path, make_postgres: MakePostgres) -> None:
    made(file)
    with closing(Database(file)) as database:
        url = make_postgres()
        with (
            make_book(database, FakeClock()).run("serve"),
            pytest.raises(BusyError, match="is in use: serve of store shop"),
        ):
            copy(file, url, FakeClock())
    assert contents(file)["status"].states


def test_a_run_that_opened_the_ledger_before_it_was_moved_does_not_start(
    file: Path, make_postgres: MakePostgres
) -> None:
    made(file)
    with closing(Database(file)) as database:
        copy(file, make_postgres(), FakeClock())
        ledger = make_book(database, FakeClock())
        with pytest.raises(LedgerError, match="was moved to"), ledger.run("sync"):
            pass


def test_only_an_empty_ledger_is_copied_to(file: Path, make_postgres: MakePostgres) -> None:
    made(file)
    url = make_postgres()
    made(url)
    for target, words in ((url, "already has store shop"), (file, "are the same")):
        with pytest.raises(InputError, match=words):
            copy(file, target, FakeClock())
    assert contents(file)["status"].states


@pytest.mark.parametrize("after_s", [0.5, 0.9])
def test_a_copy_that_is_killed_is_done_again(
    file: Path, make_postgres: MakePostgres, tmp_path: Path, after_s: float
) -> None:
    made(file, 2000)
    before, url = contents(file), make_postgres()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from onetribe_bc.clock import SystemClock\n"
        "from onetribe_bc.ledger.copy import copy\n"
        "from onetribe_bc.location import parse_location\n"
        "copy(Path(sys.argv[1]), parse_location(sys.argv[2]), SystemClock())\n"
    )
    root = Path(__file__).parent.parent
    arguments = [sys.executable, "-c", code, str(file), url.url.reveal()]
    with subprocess.Popen(arguments, cwd=root) as process:
        time.sleep(after_s)
        process.kill()
    if not was_moved(file):
        copy(file, url, FakeClock())
    assert was_moved(file)
    assert contents(url) == before


def test_a_copy_that_is_durable_and_not_marked_is_completed(
    file: Path, make_postgres: MakePostgres
) -> None:
    made(file)
    before, url = contents(file), make_postgres()
    copy(file, url, FakeClock())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM ledger_meta WHERE key = 'moved_to'")
    copy(file, url, FakeClock())
    assert contents(url) == before
    with pytest.raises(LedgerError, match="was moved to"):
        Database(file)


def test_a_database_that_is_lost_during_a_copy_is_reported(
    file: Path, postgres: PostgresServer, make_postgres: MakePostgres
) -> None:
    made(file)
    url = make_postgres()
    with Relay(postgres.port) as relay:
        text = url.url.reveal().replace(f":{postgres.port}/", f":{relay.port}/")
        through = parse_location(text)
        relay.cut_at = b"LOCK TABLE"
        with pytest.raises(UnreachableError, match="the connection was lost"):
            copy(file, through, FakeClock())
    assert copy(file, url, FakeClock())["orders"] > 0
