"""The ledger's file: durable, private, and never replaced when something is wrong with it."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.errors import BusyError, ExitCode, LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Transaction, TransientError
from onetribe_bc.ledger.ledger import Seen
from onetribe_bc.ledger.locks import locks_beside
from onetribe_bc.ledger.sqlite import SqliteEngine
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    yield database
    database.close()


def fill(path: Path, orders: int = 400) -> None:
    """A real ledger with orders in it."""
    with closing(Database(path)) as database:
        ledger = make_book(database, FakeClock())
        ledger.record([Seen(make_order(i)) for i in range(1, orders + 1)])


def refusal(path: Path) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        fill(path)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    assert caught.value.hint
    return caught.value


class Stalled:
    """Keeps the ledger's thread busy, so that what is handed in meanwhile comes together."""

    def __init__(self, database: Database) -> None:
        self.gate = threading.Event()
        self._started = threading.Event()
        self._done = database.submit(self._wait, None)
        assert self._started.wait(10)

    def _wait(self, _transaction: Transaction, _items: object) -> list[None]:
        self._started.set()
        assert self.gate.wait(10)
        return [None]

    def go_on(self) -> None:
        self.gate.set()
        self._done.result()


def put(transaction: Transaction, names: Sequence[str]) -> list[str]:
    """A work that writes a row for each name."""
    for name in names:
        transaction.execute(f"INSERT INTO ledger_meta VALUES ('{name}', 'x')")
    return list(names)


