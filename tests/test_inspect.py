"""A look at a ledger's file, which changes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from onetribe_bc.errors import BusyError, LedgerError
from onetribe_bc.ledger.ledger import Seen
from onetribe_bc.ledger.schema import SCHEMA_VERSION
from onetribe_bc.ledger.sqlite import Inspection, inspect
from onetribe_bc.ledger.writer import Database
from tests.clocks import STARTED_AT, FakeClock
from tests.delivering import make_book, make_order

HALF_A_WRITE = """
import os, sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("PRAGMA journal_mode=TRUNCATE")
ledger.execute("PRAGMA cache_size=1")
ledger.execute("BEGIN IMMEDIATE")
rows = ((f"key{number}", "x" * 150) for number in range(5_000))
ledger.executemany("INSERT INTO ledger_meta VALUES (?, ?)", rows)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a ledger?.db"


@pytest.fixture
def ledger(path: Path, clock: FakeClock) -> Path:
    """Two orders of the store "shop", the second seen an hour later."""
    with closing(Database(path)) as database:
        for order_id in (1, 2):
            make_book(database, clock).record([Seen(make_order(order_id))])
            clock.advance(3600)
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_it_tells_version_and_size_and_when_an_order_was_last_seen_first(ledger: Path) -> None:
    assert inspect(ledger, "shop") == Inspection(
        size=ledger.stat().st_size,
        version=SCHEMA_VERSION,
        newest_order_at=STARTED_AT + timedelta(hours=1),
    )


def test_another_stores_orders_do_not_count(ledger: Path) -> None:
    found = inspect(ledger, "another")
    assert found is not None
    assert found.newest_order_at is None


def test_inspecting_a_missing_ledger_creates_nothing(path: Path) -> None:
    assert inspect(path, "shop") is None
    assert not path.exists()


def test_inspecting_changes_no_version(ledger: Path) -> None:
    change(ledger, "UPDATE ledger_meta SET value = '2' WHERE key = 'schema_version'")
    before = hashlib.sha256(ledger.read_bytes()).digest()
    found = inspect(ledger, "shop")
    assert found is not None
    assert found.version == 2
    assert hashlib.sha256(ledger.read_bytes()).digest() == before
    assert [file.name for file in ledger.parent.iterdir()] == [ledger.name]


def test_an_empty_file_and_an_empty_database_have_no_version(path: Path) -> None:
    path.touch()
    assert inspect(path, "shop") == Inspection(0)
    change(path, "CREATE TABLE passing (x)")
    change(path, "DROP TABLE passing")
    assert inspect(path, "shop") == Inspection(path.stat().st_size)


def test_what_is_no_database_is_damaged(path: Path) -> None:
    path.write_bytes(b"not a database, whatever it is called" * 100)
    with pytest.raises(LedgerError, match="is damaged: file is not a database"):
        inspect(path, "shop")


def test_damage_inside_is_found(ledger: Path) -> None:
    pages = bytearray(ledger.read_bytes())
    for page in range(1, len(pages) // 4096):
        pages[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    ledger.write_bytes(pages)
    with pytest.raises(LedgerError, match="is damaged") as caught:
        inspect(ledger, "shop")
    assert "restore a copy" in caught.value.hint


def test_a_broken_schema_is_found(ledger: Path) -> None:
    content = bytearray(ledger.read_bytes())
    content[100:108] = b"\xff" * 8
    ledger.write_bytes(content)
    with pytest.raises(LedgerError, match="is damaged"):
        inspect(ledger, "shop")


def test_another_programs_database_is_no_ledger(path: Path) -> None:
    change(path, "CREATE TABLE bookmarks (x)")
    with pytest.raises(LedgerError, match="not a bc2ot ledger"):
        inspect(path, "shop")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM ledger_meta", "UPDATE ledger_meta SET value = 'two'"]
)
def test_a_ledger_without_a_version_is_said_to_have_none(ledger: Path, statement: str) -> None:
    change(ledger, statement)
    with pytest.raises(LedgerError, match="has no version"):
        inspect(ledger, "shop")


def test_what_is_no_file_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="not a regular file"):
        inspect(tmp_path, "shop")
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="could not be used"):
        inspect(tmp_path / "file" / "ledger.db", "shop")


def test_a_missing_column_is_reported(ledger: Path) -> None:
    change(ledger, "ALTER TABLE orders RENAME COLUMN first_seen_at TO seen_at")
    with pytest.raises(LedgerError, match="could not be used: no such column"):
        inspect(ledger, "shop")


def test_an_interrupted_write_is_reported_and_left_for_the_next_run(ledger: Path) -> None:
    subprocess.run([sys.executable, "-c", HALF_A_WRITE, str(ledger)], check=False)
    journal = ledger.with_name(f"{ledger.name}-journal").read_bytes()
    found = inspect(ledger, "shop")
    assert found is not None
    assert found.interrupted
    assert ledger.with_name(f"{ledger.name}-journal").read_bytes() == journal
    Database(ledger).close()
    again = inspect(ledger, "shop")
    assert again is not None
    assert (again.interrupted, again.version) == (False, SCHEMA_VERSION)


def test_a_ledger_that_someone_is_writing_for_long_is_busy(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match="is locked by another process"):
            inspect(ledger, "shop", lock_timeout_s=0)
