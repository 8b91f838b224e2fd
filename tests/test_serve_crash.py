"""`kill -9` under load: each order answered 2xx is delivered, and duplicates are flagged."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from onetribe_bc.ledger.ledger import Ledger
from tests.callbacks import CREATED, SHARED_SECRET, UPDATED, Client, Site, callback, until
from tests.conftest import SandboxFactory

KILLS = 20
CLIENTS = 4
WORKERS = 4


class Merchant:
    """Posts callbacks without a pause, and keeps the orders that were answered 2xx."""

    def __init__(self, order_ids: list[int]) -> None:
        self._ids = order_ids
        self._lock = threading.Lock()
        self._next = 0
        self.port = 0
        self.answered: set[int] = set()
        self.odd: list[int] = []
        self.done = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join()

    def has_posted(self, orders: int) -> bool:
        return len(self.answered) >= orders

    def _take(self) -> int:
        with self._lock:
            self._next += 1
            return self._ids[self._next % len(self._ids)]

    def _work(self) -> None:
        while not self.done.is_set():
            try:
                with Client(self.port, timeout_s=10) as client:
                    while not self.done.is_set():
                        order_id = self._take()
                        for scope in (CREATED, UPDATED):
                            status = client.post(callback(order_id, scope)).status
                            if status == 200:
                                self.answered.add(order_id)
                            else:
                                self.odd.append(status)
                        time.sleep(0.002)
            except OSError:
                time.sleep(0.01)  # killed; restarting


def start(site: Site, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **site.environment,
        "BC2OT_WORKERS": str(WORKERS),
        "BC2OT_RECEIVER_SECRET": SHARED_SECRET,
    }
    command = [sys.executable, "-m", "onetribe_bc", "serve", "--listen", "127.0.0.1:0"]
    with log.open("wb") as stderr:
        return subprocess.Popen(command, env=environment, stderr=stderr)


def port_of(log: Path) -> int:
    pattern = re.compile(r"listening on http://127\.0\.0\.1:(\d+)/")
    return int(until(lambda: pattern.search(log.read_text()))[1])


def test_twenty_kills_under_load_lose_no_order_answered_2xx(
    make_sandbox: SandboxFactory, tmp_path: Path
) -> None:
    dice = random.Random(20261125)
    sandbox = make_sandbox(0, now=None)
    ids = [sandbox.store.add(status_id=11) for _ in range(3_000)]
    sandbox.onetribe.latency_s = 0.005
    site = Site(sandbox, tmp_path / "ledger.db")
    merchant = Merchant(ids)
    kills = 0
    try:
        for _ in range(KILLS):
            log = tmp_path / f"log-{kills}"
            process = start(site, log)
            try:
                merchant.port = port_of(log)
                goal = len(merchant.answered) + dice.randrange(5, 80)
                until(partial(merchant.has_posted, min(goal, len(ids))))
                time.sleep(dice.random() * 0.05)
            finally:
                process.kill()
                process.wait()
            kills += process.returncode == -9
            assert "Traceback" not in log.read_text()
    finally:
        merchant.end()
    assert kills == KILLS
    assert set(merchant.odd) <= {503}
    assert len(merchant.answered) > KILLS * 5
    # Several kills may have left the same order in doubt.
    site.shared_secret, site.max_copies = SHARED_SECRET, 20
    site.ask(Ledger.recover)
    site.let_unknown_orders_be_due()
    with site.serving():
        until(lambda: not site.inbox() and set(site.states()) == {"delivered"}, 60)
    filed = sandbox.onetribe.counts()
    assert merchant.answered <= set(filed)
    flags = dict(site.query("SELECT order_id, arrivals - 1 FROM orders"))
    doubled = {order_id: times for order_id, times in filed.items() if times > 1}
    assert all(flags[order_id] >= times - 1 for order_id, times in doubled.items())
    assert sum(doubled.values()) - len(doubled) <= KILLS * WORKERS
