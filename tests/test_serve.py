"""`bc2ot serve`: startup, output and shutdown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from onetribe_bc.sandbox import Quota
from tests.callbacks import CREATED, STATUS_UPDATED, UPDATED, Client, callback, signed, until
from tests.conftest import SandboxFactory
from tests.shell import Outcome, Shell, shell_fixture  # noqa: F401
from tests.wire import WireServer, answer, free_port, read_request


@dataclass
class Started:
    """A receiver in its own process; `log` holds its stderr."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def output(self) -> str:
        return self.log.read_text()

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> int:
        with Client(self.port) as client:
            return client.post(body, signed(body) if headers is None else headers).status

    def end(self, shell: Shell, number: signal.Signals = signal.SIGTERM) -> Outcome:
        self.process.send_signal(number)
        self.process.wait(30)
        return shell.checked(Outcome(self.process.returncode, b"", self.log.read_bytes()))


@contextmanager
def serving(shell: Shell, *arguments: str) -> Iterator[Started]:
    """`bc2ot … serve`, on a free port."""
    log = shell.folder / "log"
    command = list(arguments) if "serve" in arguments else [*arguments, "serve"]
    at = command.index("serve") + 1
    command[at:at] = ["--listen", "127.0.0.1:0"]
    with log.open("wb") as stderr:
        process = shell.start(*command, stderr=stderr)
        try:
            pattern = re.compile(r"listening on http://127\.0\.0\.1:(\d+)/")
            found = until(lambda: pattern.search(log.read_text()) or process.poll() is not None)
            assert not isinstance(found, bool), log.read_text()
            yield Started(process, log, int(found[1]))
        finally:
            process.kill()
            process.wait()


def test_a_callback_becomes_a_delivery_and_sigterm_stops_the_receiver(shell: Shell) -> None:
    shell.configure(receiver={"sync_every": "0m"})  # or it might send the order
    with serving(shell) as receiver:
        assert receiver.post(callback(218)) == 200
        until(lambda: shell.sandbox.onetribe.counts() == {218: 1})
        until(lambda: "Order 218: delivered, " in receiver.output())
        told = receiver.end(shell).says(
            0, "Store sandbox1: listening on", "Finishing requests in flight"
        )
    assert "Callback store/order/created for order 218: recorded." in told.err
    assert "GET /" not in told.err  # requests are for -v
    assert shell.states() == {"delivered": 1}


def test_ctrl_c_stops_it(shell: Shell) -> None:
    with serving(shell) as receiver:
        receiver.end(shell, signal.SIGINT).says(0)


def test_shutdown_finishes_requests_in_flight_and_keeps_the_other_orders(shell: Shell) -> None:
    shell.set(BC2OT_WORKERS="1")
    shell.sandbox.onetribe.latency_s = 1
    store = shell.sandbox.store
    real = [i for i in store.ids() if store.row(i).status_id][:5]
    with serving(shell) as receiver:
        for order_id in real:
            assert receiver.post(callback(order_id)) == 200
        until(lambda: shell.sandbox.onetribe.received)
        receiver.end(shell).says(0)
    sent = shell.sandbox.onetribe.counts()
    assert 1 <= len(sent) < 5
    assert shell.states() == {"delivered": len(sent), "pending": 5 - len(sent)}
    shell.sandbox.onetribe.latency_s = 0
    with serving(shell) as receiver:
        until(lambda: shell.sandbox.onetribe.counts() == dict.fromkeys(real, 1))
        receiver.end(shell).says(0)


def test_after_the_grace_time_it_stops_and_the_next_run_recovers_the_order(shell: Shell) -> None:
    shell.sandbox.onetribe.latency_s = 30
    with serving(shell, "serve", "--grace", "0.2") as receiver:
        assert receiver.post(callback(218)) == 200
        until(lambda: shell.sandbox.onetribe.received)
        receiver.end(shell).says(0, "got no response within 0.2 s")
    shell.sandbox.onetribe.latency_s = 0
    shell.run("sync").says(1 if "unknown" in shell.states() else 0)
    assert shell.state(218)["state"] == "delivered"
    assert shell.state(218)["arrivals"] == 2


def test_sigterm_stops_it_as_process_1_of_a_container(shell: Shell) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("no process namespaces here")
    log = shell.folder / "log"
    command = [*alone, *shell.command("serve", "--listen", "127.0.0.1:0")]
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as unshare:
        shell.started.append(unshare)
        until(lambda: "listening on" in log.read_text())
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        (receiver,) = map(int, children.read_text().split())
        os.kill(receiver, signal.SIGTERM)
        assert unshare.wait(30) == 0
    assert "Finishing requests in flight" in log.read_text()


def test_a_second_signal_stops_it_immediately(shell: Shell) -> None:
    shell.sandbox.onetribe.latency_s = 30
    with serving(shell) as receiver:
        assert receiver.post(callback(218)) == 200
        until(lambda: shell.sandbox.onetribe.received)
        receiver.process.send_signal(signal.SIGTERM)
        until(lambda: "Finishing requests in flight" in receiver.output())
        receiver.end(shell, signal.SIGINT).says(130, "stopped immediately")


