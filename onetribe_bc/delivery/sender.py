"""Delivering one order: claim it, send it, write down what became of it, and try again.

The claim is durable before the POST leaves and the outcome is handed to the ledger right after
it, so that a crash leaves in doubt only what was under way.
"""

from __future__ import annotations

import logging
import threading

from onetribe_bc.api.onetribe import OneTribeClient, Receipt
from onetribe_bc.api.rate_limit import full_jitter
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import (
    Bc2otError,
    InterruptedRunError,
    NoConnectionError,
    NoResponseError,
    OneTribeUrlError,
    OrderRefusedError,
    RetryLaterError,
    UnreachableError,
)
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Disposition, Entry, Outcome, Result
from onetribe_bc.order import Order

_log = logging.getLogger(__name__)

POLL_S = 0.02
"""How often to look whether the first request was answered."""

LOOK_S = 0.5
"""How often whoever waits at the gate looks whether the run has ended."""


class CircuitBreaker:
    """Ends the run when One Tribe fails many times in a row, over all workers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.answered = 0
        """How many orders One Tribe has taken or refused: a sign of its being there."""
        self.error: Bc2otError | None = None
        """Why the run must end, once it must."""

    def succeed(self) -> None:
        """One Tribe gave an answer about an order."""
        with self._lock:
            self._in_a_row = 0
            self.answered += 1

    def fail(self, error: UnreachableError) -> None:
        """One Tribe gave none."""
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._limit:
                self._trip(
                    UnreachableError(
                        f"One Tribe failed {self._limit} times in a row, the last time so: {error}",
                        hint="The run stopped early; what was not delivered stays owed. "
                        "Run it again later.",
                    )
                )

    def trip(self, error: Bc2otError) -> None:
        """End the run at once."""
        with self._lock:
            self._trip(error)

    def _trip(self, error: Bc2otError) -> None:
        self.error = self.error or error


class SendThrottle:
    """Lets requests go to One Tribe: one alone until it was answered, so that a wrong address
    costs one request; nobody while One Tribe asked us to wait, or once the run must end.
    """

    def __init__(self, clock: Clock, breaker: CircuitBreaker) -> None:
        self._clock = clock
        self._breaker = breaker
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._scouting = False
        self._opened = False

    def enter(self) -> None:
        """Wait for a turn, or until the run must end. Raises InterruptedRunError."""
        while self._breaker.error is None and (wait_s := self._wait_s()) > 0:
            self._clock.sleep(min(wait_s, LOOK_S))

    def open(self) -> None:
        """One request was answered, or found to get no answer: the others may go."""
        self._opened = True

    def pause(self, seconds: float) -> None:
        """Let nobody go for so long."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def _wait_s(self) -> float:
        with self._lock:
            wait_s = self._not_before - self._clock.monotonic()
            if wait_s > 0:
                return wait_s
            if self._opened or not self._scouting:
                self._scouting = True
                return 0.0
            return POLL_S


