"""Processes that deliver a store's orders over one PostgreSQL ledger; made to be killed.

`python -m tests.crew` forks one for each line on stdin, which is the lease in seconds, and prints
its process id. Settings are in the environment.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from onetribe_bc.clock import SystemClock
from onetribe_bc.commands.backfill import backfill
from onetribe_bc.config import load
from onetribe_bc.delivery.context import Clients, connect_bigcommerce, connect_onetribe, policy_of
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.errors import BusyError, UnreachableError
from onetribe_bc.ledger.postgres import PostgresEngine
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import PostgresUrl


def work(lease_s: float) -> None:
    """Deliver everything, and begin a new run when one lost its lease."""
    settings, clock = load(path=None, environ=os.environ, cwd=Path.cwd()), SystemClock()
    assert isinstance(settings.ledger, PostgresUrl)
    engine = PostgresEngine(settings.ledger, lease_s=lease_s, renew_s=lease_s / 5, patience_s=3)
    with (
        closing(connect_bigcommerce(settings, clock)) as bigcommerce,
        closing(connect_onetribe(settings, clock)) as onetribe,
        closing(Database(engine, clock)) as database,
    ):
        context = Clients(settings, clock, bigcommerce, onetribe, database)
        while True:
            try:
                one = context.context(policy_of(settings))
                selection = select(bigcommerce, OrderFilter(), now=clock.now)
                for _ in backfill(one, selection, exclusive=False):
                    pass
            except (BusyError, UnreachableError):
                pass


def main() -> None:
    """Fork a worker for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(float(line))
            finally:
                os._exit(1)
        print(pid, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
