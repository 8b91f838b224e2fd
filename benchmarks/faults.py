"""Deliver 2,000 orders while every fault of the sandbox strikes: `python -m benchmarks.faults`.

Each kind of fault strikes 2 % of the requests to each service that can have it, or 2 % of the
orders. Backfills repeat, a day apart; waits of bc2ot pass 200 times faster, those of the services
do not. Since under all of BigCommerce's faults few runs get far, these stop first, then those of
One Tribe; the faults of orders stay. Then what the sandbox received is compared with the ledger:

- lost: One Tribe does not have the order, and the ledger neither owes it nor names a reason
- unflagged: copies that One Tribe has and the ledger does not count as possible duplicates
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from onetribe_bc.clock import SystemClock
from onetribe_bc.commands.backfill import backfill
from onetribe_bc.config import Settings, UserDirectories, load
from onetribe_bc.delivery.context import open_context, open_ledger, policy_of
from onetribe_bc.delivery.report import Summary
from onetribe_bc.delivery.selection import OrderFilter, select
from onetribe_bc.errors import Bc2otError, InterruptedRunError
from onetribe_bc.ledger.states import Entry, State
from onetribe_bc.sandbox import Fault, FaultKind, Group, Quota, Sandbox, Service

ORDERS = 2_000
RATE = 0.02
SEED = 12
ROUNDS = (4, 3, 1)
"""Backfills with every fault, without those of requests to BigCommerce, and without any of those of
requests."""
SPEED = 200.0
DAY_S = 86_400.0
_CONFIGURATION = "delivery: {timeout: {connect: 1, read: 1}}\n"
_DELAYS_S = {FaultKind.SLOW: 0.3, FaultKind.LATE: 2.0}
"""Shorter and longer than the read timeout of one second."""
_TIMES = {FaultKind.ENDLESS_QUOTA: 5}
"""It ends a run, and runs would otherwise never get past the first fifty requests."""


class FastClock(SystemClock):
    """A clock whose time passes `SPEED` times faster, and which can be moved on.

    A wait of more than a day ends the run: that is longer than anyone waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started_at = super().now()
        self._started = time.monotonic()
        self._skipped_s = 0.0

    def monotonic(self) -> float:
        return (time.monotonic() - self._started) * SPEED + self._skipped_s

    def now(self) -> datetime:
        return self._started_at + timedelta(seconds=self.monotonic())

    def sleep(self, seconds: float) -> None:
        if seconds > DAY_S:
            raise InterruptedRunError(f"A wait of {seconds:.0f} s.")
        super().sleep(seconds / SPEED)

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds


def faults_of_requests() -> Iterator[Fault]:
    """Every fault of requests, for every service that can have it."""
    for service in Service:
        for kind in FaultKind:
            if kind.group is not Group.ORDER and kind is not FaultKind.HOLD:
                try:
                    yield Fault(
                        service,
                        kind,
                        rate=RATE,
                        delay_s=_DELAYS_S.get(kind),
                        times=_TIMES.get(kind),
                    )
                except ValueError:  # the other service's fault
                    continue


def faults_of_orders(order_ids: list[int]) -> list[Fault]:
    """Every fault of orders, each for other orders."""
    kinds = [kind for kind in FaultKind if kind.group is Group.ORDER]
    number = round(len(order_ids) * RATE)
    chosen = iter(random.Random(SEED).sample(order_ids, number * len(kinds)))
    return [
        Fault("bigcommerce", kind, order_ids=frozenset(next(chosen) for _ in range(number)))
        for kind in kinds
    ]


def run(settings: Settings, clock: FastClock) -> str:
    """Backfill everything; return what came of it."""
    summary = Summary()
    try:
        with open_context(settings, clock, policy_of(settings)) as context:
            selection = select(context.bigcommerce, OrderFilter(), now=clock.now)
            with closing(backfill(context, selection)) as reports:
                for report in reports:
                    summary.add(report)
    except Bc2otError as error:
        return f"{summary.counts()}: {type(error).__name__}: {error}"
    return str(summary.counts())