def test_the_log_format_is_json_on_request_and_quiet_hides_it(shell: Shell) -> None:
    with serving(shell, "--log-format", "json") as receiver:
        assert receiver.post(callback(218)) == 200
        assert receiver.post(callback(218), {}) == 401
        until(lambda: "delivered" in receiver.output())
        receiver.end(shell)
    lines = [json.loads(line) for line in receiver.output().splitlines()]
    assert any(line["message"].startswith("Order 218: delivered") for line in lines)
    assert any(
        line["message"] == "Refused a request with 401: signature missing." for line in lines
    )
    port = free_port()
    with (shell.folder / "quiet").open("wb") as stderr:
        quiet = shell.start("-q", "serve", "--listen", f"127.0.0.1:{port}", stderr=stderr)
        until(lambda: responds(port))
        with Client(port) as client:
            assert client.post(callback(218), signed(callback(218))).status == 200
        quiet.send_signal(signal.SIGTERM)
        assert quiet.wait(30) == 0
    assert "218" not in (shell.folder / "quiet").read_text()


def responds(port: int) -> bool:
    try:
        with Client(port) as client:
            return client.post(b"", {}, method="GET", path="/healthz").status == 200
    except ConnectionError:
        return False


def test_verbose_shows_requests(shell: Shell) -> None:
    with serving(shell, "-v") as receiver:
        assert receiver.post(callback(218)) == 200
        until(lambda: "Order 218: delivered" in receiver.output())
        told = receiver.end(shell).says(0)
    assert "POST /direct/webhook/big-commerce/order/**** 200" in told.err


def test_a_burst_over_many_connections_is_sent_once_each_within_all_limits(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    sandbox = make_sandbox(0, now=None, quota=Quota(30, 2))
    ids = [sandbox.store.add(status_id=11) for _ in range(1_000)]
    shell.use(sandbox)
    onetribe = Counted()
    statuses: list[int] = []
    with WireServer(onetribe.play) as wire:
        shell.set(BC2OT_ONETRIBE_URL=f"{wire.url}/direct/webhook/key", BC2OT_WORKERS="4")
        with serving(shell) as receiver:

            def burst(part: int) -> None:
                with Client(receiver.port) as client:
                    for order_id in ids[part::32]:
                        for scope in (CREATED, UPDATED, STATUS_UPDATED):
                            body = callback(order_id, scope)
                            statuses.append(client.post(body, signed(body)).status)

            threads = [threading.Thread(target=burst, args=(part,)) for part in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            until(lambda: shell.states() == {"delivered": 1_000}, 90)
            receiver.end(shell).says(0)
    assert statuses == [200] * 3_000
    assert onetribe.times == dict.fromkeys(ids, 1)
    assert onetribe.most == 4
    assert not [record for record in sandbox.requests if record.status == 429]


class Counted:
    """Counts the arrivals of each order at One Tribe, and its concurrent requests."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def play(self, connection: socket.socket) -> None:
        while got := read_request(connection):
            order_id = json.loads(got.partition(b"\r\n\r\n")[2])["id"]
            with self._lock:
                self._now += 1
                self.most = max(self.most, self._now)
                self.times[order_id] += 1
            time.sleep(0.002)
            with self._lock:
                self._now -= 1
            connection.sendall(answer())


# Startup


def test_without_a_secret_it_does_not_start(shell: Shell) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None)
    shell.run("serve", "--listen", "127.0.0.1:0").says(
        3, "No secret is set", "hooks create --receiver"
    )


def test_insecure_works_on_loopback_only(shell: Shell) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None)
    for host in ("0.0.0.0", "[::]", "example.com"):
        shell.run("serve", "--insecure", "--listen", f"{host}:0").says(2, "this machine only")
    with serving(shell, "serve", "--insecure") as receiver:
        assert receiver.post(callback(218), {}) == 200
        assert receiver.post(callback(218), {"X-Forwarded-For": "127.0.0.1"}) == 401
        receiver.end(shell).says(0, "Warning: Callbacks are not verified")


@pytest.mark.parametrize(
    "address", ["8080", "localhost", "127.0.0.1:99999", "::1:80", "http://x:1", "a b:1", ":x"]
)
def test_an_invalid_address_is_refused(shell: Shell, address: str) -> None:
    shell.run("serve", "--listen", address).says(
        2, "Invalid address for --listen", "127.0.0.1:8080"
    )


def test_an_unusable_address_is_refused(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shell.run("serve", "--listen", f"127.0.0.1:{port}").says(
            2, f"Cannot listen on 127.0.0.1 port {port}", "--listen"
        )
    shell.run("serve", "--listen", "192.0.2.1:0").says(2, "Cannot listen on 192.0.2.1")
    shell.run("serve", "--listen", f"{'a' * 70}.example:0").says(2, "Cannot listen on")


@pytest.mark.parametrize("path", ["hook", "/metrics", "/a b"])
def test_an_invalid_path_is_refused(shell: Shell, path: str) -> None:
    shell.run("serve", "--listen", ":0", "--path", path).says(2, "path")
