"""Load `bc2ot serve` for a long time: `python -m benchmarks.soak [MINUTES]`.

The load: new orders with three callbacks each, several kinds of invalid requests, clients that
leave in the middle of a request, and every minute an outage of one service. Memory, threads and
open files come from /proc (Linux). At the end One Tribe must have each order exactly once.
"""

from __future__ import annotations

import itertools
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from benchmarks.receiver import SECRET, exchange, receiver, request
from onetribe_bc.sandbox import Sandbox, parse_fault

MINUTES = 10.0
SAMPLE_S = 15.0
ORDERS_PER_S = 20
OUTAGE_S = 5.0
SETTLED = 0.25
"""The share of the time after which caches are warm; memory growth is measured from there."""

_SCOPES = ("store/order/created", "store/order/updated", "store/order/statusUpdated")
_OUTAGES = ("onetribe:5xx", "bigcommerce:5xx", "onetribe:bare_429", "bigcommerce:reset")


class Load:
    """Loads a receiver from threads of its own until `end`."""

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self._sandbox = sandbox
        self._port = port
        self._over = threading.Event()
        self.order_ids: list[int] = []
        self.invalid = 0
        self.errors: list[str] = []
        """Errors that ended a thread early."""
        works = (self._place_orders, self._disturb, self._cause_outages)
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._sandbox.faults.clear()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - reported at the end
            self.errors.append(f"{work.__name__}: {error!r}")

    def _place_orders(self) -> None:
        """Place orders and post their callbacks, 50 orders per connection."""
        while not self._over.is_set():
            with self._connect() as connection:
                for _ in range(50):
                    order_id = self._sandbox.store.add(status_id=11)
                    for scope in _SCOPES:
                        exchange(connection, request(order_id, self._sandbox.store_hash, scope))
                    self.order_ids.append(order_id)
                    if self._over.wait(1 / ORDERS_PER_S):
                        return

    def _disturb(self) -> None:
        good = request(1, self._sandbox.store_hash)
        for sent in itertools.cycle(
            (
                good.replace(SECRET.encode(), b"a-guess"),  # 401
                good[:-20],  # leaves within the body
                b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",  # 404
                b"\x16\x03\x01 this is not HTTP\r\n\r\n",  # 400
                good.replace(b"Content-Length: ", b"Content-Length: 9"),  # 413, or never complete
                b"",  # connects and leaves
            )
        ):
            if self._over.wait(0.1):
                return
            with self._connect() as connection, suppress(ConnectionError, TimeoutError):
                connection.settimeout(0.2)
                connection.sendall(sent)
                connection.recv(4096)
            self.invalid += 1

    def _cause_outages(self) -> None:
        for outage in itertools.cycle(_OUTAGES):
            if self._over.wait(60 - OUTAGE_S):
                return
            self._sandbox.faults.add(parse_fault(outage))
            self._over.wait(OUTAGE_S)
            self._sandbox.faults.clear()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=30)


def usage(pid: int) -> tuple[float, int, int]:
    """Return resident memory in MiB, threads, and open files."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    resident_kib, threads = int(fields["VmRSS"].split()[0]), int(fields["Threads"])
    return resident_kib / 1024, threads, len(list((process / "fd").iterdir()))


def metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name}{{"):
                return float(line.rpartition(" ")[2])
    raise SystemExit(f"no metric {name}")


def soak(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as name, Sandbox(0, quota=None) as sandbox:
        folder = Path(name)
        sandbox.onetribe.latency_s = 0.01
        config = folder / "bc2ot.yaml"
        config.write_text("receiver: {sync_every: 1m}\n")
        environment = {
            **sandbox.environment(),
            "BC2OT_LEDGER": f"{folder}/ledger.db",
            "BC2OT_CONFIG": str(config),
        }
        with receiver(environment, folder) as (port, pid):
            load = Load(sandbox, port)
            samples = _watch(load, port, pid, minutes * 60)
            load.end()
            _wait_until_all_are_sent(port)
            counts = sandbox.onetribe.counts()
        settled, last = samples[int(len(samples) * SETTLED)], samples[-1]
        lost = set(load.order_ids) - set(counts)
        duplicate = sum(counts.values()) - len(counts)
        print(
            f"soak: {len(load.order_ids):,} orders, {load.invalid:,} invalid requests; "
            f"{len(lost)} lost, {duplicate} duplicate\n"
            f"soak: memory {settled[0]:.1f} MiB after {SETTLED:.0%} of the time, "
            f"{last[0]:.1f} MiB at the end: ratio {last[0] / settled[0]:.3f}; "
            f"threads {settled[1]} and {last[1]}, open files {settled[2]} and {last[2]}"
        )
        if load.errors or lost or duplicate:
            raise SystemExit(f"soak: {load.errors or 'lost or duplicate orders'}")


def _watch(load: Load, port: int, pid: int, seconds: float) -> list[tuple[float, int, int]]:
    begin, samples = time.monotonic(), []
    while (passed := time.monotonic() - begin) < seconds and not load.errors:
        samples.append(usage(pid))
        memory, threads, files = samples[-1]
        owed = metric(port, "bc2ot_owed_orders")
        print(
            f"soak: {passed:5.0f} s  {memory:6.1f} MiB  {threads} threads  {files} files  "
            f"{len(load.order_ids):,} orders, {owed:.0f} owed",
            flush=True,
        )
        time.sleep(SAMPLE_S)
    return samples


def _wait_until_all_are_sent(port: int) -> None:
    for _ in range(240):
        waiting = metric(port, "bc2ot_waiting_orders") + metric(port, "bc2ot_owed_orders")
        if not waiting:
            return
        time.sleep(0.5)
    raise SystemExit(f"soak: {waiting:.0f} orders are still owed")


if __name__ == "__main__":
    soak(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES)