def compare(sandbox: Sandbox, entries: dict[int, Entry]) -> tuple[int, int]:
    """Print what both sides have; return the numbers of lost orders and unflagged copies."""
    filed = sandbox.onetribe.counts()
    eligible = {i for i in sandbox.store.ids() if sandbox.store.row(i).status_id != 0}
    missing = eligible - filed.keys()
    accounted = {i for i in missing if i in entries and _is_named(entries[i])}
    copies = {i: number - 1 for i, number in filed.items() if number > 1}
    unflagged = {
        i: number - (entries[i].possible_duplicates if i in entries else 0)
        for i, number in copies.items()
    }
    hidden = {i for i, number in unflagged.items() if number > 0}
    print(f"eligible {len(eligible):,}, at One Tribe {len(eligible & filed.keys()):,}")
    print(f"not there, with a reason in the ledger: {len(accounted)}")
    reasons = Counter(f"{entries[i].state}: {entries[i].reason[:60]}" for i in accounted)
    for reason, number in reasons.most_common(8):
        print(f"  {number:4} {reason}")
    print(f"sent though Incomplete: {len(filed.keys() - eligible)}")
    print(f"copies {sum(copies.values())}, possible duplicates in the ledger "
          f"{sum(entry.possible_duplicates for entry in entries.values())}")  # fmt: skip
    filings = [r for r in sandbox.onetribe.received if r.filed and r.order_id in hidden]
    for answered, number in Counter(r.answered for r in filings).most_common():
        print(f"  {number:4} filings of orders with unflagged copies were answered with {answered}")
    for order_id in sorted(missing - accounted)[:10]:
        print(f"  lost: {order_id} {entries.get(order_id)}")
    return len(missing - accounted), sum(max(0, number) for number in unflagged.values())


def _is_named(entry: Entry) -> bool:
    return entry.state not in (State.DELIVERED, State.SKIPPED, State.GONE) and bool(entry.reason)


def main() -> int:
    """Return 1 if an order was lost or a copy not flagged."""
    started = time.perf_counter()
    clock = FastClock()
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(ORDERS, SEED, quota=Quota(450, 30 / SPEED)) as sandbox,
    ):
        home = Path(folder)
        (home / "bc2ot.yaml").write_text(_CONFIGURATION)
        settings = load(
            path=home / "bc2ot.yaml",
            environ={**sandbox.environment(), "BC2OT_LEDGER": f"{folder}/ledger.db"},
            cwd=home,
            directories=UserDirectories(config=home / "config", state=home / "state", home=home),
        )
        lasting = faults_of_orders(list(sandbox.store.ids()))
        passing = list(faults_of_requests())
        phases: tuple[list[Fault], ...] = (
            passing,
            [f for f in passing if f.service is Service.ONETRIBE],
            [],
        )
        struck: Counter[str] = Counter()
        for faults, rounds in zip(phases, ROUNDS, strict=True):
            sandbox.faults.replace([*faults, *lasting])
            for _ in range(rounds):
                counts = run(settings, clock)
                print(f"{time.perf_counter() - started:4.0f} s {counts}")
                clock.skip(DAY_S)
            struck.update({f"{f.service}:{f.kind}": f.struck for f in faults})
        with open_ledger(settings) as ledger:
            entries = {entry.order_id: entry for entry in ledger.iter_entries()}
        lost, unflagged = compare(sandbox, entries)
    never = [name for name, number in struck.items() if not number]
    print(f"faults struck {struck.total():,} requests; never: {', '.join(never) or 'none'}")
    print(f"lost {lost}, unflagged copies {unflagged}, {time.perf_counter() - started:.0f} s")
    return 1 if lost or unflagged else 0


if __name__ == "__main__":
    sys.exit(main())
