"""An open ledger: one thread that writes, and a connection of its own for reading.

A transaction is one work and all items that arrived for it while the previous transaction
committed (group commit): the price of durability is paid once for all of them. Each caller gets
its result only after the commit that holds its item.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.errors import BusyError, InterruptedRunError, LedgerError
from onetribe_bc.ledger import meta
from onetribe_bc.ledger.engine import BlockedError, Engine, Transaction, TransientError
from onetribe_bc.ledger.sqlite import LOCK_TIMEOUT_S, SqliteEngine
from onetribe_bc.location import Location, PostgresUrl

if TYPE_CHECKING:
    from onetribe_bc.ledger.postgres import PostgresEngine

_log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Transaction, Sequence[Item]], Sequence[Result]]
"""Writes items and returns a result for each. It may run twice, also after a first commit."""

RETRY_FOR_S = 60.0
"""How long to repeat a transaction that fails for a reason that passes."""

ENDING_S = 5.0
"""The same, once the process was asked to stop: what it cannot write then is in doubt."""

PATIENT = 4
"""After how many failures to tell the user."""

MAX_WAIT_S = 5.0


class _Job(NamedTuple):
    work: Work[Any, Any]
    item: Any
    future: Future[Any]


class Database:
    """An open ledger. Its methods may be called from any thread."""

    def __init__(
        self,
        location: Location | Engine,
        clock: Clock | None = None,
        *,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        retry_for_s: float | None = RETRY_FOR_S,
    ) -> None:
        """Open it; a file is also created.

        `retry_for_s` is how long to repeat what fails for a reason that passes; None is for ever.
        Raises LedgerError, RefusedError; BusyError or UnreachableError when it stays so.
        """
        if isinstance(location, Path):
            location = SqliteEngine(location, lock_timeout_s=lock_timeout_s)
        elif isinstance(location, PostgresUrl):
            location = open_postgres(location)
        self.engine: Engine = location
        self._clock = clock or SystemClock()
        self._retry_for_s = retry_for_s
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._backlog: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._reader: Any = None
        self._reading = threading.Lock()
        try:
            self._repeat(self.engine.prepare)
        except BaseException:
            self.engine.close()
            raise

    def submit(self, work: Work[Item, Result], item: Item) -> Future[Result]:
        """Run `work` on the item in one of the next transactions; done once that is durable."""
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise LedgerError(f"The ledger {self.engine.label} is closed.")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="bc2ot-ledger", daemon=True
                )
                self._thread.start()
            self._inbox.put(_Job(work, item, future))
        return future

    def do(self, work: Callable[[Transaction], T], *, wait_s: float | None = None) -> T:
        """Run `work` in a transaction of its own, and wait. Raises LedgerError, BusyError, the
        latter also if it is not done after `wait_s`; it may be done later all the same.
        """
        future = self.submit(lambda transaction, _: [work(transaction)], None)
        try:
            return future.result(wait_s)
        except TimeoutError:
            if future.done():
                return future.result()  # the timeout is the work's own, or it came just now
            raise BusyError(
                f"The ledger {self.engine.label} did not respond within {wait_s:g} s."
            ) from None

    def read(self, work: Callable[[Transaction], T], *, wait_s: float | None = None) -> T:
        """Run `work` on the read-only connection, in this thread. Raises as `do`."""
        if not self._reading.acquire(timeout=-1 if wait_s is None else wait_s):
            raise BusyError(f"The ledger {self.engine.label} did not respond within {wait_s:g} s.")
        try:
            if self._closed:
                raise LedgerError(f"The ledger {self.engine.label} is closed.")
            return self._repeat(lambda: self._read(work, wait_s), for_s=wait_s)
        finally:
            self._reading.release()

    def _read(self, work: Callable[[Transaction], T], wait_s: float | None) -> T:
        try:
            self._reader = self._reader or self.engine.connect(read_only=True)
            with self.engine.snapshot(self._reader, wait_s) as transaction:
                return work(transaction)
        except Exception as error:
            if self.engine.translate(error) is not error:
                _close(self._reader)
                self._reader = None
            raise

    def check_writable(self, *, wait_s: float | None = None) -> None:
        """Write something, durably. Raises as `do`."""
        # A new value each time: SQLite leaves out a write that changes nothing.
        value = secrets.token_hex(8)
        self.do(lambda transaction: meta.write(transaction, touched=value), wait_s=wait_s)

    def close(self) -> None:
        """Finish what was submitted, and close the connections."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._inbox.put(None)
        if self._thread is not None:
            self._thread.join()
        with self._reading:
            _close(self._reader)
            self._reader = None
        self.engine.close()

    # The writer's thread

    def _serve(self) -> None:
        while batch := self._take():
            self._commit(batch)
        _close(self._connection)

    def _take(self) -> list[_Job]:
        """Wait for a job; return it with all others of the same work, or nothing at the end."""
        closing = False
        while not self._backlog or not self._inbox.empty():
            if (job := self._inbox.get()) is None:
                closing = True
                break
            self._backlog.append(job)
        if closing:
            self._inbox.put(None)
        if not self._backlog:
            return []
        work = self._backlog[0].work
        batch = [job for job in self._backlog if job.work == work]
        self._backlog = deque(job for job in self._backlog if job.work != work)
        return batch

    def _commit(self, batch: list[_Job]) -> None:
        try:
            results = self._run(batch[0].work, [job.item for job in batch])
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            if len(batch) > 1 and not isinstance(error, (BusyError, BlockedError)):
                # One caller's error is not the others': each gets a transaction of its own.
                for job in batch:
                    self._commit([job])
                return
            for job in batch:
                job.future.set_exception(error)
            return
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)

    def _run(self, work: Work[Any, Any], items: Sequence[Any]) -> Sequence[Any]:
        """Run a transaction. One that failed leaves no connection behind that may be broken."""

        def attempt() -> Sequence[Any]:
            try:
                self._connection = self._connection or self.engine.connect()
                with self.engine.transaction(self._connection) as transaction:
                    return list(work(transaction, items))
            except Exception as error:
                if isinstance(self.engine.translate(error), TransientError):
                    _close(self._connection)
                    self._connection = None
                raise

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], T], *, for_s: float | None = None) -> T:
        """Return what `attempt` does, again and again while it fails for reasons that pass."""
        began_at, failures = self._clock.monotonic(), 0
        while True:
            try:
                return attempt()
            except Exception as error:
                translated = self.engine.translate(error)
                if not isinstance(translated, TransientError):
                    if translated is error:
                        raise
                    raise translated from None
            limit_s = self._retry_for_s if for_s is None else for_s
            ending = self._closed or self._clock.stopping
            if ending:
                limit_s = min(ENDING_S, limit_s or ENDING_S)
            if limit_s is not None and self._clock.monotonic() - began_at >= limit_s:
                raise translated.lasting
            failures += 1
            if failures == PATIENT:
                _log.warning("%s Retrying.", translated)
            wait_s = min(MAX_WAIT_S, 0.05 * 2**failures) * self._clock.random()
            with suppress(InterruptedRunError):
                (time if ending else self._clock).sleep(wait_s)


def open_postgres(url: PostgresUrl, **options: Any) -> PostgresEngine:
    """Return the engine of a PostgreSQL ledger. Raises LedgerError without its driver."""
    try:
        from onetribe_bc.ledger.postgres import PostgresEngine
    except ImportError:
        raise LedgerError(
            "A ledger in PostgreSQL needs psycopg, which is not installed.",
            hint="Run pip install 'psycopg[binary]' where bc2ot is installed; with pipx: "
            "pipx inject onetribe-bc 'psycopg[binary]'",
        ) from None
    return PostgresEngine(url, **options)


def _close(connection: Any) -> None:
    if connection is not None:
        with suppress(Exception):
            connection.close()
