"""The proof on PostgreSQL: processes on one ledger, killed and frozen, and a server that fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import PostgresUrl
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.secret import Secret
from tests.conftest import SandboxFactory
from tests.postgres import PostgresServer

ORDERS = 600
PROCESSES = 4
WORKERS = 2
KILLS = 50
LEASE_S = 1.0


class Crew:
    """Processes at work, each replaced when it is killed."""

    def __init__(self, sandbox: Sandbox, url: PostgresUrl) -> None:
        environment = {
            **os.environ,
            **sandbox.environment(),
            "BC2OT_LEDGER": url.url.reveal(),
            "BC2OT_WORKERS": str(WORKERS),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crew"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=Path(__file__).parent.parent,
        )
        self.pids = [self._start() for _ in range(PROCESSES)]

    def _start(self) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{LEASE_S}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def kill(self, index: int) -> None:
        os.kill(self.pids[index], signal.SIGKILL)
        self.pids[index] = self._start()

    def freeze(self, index: int, seconds: float) -> None:
        os.kill(self.pids[index], signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.pids[index], signal.SIGCONT)

    def close(self) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.communicate()


def test_kills_freezes_and_server_failures_lose_no_order_and_flag_every_duplicate(
    make_sandbox: SandboxFactory,
    postgres: PostgresServer,
    make_postgres: Callable[[], PostgresUrl],
) -> None:
    sandbox, url, dice = make_sandbox(ORDERS, now=None, days=20), make_postgres(), random.Random(7)
    sandbox.onetribe.latency_s = 0.02
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{url.database}' AND pid <> pg_backend_pid()"
    )
    with closing(Crew(sandbox, url)) as crew:
        for number in range(KILLS):
            time.sleep(dice.random() * 0.2)
            if len(sandbox.onetribe.received) > 0.9 * ORDERS:
                for _ in range(50):
                    sandbox.store.add()
            crew.kill(dice.randrange(PROCESSES))
            match number:
                case 10 | 25:
                    crew.freeze(dice.randrange(PROCESSES), 1.5 * LEASE_S)
                case 15 | 30 | 40:
                    postgres.execute(terminate)
                case 20:
                    postgres.restart()
                case 35:  # an outage longer than the lease
                    postgres.halt()
                    time.sleep(1.5 * LEASE_S)
                    postgres.start()
    engine = PostgresEngine(url, lease_s=LEASE_S, renew_s=LEASE_S / 5)
    with closing(Database(engine)) as database:
        destination = fingerprint(Secret(sandbox.onetribe_url))
        ledger = Ledger(database, store_hash=sandbox.store_hash, destination=destination)
        in_doubt = recover(ledger)
        assert in_doubt <= PROCESSES * WORKERS
        deliver_the_rest(sandbox, url)
        status = ledger.status()
        assert set(status.states) <= {State.DELIVERED, State.SKIPPED}
        entries = {entry.order_id: entry for entry in ledger.iter_entries()}
    filed = Counter(one.order_id for one in sandbox.onetribe.received if one.filed)
    doubled = sum(times - 1 for times in filed.values())
    print(f"in doubt {in_doubt}, doubled {doubled}, flagged {status.possible_duplicates}")  # noqa: T201
    assert doubled <= status.possible_duplicates
    delivered = {i for i, entry in entries.items() if entry.state is State.DELIVERED}
    assert delivered <= set(filed)  # none is called delivered without a POST
    assert all(times <= entries[i].arrivals for i, times in filed.items() if i is not None)
    assert len(entries) == len(list(sandbox.store.ids()))


def recover(ledger: Ledger) -> int:
    """What the last processes left in doubt, once their leases are over."""
    found = 0
    give_up_at = time.monotonic() + 5 * LEASE_S
    while time.monotonic() < give_up_at:
        found += len(ledger.recover())
        time.sleep(LEASE_S / 2)
    assert State.SENDING not in ledger.status().states
    return found


def deliver_the_rest(sandbox: Sandbox, url: PostgresUrl) -> None:
    environment = {**os.environ, **sandbox.environment(), "BC2OT_LEDGER": url.url.reveal()}
    # Several kills may have left the same order in doubt: a retry sends it before it is due.
    for arguments in (["retry", "--unknown"], ["backfill", "--yes"]):
        command = [sys.executable, "-m", "onetribe_bc", "-q", *arguments]
        subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parent.parent)
