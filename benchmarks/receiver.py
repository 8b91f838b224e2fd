"""Callbacks taken in by `bc2ot serve`, against a bare waitress application that answers 200.

Both are processes of their own behind the same client, in turn in one run. What is taken in is
durable when it is answered. The callbacks are changes of orders that were delivered before, so
that the simulated services, which share this machine's cores with the receiver, take no part.
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

CONNECTIONS = 128
THREADS = 32
"""Of the bare application; more or fewer make it slower."""

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
    """One callback as it travels."""
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
    """Many connections to one server. Any answer but 2xx ends the measurement."""

    def __init__(self, port: int, connections: int = CONNECTIONS) -> None:
        self._port = port
        self._connections = connections

    def flood(self, requests: Sequence[bytes], seconds: float) -> float:
        """As many as the server takes for so long; answers per second."""
        ends_at = time.perf_counter() + seconds
        numbers = count()
        answered = [0] * self._connections

        def work(index: int) -> None:
            with self._connect() as connection:
                while time.perf_counter() < ends_at:
                    exchange(connection, requests[next(numbers) % len(requests)])
                    answered[index] += 1

        started = time.perf_counter()
        self._run(work)
        return sum(answered) / (time.perf_counter() - started)

    def steady(self, requests: Sequence[bytes], seconds: float, per_second: int) -> list[float]:
        """At a fixed pace, whether answers come or not; the seconds that each took from the
        moment on at which it was due.
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
    """Send a callback and wait for its answer, which has to be a 2xx."""
    connection.sendall(sent)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(4096)
        if not piece:
            break
        answer += piece
    if not answer.startswith(b"HTTP/1.1 2"):
        raise SystemExit(f"an answer was {answer[:60]!r}")


@contextmanager
def bare() -> Iterator[int]:
    """The bare application; yields its port."""
    command = [sys.executable, "-c", _BARE, str(THREADS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def receiver(environment: dict[str, str], folder: Path) -> Iterator[tuple[int, int]]:
    """`bc2ot serve`; yields its port and its process id."""
    command = [sys.executable, "-m", "onetribe_bc", "--log-format", "json", "serve"]
    command += ["--listen", "127.0.0.1:0"]
    told = {"BC2OT_RECEIVER_SECRET": SECRET, "PATH": os.environ["PATH"], "HOME": str(folder)}
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**environment, **told}, stderr=stderr)
        try:
            yield _port(log), process.pid
        finally:
            process.terminate()
            process.wait(60)


def _port(log: Path) -> int:
    """The port that the receiver says it listens on."""
    for _ in range(200):
        for line in log.read_text().splitlines():
            message = json.loads(line)["message"]
            if "127.0.0.1:" in message:
                return int(message.partition("127.0.0.1:")[2].split()[0].strip("/."))
        time.sleep(0.05)
    raise SystemExit(f"bc2ot serve did not start: {log.read_text()}")


def compare(environment: dict[str, str], order_ids: Sequence[int], ledger: str) -> dict[str, float]:
    """Both, alternating. The ratios of answers per second and of the 99th percentile of the
    answer time at a steady 200 callbacks a second.
    """
    requests = [request(order_id, environment["BC2OT_STORE_HASH"]) for order_id in order_ids]
    rates: dict[str, list[float]] = {"bare": [], "serve": []}
    slowest: dict[str, list[float]] = {"bare": [], "serve": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, _ = stack.enter_context(receiver({**environment, "BC2OT_LEDGER": ledger}, folder))
        ports = {"bare": stack.enter_context(bare()), "serve": ours}
        for round_ in range(4):
            for name, port in ports.items():
                found = Client(port).flood(requests, 3)
                if round_:  # the first one warms both up
                    rates[name].append(found)
        for name, port in ports.items():
            took = Client(port).steady(requests, 10, 200)
            slowest[name].append(statistics.quantiles(took, n=100)[98])
    rate = {name: statistics.median(each) for name, each in rates.items()}
    p99 = {name: statistics.median(each) for name, each in slowest.items()}
    print(
        f"receiver: {rate['serve']:,.0f} durable callbacks/s of {rate['bare']:,.0f}/s bare: ratio "
        f"{rate['serve'] / rate['bare']:.2f} (to reach: 0.50)"
    )
    print(
        f"receiver: 99 % answered in {p99['serve'] * 1000:.1f} ms, bare in "
        f"{p99['bare'] * 1000:.1f} ms, at 200/s: ratio {p99['serve'] / p99['bare']:.2f}"
    )
    return {"rate": rate["serve"] / rate["bare"], "p99": p99["serve"] / p99["bare"]}