class Sender:
    """Delivers orders to one destination; shared by all workers of a run."""

    def __init__(
        self, onetribe: OneTribeClient, ledger: Ledger, clock: Clock, *, attempts: int, workers: int
    ) -> None:
        self._onetribe = onetribe
        self._ledger = ledger
        self._clock = clock
        self._attempts = attempts
        self._breaker = CircuitBreaker(max(10, 2 * workers))
        self._gate = SendThrottle(clock, self._breaker)
        self.workers = workers
        """How many threads may call `deliver`, numbered from 0."""

    @property
    def stopped(self) -> Bc2otError | None:
        """Why the run must end: One Tribe's address is wrong, or it cannot be reached."""
        return self._breaker.error

    def deliver(self, order: Order, claimed: Entry, worker: int = 0) -> Report:
        """Try until the order is settled, out of tries, or the run must end: see `stopped`.

        `claimed` is the order's first claim. Raises LedgerError, BusyError and
        InterruptedRunError; the order is then still owed.
        """
        attempt, answered_before = 1, self._breaker.answered
        while True:
            try:
                self._gate.enter()
            except InterruptedRunError:
                self.release(claimed)
                raise
            if self.stopped:
                self.release(claimed)
                return Report(order.id, Disposition.PENDING, "not sent: the run had to end")
            last = attempt == self._attempts
            answer = self._post(order, claimed, worker)
            # Out of tries while One Tribe took no other order either: not this order's fault.
            down = last and self._breaker.answered == answered_before
            outcome = _outcome(answer, attempt, refused=last and not down)
            after, written = self._ledger.settle(claimed, outcome, worker)
            self._judge(answer, down=down)
            self._gate.open()
            if last or self.stopped or outcome.result is not Result.PENDING:
                return _report(after)
            written.result()
            self._wait(order.id, answer, attempt)
            if self.stopped:
                return _report(after)
            claimed, decision = self._ledger.claim([order])[0]
            if decision is not Disposition.TO_SEND:
                return Report(order.id, decision, claimed.reason)
            attempt += 1

    def release(self, claimed: Entry) -> None:
        """Give a claim back: its order was not sent."""
        self._ledger.release(claimed)

    def _judge(self, answer: Receipt | Bc2otError, *, down: bool) -> None:
        """Whether the run may go on after such an answer."""
        if isinstance(answer, OneTribeUrlError):
            self._breaker.trip(answer)
        elif isinstance(answer, UnreachableError):
            self._breaker.fail(answer)
            if down and not isinstance(answer, NoResponseError):
                self._breaker.trip(_unreachable(answer))
        else:
            self._breaker.succeed()

    def _post(self, order: Order, entry: Entry, worker: int) -> Receipt | Bc2otError:
        # The same key for all tries of one delivery, another once it is sent again on purpose.
        key = f"bc2ot-{self._ledger.store_hash}-{order.id}-{entry.deliveries}-{order.sha256[:16]}"
        try:
            return self._onetribe.send(
                order, idempotency_key=key, on_send=lambda: self._ledger.sending(entry, worker)
            )
        except (OneTribeUrlError, OrderRefusedError, UnreachableError) as error:
            return error

    def _wait(self, order_id: int, answer: Receipt | Bc2otError, attempt: int) -> None:
        wait_s = full_jitter(attempt, self._clock.random())
        asked = answer.retry_after_s if isinstance(answer, RetryLaterError) else None
        said = str(answer).rstrip(".")
        if asked is None:
            _log.debug("Order %d: %s. Trying again in %.1f s.", order_id, said, wait_s)
            self._clock.sleep(wait_s)
        else:
            # It asks all of us, not only the one that it answered.
            wait_s = max(asked, wait_s)
            _log.debug(
                "Order %d: %s, and asks to wait. Nobody sends for %.1f s.", order_id, said, wait_s
            )
            self._gate.pause(wait_s)


def _unreachable(error: UnreachableError) -> UnreachableError:
    """Ends a run in which One Tribe took no order for as long as one was tried."""
    if isinstance(error, NoConnectionError):
        return error
    hint = error.hint or "What was not delivered stays owed. Run it again later."
    return UnreachableError(f"One Tribe takes no orders now: {error}", hint=hint)


def _report(entry: Entry) -> Report:
    return Report(entry.order_id, Disposition(entry.state), entry.reason, entry.possible_duplicates)


def _outcome(answer: Receipt | Bc2otError, attempt: int, *, refused: bool) -> Outcome:
    """What one POST's answer means for the order."""
    match answer:
        case Receipt():
            return Outcome(Result.DELIVERED, "", answer.status, answer.text)
        case NoResponseError():
            return Outcome(Result.UNKNOWN, f"{answer} It may have arrived.")
        case OrderRefusedError():
            # One Tribe's own words are the reason, unless a proxy's page stands in for them.
            told = answer.text and not answer.text.startswith("<")
            reason = f"{answer}: {answer.text}" if told else str(answer)
            return Outcome(Result.FAILED, reason, answer.status, answer.text)
        case RetryLaterError() if refused:
            reason = f"{answer}, to each of {attempt} tries"
            return Outcome(Result.FAILED, reason, answer.status, answer.text)
        case RetryLaterError():
            return Outcome(Result.PENDING, str(answer), answer.status, answer.text)
    return Outcome(Result.PENDING, str(answer))
