"""A ledger of an older version is brought up to this one, and a copy of it is kept."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.locks import locks_beside
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database

DUMP = Path(__file__).parent / "data" / "ledger_v2.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger as version 2 left it, with a sync that was killed while it sent order 105."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    path.chmod(0o600)
    return path


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def tables(path: Path) -> dict[str, str]:
    """What each table and index was made by, whatever its lines are broken by."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: "".join(sql.split()) for name, sql in found}


def test_an_older_ledger_is_migrated_without_loss(old: Path) -> None:
    with closing(Database(old)) as database:
        ledger = Ledger(database, store_hash="sandbox1", destination="0123456789abcdef")
        states = {entry.order_id: entry.state for entry in ledger.iter_entries()}
        assert ledger.bookmark() is not None
        assert len(ledger.attempts(100)) == 1
        assert [named.order_id for named in ledger.inbox.all()] == [104]
        status = ledger.status()
        assert status.states == Counter(states.values())
        assert status.skipped_reasons == {"status Incomplete": 1}
        delivered = ledger.entry(100)
        assert delivered is not None
        assert status.last_delivered_at == delivered.delivered_at
    assert states == {
        100: State.DELIVERED,
        101: State.UNKNOWN,
        102: State.FAILED,
        103: State.SKIPPED,
        104: State.PENDING,
        105: State.SENDING,
    }
    with closing(sqlite3.connect(old)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM ledger_meta"))
    assert meta["schema_version"] == str(schema.SCHEMA_VERSION)
    assert len(meta["id"]) == 32


def test_the_orders_of_two_spellings_of_a_store_hash_are_merged(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(orders)")]
        values = ", ".join("'SandBox1'" if n == "store_hash" else n for n in columns)
        connection.execute(f"INSERT INTO orders SELECT {values} FROM orders")
        for store_hash, order_id, state, arrivals, deliveries, delivered_at in (
            ("SandBox1", 100, "delivered", 2, 2, 1772366999000),
            ("sandbox1", 102, "failed", 0, 0, None),
            ("SandBox1", 102, "delivered", 1, 1, 1772366999000),
        ):
            connection.execute(
                "UPDATE orders SET state = ?, arrivals = ?, deliveries = ?, delivered_at = ?"
                " WHERE store_hash = ? AND order_id = ?",
                (state, arrivals, deliveries, delivered_at, store_hash, order_id),
            )
        connection.execute("UPDATE orders SET order_id = 900"
                           " WHERE store_hash = 'SandBox1' AND order_id = 101")  # fmt: skip
        connection.commit()
    with closing(Database(old)) as database:
        ledger = Ledger(database, store_hash="sandbox1", destination="0123456789abcdef")
        merged = {entry.order_id: entry for entry in ledger.iter_entries()}
        assert ledger.status().states == Counter(entry.state for entry in merged.values())
    assert {i: (e.state, e.arrivals, e.deliveries) for i, e in merged.items()} == {
        100: (State.DELIVERED, 3, 3),
        101: (State.UNKNOWN, 1, 0),
        102: (State.DELIVERED, 1, 1),
        103: (State.SKIPPED, 0, 0),
        104: (State.PENDING, 0, 0),
        105: (State.SENDING, 0, 0),
        900: (State.UNKNOWN, 1, 0),
    }
    first, other = merged[100].delivered_at, merged[102].delivered_at
    assert (first and first.timestamp(), other and other.timestamp()) == (1772366401, 1772366999)
    with closing(sqlite3.connect(old)) as connection:
        tables_of_stores = ("orders", "attempts", "runs", "bookmarks", "callbacks", "counts")
        for table in tables_of_stores:
            hashes = connection.execute(f"SELECT DISTINCT store_hash FROM {table}").fetchall()
            assert hashes == [("sandbox1",)]


def test_the_claim_of_a_run_of_the_older_version_is_recovered(old: Path) -> None:
    locks_beside(old).mkdir()
    with closing(sqlite3.connect(old)) as connection:
        [(run_id,)] = connection.execute("SELECT id FROM runs WHERE ended_at IS NULL")
    (locks_beside(old) / f"run-{run_id}.lock").touch()
    with closing(Database(old)) as database:
        ledger = Ledger(database, store_hash="sandbox1", destination="0123456789abcdef")
        assert ledger.recover() == [105]
        assert ledger.status().states[State.UNKNOWN] == 2


def test_a_migrated_ledger_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    Database(old).close()
    Database(tmp_path / "new.db").close()
    assert tables(old) == tables(tmp_path / "new.db")


def test_an_older_ledger_is_backed_up_to_a_private_file(old: Path) -> None:
    before = dump(old)
    Database(old).close()
    copy = old.with_name("ledger.db.v2.bak")
    assert dump(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_copy_never_replaces_another(old: Path) -> None:
    first = old.with_name("ledger.db.v2.bak")
    first.write_text("kept")
    Database(old).close()
    assert first.read_text() == "kept"
    assert dump(old.with_name("ledger.db.v2.bak.2"))


def test_it_is_migrated_once(old: Path) -> None:
    Database(old).close()
    Database(old).close()
    assert not old.with_name("ledger.db.v2.bak.2").exists()


def test_if_the_backup_fails_the_ledger_is_unchanged(
    tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(old)

    def no_room(*_arguments: object) -> None:
        assert not list(tmp_path.glob("*.bak*"))  # it gets that name when it is whole
        raise sqlite3.OperationalError("database or disk is full")

    real = sqlite3.connect

    class Full(sqlite3.Connection):
        backup = no_room  # type: ignore[assignment]

    monkeypatch.setattr(
        "onetribe_bc.ledger.migrations.sqlite3.connect", lambda *a, **k: real(*a, factory=Full, **k)
    )
    with pytest.raises(LedgerError, match="could not be backed up") as caught:
        Database(old)
    monkeypatch.undo()
    assert caught.value.hint
    assert dump(old) == before
    assert not [*tmp_path.glob("*.bak*"), *tmp_path.glob("*.copy-*")]


def test_a_failed_migration_leaves_the_older_version_and_no_backup(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TABLE counts (stranger TEXT)")
        connection.commit()
    for _ in range(2):
        with pytest.raises(LedgerError, match="counts has no column"):
            Database(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT value FROM ledger_meta").fetchone() == ("2",)
    assert not list(old.parent.glob("*.bak*"))


def test_a_migration_that_a_reader_outlasts_leaves_the_older_version_and_no_copy(old: Path) -> None:
    before = dump(old)
    with closing(sqlite3.connect(old, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM ledger_meta").fetchall()
        with pytest.raises(LedgerError, match="reading the ledger"):
            Database(old, lock_timeout_s=0.1)
    assert dump(old) == before
    assert not list(old.parent.glob("*.bak*"))
