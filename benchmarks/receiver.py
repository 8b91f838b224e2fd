"""Callbacks recorded by `bc2ot serve`, compared with a bare waitress application.

Each runs in a process of its own, and the same client loads them in turn. A recorded callback is
durable before its response. The callbacks report changes of delivered orders, so that the
simulated services, which share the cores with the receiver, have nothing to do.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

CONNECTIONS = (16, 128)
THREADS = 32
"""Threads of the bare application, as many as the receiver has."""

SECRET = "a-benchmark's-secret"
_BARE = """
import logging, sys, waitress
logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that requests wait is no news
def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
server = waitress.create_server(
    application, listen="127.0.0.1:0", threads=int(sys.argv[1]), connection_limit=500
)
print(server.effective_port, flush=True)
server.run()
"""


def request(order_id: int, store_hash: str, scope: str = "store/order/updated") -> bytes:
    """Return the bytes of one callback request."""
    body = json.dumps(
        {
            "scope": scope,
            "store_id": "1025646",
            "data": {"type": "order", "id": order_id},
            "hash": "dd70c0976e06b67aaf671e73f49dcb79230ebf9d",
            "created_at": 1561479335,
            "producer": f"stores/{store_hash}",
        }
    ).encode()
    return (
        b"POST / HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n"
        b"X-Bc2ot-Secret: %s\r\nContent-Length: %d\r\n\r\n" % (SECRET.encode(), len(body))
    ) + body


class Client:
    """Many connections to one server. Any response but 2xx ends the measurement."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._connections = connections

    def flood(self, requests: Sequence[bytes], seconds: float) -> float:
        """Send requests without a pause; return the responses per second."""
        ends_at = time.perf_counter() + seconds
        numbers = count()
        responses = [0] * self._connections

        def work(index: int) -> None:
            with self._connect() as connection:
                while time.perf_counter() < ends_at:
                    exchange(connection, requests[next(numbers) % len(requests)])
                    responses[index] += 1

        started = time.perf_counter()
        self._run(work)
        return sum(responses) / (time.perf_counter() - started)

    def steady(self, requests: Sequence[bytes], seconds: float, per_second: int) -> list[float]:
        """Send requests at a fixed rate; return the seconds from when each was due to its
        response.
        """
        total = int(seconds * per_second)
        begin = time.perf_counter() + 0.1
        numbers = count()
        took: list[float] = []

        def work(_index: int) -> None:
            with self._connect() as connection:
                while (number := next(numbers)) < total:
                    due = begin + number / per_second
                    time.sleep(max(0.0, due - time.perf_counter()))
                    exchange(connection, requests[number % len(requests)])
                    took.append(time.perf_counter() - due)

        self._run(work)
        return took

    def _run(self, work: object) -> None:
        assert callable(work)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def exchange(connection: socket.socket, sent: bytes) -> None:
    """Send a callback and wait for its response, which must be a 2xx."""
    connection.sendall(sent)
    response = b""
    while b"\r\n\r\n" not in response:
        piece = connection.recv(4096)
        if not piece:
            break
        response += piece
    if not response.startswith(b"HTTP/1.1 2"):
        raise SystemExit(f"unexpected response: {response[:60]!r}")


@contextmanager
def bare() -> Iterator[int]:
    """Run the bare application; yield its port."""
    command = [sys.executable, "-c", _BARE, str(THREADS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def receiver(environment: dict[str, str], folder: Path) -> Iterator[tuple[int, int]]:
    """Run `bc2ot serve`; yield its port and process ID."""
    command = [sys.executable, "-m", "onetribe_bc", "--log-format", "json", "serve"]
    command += ["--listen", "127.0.0.1:0"]
    own = {"BC2OT_RECEIVER_SECRET": SECRET, "PATH": os.environ["PATH"], "HOME": str(folder)}
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**environment, **own}, stderr=stderr)
        try:
            yield _port(log), process.pid
        finally:
            process.terminate()
            process.wait(60)


def _port(log: Path) -> int:
    """Return the port from the receiver's log."""
    for _ in range(200):
        for line in log.read_text().splitlines():
            message = json.loads(line)["message"]
            if "127.0.0.1:" in message:
                return int(message.partition("127.0.0.1:")[2].split()[0].strip("/."))
        time.sleep(0.05)
    raise SystemExit(f"bc2ot serve did not start: {log.read_text()}")


def compare(environment: dict[str, str], order_ids: Sequence[int], ledger: str) -> dict[str, float]:
    """Load both in turn. Return the ratio of callbacks per second for each number of connections,
    and of the 99th percentile of the response time at a steady 200 callbacks a second.
    """
    requests = [request(order_id, environment["BC2OT_STORE_HASH"]) for order_id in order_ids]
    ratios: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, _ = stack.enter_context(receiver({**environment, "BC2OT_LEDGER": ledger}, folder))
        ports = {"bare": stack.enter_context(bare()), "serve": ours}
        for connections in CONNECTIONS:
            rates: dict[str, list[float]] = {"bare": [], "serve": []}
            for round_ in range(4):
                for name, port in ports.items():
                    rate = Client(port, connections).flood(requests, 3)
                    if round_:  # the first one warms both up
                        rates[name].append(rate)
            rate, bare_rate = (statistics.median(rates[name]) for name in ("serve", "bare"))
            ratios[f"rate_{connections}"] = rate / bare_rate
            print(
                f"receiver: {rate:,.0f} durable callbacks/s (to reach: 2,500), bare "
                f"{bare_rate:,.0f}/s, with {connections} connections: ratio {rate / bare_rate:.2f}"
            )
        p99_s = {
            name: statistics.quantiles(
                Client(port, CONNECTIONS[0]).steady(requests, 10, 200), n=100
            )[98]
            for name, port in ports.items()
        }
    ratios["p99"] = p99_s["serve"] / p99_s["bare"]
    print(
        f"receiver: 99 % answered within {p99_s['serve'] * 1000:.1f} ms (to keep below: 10), bare "
        f"{p99_s['bare'] * 1000:.1f} ms, at 200/s: ratio {ratios['p99']:.2f}"
    )
    return ratios