def keys(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as reader:
        return {row[0] for row in reader.execute("SELECT key FROM ledger_meta")} - OWN


OWN = {"schema_version", "id", "home"}


def test_what_comes_in_during_a_commit_goes_into_one_commit_together(
    database: Database, path: Path
) -> None:
    stalled = Stalled(database)
    seen: list[set[str]] = []

    def note(transaction: Transaction, names: Sequence[str]) -> list[str]:
        seen.append(keys(path))  # another connection sees only what is committed
        return put(transaction, names)

    names = [f"key-{number}" for number in range(50)]
    futures = [database.submit(note, name) for name in names]
    other = database.submit(put, "other")
    stalled.go_on()
    assert [future.result() for future in futures] == names
    assert other.result() == "other"
    assert seen == [set()]
    assert keys(path) == {*names, "other"}


def test_many_threads_each_get_their_own_result(database: Database, path: Path) -> None:
    results: dict[str, str] = {}

    def job(number: int) -> None:
        for step in range(20):
            name = str(100 * number + step)
            results[name] = database.submit(put, name).result()

    threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    assert all(key == value for key, value in results.items())
    assert len(keys(path)) == 160


def test_one_failing_item_does_not_affect_its_batch(database: Database, path: Path) -> None:
    stalled = Stalled(database)

    def fail(transaction: Transaction, names: Sequence[str]) -> list[str]:
        done = put(transaction, names)
        if "failing" in names:
            raise KeyError("mine")
        return done

    before, failing, after = (
        database.submit(fail, name) for name in ("before", "failing", "after")
    )
    stalled.go_on()
    assert (before.result(), after.result()) == ("before", "after")
    with pytest.raises(KeyError, match="mine"):
        failing.result()
    assert keys(path) == {"before", "after"}


class PassingError(Exception):
    """A failure that passes."""


class Unreliable(SqliteEngine):
    """An engine that loses its connection at some COMMITs, before or after they are durable."""

    def __init__(self, path: Path, failures: Iterable[str]) -> None:
        super().__init__(path)
        self._failures = iter(failures)

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[Transaction]:
        failure = next(self._failures, "")
        with super().transaction(connection) as transaction:
            yield transaction
            if failure == "before":
                raise PassingError
        if failure == "after":
            raise PassingError

    def translate(self, error: BaseException) -> BaseException:
        if not isinstance(error, PassingError):
            return super().translate(error)
        return TransientError(LedgerError("The ledger cannot be reached."))


def test_a_transaction_that_fails_for_a_reason_that_passes_runs_again(path: Path) -> None:
    fill(path)
    clock = FakeClock()
    engine = Unreliable(path, ["before", "after", "before"])
    with closing(Database(engine, clock)) as database:
        ledger = make_book(database, clock)
        assert ledger.record([Seen(make_order(1000))]) == ["to send"]
    assert len(clock.slept) == 3


def test_a_transaction_that_goes_on_failing_ends_in_the_error_behind_it(path: Path) -> None:
    fill(path)
    clock = FakeClock()
    with (
        closing(Database(Unreliable(path, itertools.repeat("before")), clock)) as database,
        pytest.raises(LedgerError, match="cannot be reached"),
    ):
        database.submit(put, "x").result()
    assert 60 <= sum(clock.slept) < 70


def test_a_result_is_there_only_once_it_is_durable(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM ledger_meta").fetchall()  # holds a commit up
        future = database.submit(put, "late")
        assert not future.done()
        reader.rollback()
        assert future.result() == "late"
        assert "late" in keys(path)


def test_reads_wait_for_no_write(database: Database) -> None:
    ledger = make_book(database, FakeClock())
    ledger.record([Seen(make_order(1))])
    stalled = Stalled(database)
    assert ledger.status(wait_s=1).states == {State.PENDING: 1}
    assert [entry.order_id for entry in ledger.iter_entries()] == [1]
    assert len(ledger.entries([1])) == 1
    assert ledger.preview([Seen(make_order(1))]) == ["to send"]
    stalled.go_on()


def test_a_read_only_connection_writes_nothing(database: Database) -> None:
    with pytest.raises(LedgerError, match="readonly"):
        database.read(lambda transaction: put(transaction, ["one"]))


def test_ledger_and_journal_are_for_their_owner_only(database: Database, path: Path) -> None:
    database.submit(put, "one").result()
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"ledger.db", "ledger.db-journal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commits_survive_power_loss_without_a_write_ahead_log(
    database: Database,
) -> None:
    def pragma(name: str) -> Any:
        return database.do(lambda t: t.query(f"PRAGMA {name}"))[0][0]

    assert pragma("synchronous") == 2  # FULL
    assert pragma("journal_mode") == "truncate"


def test_the_schema_version_is_written_and_an_own_ledger_opens_again(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as reader:
        found = reader.execute("SELECT key, value FROM ledger_meta").fetchall()
    assert ("schema_version", str(schema.SCHEMA_VERSION)) in found
    assert {key for key, _ in found} == {"schema_version", "id"}
    with closing(Database(path)) as database:
        assert sum(make_book(database, FakeClock()).status().states.values()) == 400


@pytest.mark.parametrize("version", ["none", "", "²", "-1", "1.0"])
def test_a_ledger_that_does_not_tell_its_version_is_refused(path: Path, version: str) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE ledger_meta SET value = ?", (version,))
    assert "has no version" in str(refusal(path))


def test_a_ledger_without_a_version_is_refused(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("DELETE FROM ledger_meta")
    assert "has no version" in str(refusal(path))


def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE ledger_meta SET value = '7'")
    before = path.read_bytes()
    error = refusal(path)
    assert "version 7, made by a newer bc2ot" in str(error)
    assert "Upgrade bc2ot" in error.hint
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    assert "not a bc2ot ledger" in str(refusal(path))
    assert path.read_bytes() == before


def test_a_text_file_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    text = b"Dear diary, today I sold many a thing.\n" * 200
    path.write_bytes(text)
    assert "damaged" in str(refusal(path))
    assert path.read_bytes() == text


def test_a_damaged_ledger_is_reported_and_left_byte_for_byte(path: Path) -> None:
    fill(path, 3000)
    body = bytearray(path.read_bytes())
    page = 4096
    for start in range(page, len(body), page):
        body[start : start + 64] = b"\xa5" * 64  # each b-tree page's head but the first's
    path.write_bytes(bytes(body))
    with pytest.raises(LedgerError, match="damaged") as caught:
        fill(path)
    assert "restore a copy" in caught.value.hint
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    assert path.read_bytes() == bytes(body)


def test_a_folder_in_place_of_the_ledger_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert "cannot be opened for writing" in str(refusal(path))


def test_a_file_in_place_of_the_folder_is_refused(path: Path) -> None:
    path.parent.write_text("in the way")
    assert "cannot be opened for writing" in str(refusal(path))


@pytest.mark.skipif(not Path("/proc/sys").exists(), reason="needs a file system without files")
def test_a_folder_that_takes_no_files_is_refused() -> None:
    assert "cannot be opened for writing" in str(refusal(Path("/proc/sys/bc2ot/ledger.db")))


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind root")
def test_a_read_only_file_or_folder_is_refused(path: Path) -> None:
    fill(path)
    path.chmod(0o400)
    assert "cannot be opened for writing" in str(refusal(path))
    path.chmod(0o600)
    path.parent.chmod(0o500)
    try:
        assert "permission" in refusal(path).hint
    finally:
        path.parent.chmod(0o700)


def test_a_ledger_that_becomes_read_only_is_reported(database: Database) -> None:
    database.do(lambda t: t.execute("PRAGMA query_only=ON"))
    with pytest.raises(LedgerError, match="cannot be written") as caught:
        database.submit(put, "one").result()
    assert "write permission" in caught.value.hint


def test_a_full_disk_is_reported_and_committed_data_is_kept(database: Database, path: Path) -> None:
    ledger = make_book(database, FakeClock())
    ledger.record([Seen(make_order(1))])
    [(pages,)] = database.do(lambda t: t.query("PRAGMA page_count"))
    database.do(lambda t: t.query(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(LedgerError, match="is full") as caught:
        ledger.record([Seen(make_order(i)) for i in range(2, 1000)])
    assert "Make room" in caught.value.hint
    assert sum(ledger.status().states.values()) == 1
    database.do(lambda t: t.execute("PRAGMA max_page_count=100000"))
    ledger.record([Seen(make_order(i)) for i in range(2, 1000)])
    assert sum(ledger.status().states.values()) == 999


def test_whether_the_ledger_can_be_written_is_found_out_by_writing(
    database: Database, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as other:

        def version() -> int:
            (found,) = other.execute("PRAGMA data_version").fetchone()
            return int(found)

        seen = [version()]
        for _ in range(3):
            database.check_writable()
            seen.append(version())
    assert len(set(seen)) == 4  # SQLite leaves out a write that changes nothing
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError, match=r"did not respond within 0\.1 s"):
            database.check_writable(wait_s=0.1)
        other.execute("ROLLBACK")
    database.check_writable(wait_s=10)


_FILL_UP = """
import sys
from pathlib import Path
from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger.engine import Transaction, TransientError
from onetribe_bc.ledger.ledger import Seen
from onetribe_bc.ledger.writer import Database
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order

ledger = make_book(Database(Path(sys.argv[1])), FakeClock())
print("open", flush=True)
try:
    for start in range(1, 100_000, 100):
        ledger.record([Seen(make_order(i)) for i in range(start, start + 100)])
        print(start + 99, flush=True)
except LedgerError as error:
    print(error.exit_code, error.hint)
"""


def test_a_file_that_may_not_grow_ends_in_an_error_with_all_that_was_committed(
    path: Path,
) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    with subprocess.Popen(
        [sys.executable, "-B", "-c", _FILL_UP, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        preexec_fn=limit,
    ) as process:
        lines = process.communicate()[0].splitlines()
    code, hint = lines[-1].split(" ", 1)
    assert code == str(int(ExitCode.CONFIGURATION))
    assert hint
    with closing(Database(path)) as database:
        counts = make_book(database, FakeClock()).status().states
    assert sum(counts.values()) == int(lines[-2]) > 0


def test_a_ledger_locked_by_another_process_is_waited_for_and_then_busy(path: Path) -> None:
    fill(path)
    locker = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{locker}; print(1, flush=True); sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            closing(Database(path, lock_timeout_s=0.01)) as database,
            pytest.raises(BusyError, match="locked by another process") as caught,
        ):
            database.submit(put, "late").result()
        assert caught.value.exit_code == ExitCode.BUSY
        process.communicate()
    fill(path)


def test_all_waiting_threads_fail_after_one_timeout_when_the_ledger_is_locked(path: Path) -> None:
    fill(path)
    with (
        closing(Database(path, lock_timeout_s=0.2)) as database,
        closing(sqlite3.connect(path, isolation_level=None)) as locker,
    ):
        locker.execute("BEGIN IMMEDIATE")
        began_at = time.monotonic()
        futures = [database.submit(put, str(number)) for number in range(40)]
        for future in futures:
            with pytest.raises(BusyError):
                future.result()
        assert time.monotonic() - began_at < 2
        locker.rollback()
        assert database.submit(put, "late").result() == "late"


class Reader:
    """Another connection that reads, as a backup or a check does: it holds commits up."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT * FROM ledger_meta").fetchall()

    def close(self) -> None:
        self._connection.close()


def test_a_commit_waits_for_a_reader_as_long_as_for_a_writer(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Database(path)) as database:
        with closing(Reader(path)):
            waiting = database.submit(put, "late")
            while "waiting for it up to 28 s" not in caplog.text:
                assert not waiting.done()
                time.sleep(0.01)
        assert waiting.result() == "late"
    assert keys(path) == {"late"}


def test_a_commit_that_a_reader_outlasts_is_rolled_back_and_blocks_no_other(path: Path) -> None:
    with closing(Database(path, lock_timeout_s=0.1)) as database:
        with closing(Reader(path)), pytest.raises(LedgerError, match="Litestream") as caught:
            database.submit(put, "early").result()
        assert caught.value.exit_code == ExitCode.CONFIGURATION
        with closing(sqlite3.connect(path, timeout=0)) as other, other:
            assert keys(path) == set()
            other.execute("INSERT INTO ledger_meta VALUES ('other', 'x')")
        assert database.submit(put, "late").result() == "late"
    assert keys(path) == {"other", "late"}


def test_all_threads_sharing_a_commit_that_a_reader_outlasts_get_the_error(path: Path) -> None:
    with closing(Database(path, lock_timeout_s=0.1)) as database:
        stalled = Stalled(database)
        with closing(Reader(path)):
            futures = [database.submit(put, str(number)) for number in range(5)]
            stalled.gate.set()
            for future in futures:
                with pytest.raises(LedgerError, match="reading the ledger"):
                    future.result()
        assert database.submit(put, "late").result() == "late"
    assert keys(path) == {"late"}


def test_a_ledger_that_another_tool_put_into_wal_mode_is_refused(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
    error = refusal(path)
    assert "Litestream" in str(error)
    assert "PRAGMA journal_mode=TRUNCATE" in error.hint
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=TRUNCATE")
    fill(path)


def test_opening_a_ledger_during_a_commit_waits_and_is_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    opened = threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")

        def open_it() -> None:
            Database(path).close()
            opened.set()

        opener = threading.Thread(target=open_it)
        opener.start()
        while "waiting for it up to 28 s" not in caplog.text:
            assert not opened.is_set()
            time.sleep(0.01)
    opener.join()
    assert opened.is_set()


def test_using_a_closed_ledger_is_an_error(path: Path) -> None:
    database = Database(path)
    late = database.submit(put, "late")
    database.close()
    database.close()
    assert late.result() == "late"
    with pytest.raises(LedgerError, match="is closed"):
        database.submit(put, "one")


_OPEN_EACH = """
import sys
from pathlib import Path
from onetribe_bc.errors import Bc2otError
from onetribe_bc.ledger.writer import Database

for line in sys.stdin:
    try:
        Database(Path(line.strip())).close()
        print("opened", flush=True)
    except Bc2otError as error:
        print(error, flush=True)
"""


@pytest.mark.parametrize("there_were_runs", [False, True])
def test_concurrent_processes_create_one_ledger(
    tmp_path: Path,
    there_were_runs: bool,
) -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _OPEN_EACH],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for number in range(20):
            path = tmp_path / str(number) / "ledger.db"
            path.parent.mkdir()
            if there_were_runs:
                locks_beside(path).mkdir()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "opened\n"
            assert keys(path) == set()
            assert not list(path.parent.glob("*.new-*"))


def test_after_a_kill_during_creation_the_next_process_creates_the_ledger(path: Path) -> None:
    locks_beside(path).mkdir(parents=True)
    stop = (
        "import os, sys; from pathlib import Path;"
        "from onetribe_bc.ledger.writer import Database;"
        "sys.addaudithook(lambda event, _: event == sys.argv[2] and os.kill(os.getpid(), 9));"
        "Database(Path(sys.argv[1]))"
    )
    for event in ("sqlite3.connect", "os.link"):
        killed = subprocess.run([sys.executable, "-c", stop, str(path), event], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not path.exists()
    Database(path).close()
    assert keys(path) == set()


def test_a_file_system_without_links_is_reported(path: Path) -> None:
    stop = (
        "import sys; from pathlib import Path;"
        "from onetribe_bc.errors import LedgerError;"
        "from onetribe_bc.ledger.writer import Database\n"
        "def no_links(event, _arguments):\n"
        "    if event == 'os.link': raise PermissionError(1, 'Operation not permitted')\n"
        "sys.addaudithook(no_links)\n"
        "try: Database(Path(sys.argv[1]))\n"
        "except LedgerError as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", stop, str(path)], check=True, capture_output=True, text=True
    )
    assert "cannot be opened for writing: Operation not permitted." in told.stdout
    assert list(path.parent.iterdir()) == []


def test_a_truncated_ledger_does_not_count_as_new(path: Path) -> None:
    with closing(Database(path)) as database, make_book(database, FakeClock()).run("sync"):
        pass
    path.write_bytes(b"")
    assert "is empty, although there were runs with it" in str(refusal(path))
    assert path.read_bytes() == b""


def test_an_empty_file_that_no_run_has_used_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o600)
    Database(path).close()
    assert keys(path) == set()


def test_a_ledger_that_was_deleted_on_purpose_begins_anew(path: Path) -> None:
    with closing(Database(path)) as database, make_book(database, FakeClock()).run("sync"):
        pass
    path.unlink()
    Database(path).close()
    assert keys(path) == set()


def test_waiting_for_another_process_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Database(path)) as database:
        locker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        locker.execute("BEGIN IMMEDIATE")
        waiting = database.submit(put, "one")
        while "waiting for it up to 28 s" not in caplog.text:
            assert not waiting.done()
            time.sleep(0.01)
        locker.close()
        waiting.result()
        assert str(path) in caplog.text
