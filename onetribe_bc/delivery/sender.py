"""Send orders: each worker settles its last order, claims its next, sends it, and retries.

The claim is durable before the request is sent. The outcome is written with the next claim, in one
commit, so a crash leaves at most one order per worker unknown.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from onetribe_bc.api.onetribe import OneTribeClient, Receipt
from onetribe_bc.api.rate_limit import LONG_WAIT_S, MAX_IMPOSED_WAIT_S, PATIENCE_S, full_jitter
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.report import Report, unsent
from onetribe_bc.errors import (
    Bc2otError,
    NoConnectionError,
    NoResponseError,
    OneTribeUrlError,
    OrderRefusedError,
    RetryLaterError,
    UnreachableError,
)
from onetribe_bc.ledger.ledger import Ledger, Settlement, Step
from onetribe_bc.ledger.states import (
    RELEASED,
    Disposition,
    Entry,
    Outcome,
    State,
    decide,
    settle,
)
from onetribe_bc.order import Order

_log = logging.getLogger(__name__)

NOT_SENT = "not sent: the run had to end"
YEAR = timedelta(days=365)

LOST_BY_A_GATEWAY = frozenset({502, 504, 520, 524})
"""A gateway responded instead of One Tribe, which may have got the order."""

POLL_S = 0.02
"""How often to check whether the first request got a response."""

CHECK_S = 0.5
"""How often a waiting worker checks whether the run has ended."""


class CircuitBreaker:
    """Ends the run when One Tribe fails many times in a row, over all workers."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.responses = 0
        """How many orders One Tribe has accepted or refused, which shows that it works."""
        self.error: Bc2otError | None = None
        """Why the run must end, or None."""

    def succeed(self) -> None:
        """Count a response about an order."""
        with self._lock:
            self._in_a_row = 0
            self.responses += 1

    def fail(self, error: UnreachableError) -> None:
        """Count a request without a usable response."""
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._limit:
                self._trip(
                    UnreachableError(
                        f"One Tribe failed {self._limit} times in a row. The last error: {error}",
                        hint="The run stopped early; undelivered orders stay owed. Run it again "
                        "later.",
                    )
                )

    def trip(self, error: Bc2otError) -> None:
        """End the run."""
        with self._lock:
            self._trip(error)

    def _trip(self, error: Bc2otError) -> None:
        self.error = self.error or error


class SendThrottle:
    """Throttles all workers of a run.

    Until the first response arrives, only one request is sent, so that a wrong URL costs one
    request. While One Tribe asks for a pause, none is sent.
    """

    def __init__(self, clock: Clock, breaker: CircuitBreaker) -> None:
        self._clock = clock
        self._breaker = breaker
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._scouting = False
        self._opened = False

    @property
    def waits(self) -> bool:
        """Whether a worker would have to wait."""
        return not self._opened or self._pause_s() > 0

    def enter(self) -> None:
        """Wait for a turn, or until the run must end. Raises InterruptedRunError."""
        self.wait_out_pause()
        while not self._opened and self._breaker.error is None:
            with self._lock:
                if not self._scouting:
                    self._scouting = True
                    return
            self._clock.sleep(POLL_S)

    def leave(self, *, sent: bool) -> None:
        """End a turn. Once a turn has `sent` a request, all workers may send."""
        if not self._opened:
            self._opened, self._scouting = sent, False

    def pause(self, seconds: float) -> None:
        """Pause all workers for this long."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)

    def wait_out_pause(self) -> None:
        """Wait for the end of a pause, or until the run must end."""
        while self._breaker.error is None and (wait_s := self._pause_s()) > 0:
            self._clock.sleep(min(wait_s, CHECK_S))

    def _pause_s(self) -> float:
        return self._not_before - self._clock.monotonic() if self._not_before else 0.0


class Sender:
    """Sends orders to one destination; shared by all workers of a run."""

    def __init__(
        self,
        onetribe: OneTribeClient,
        ledger: Ledger,
        clock: Clock,
        *,
        attempts: int,
        workers: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._patience_s = patience_s
        self._onetribe = onetribe
        self.ledger = ledger
        self._clock = clock
        self._attempts = attempts
        self._breaker = CircuitBreaker(max(10, 2 * workers))
        self.throttle = SendThrottle(clock, self._breaker)
        self.workers = workers
        """How many workers may send at a time, numbered from 0."""

    @property
    def stopped(self) -> Bc2otError | None:
        """Why the run must end (One Tribe's URL is wrong, or it cannot be reached), or None."""
        return self._breaker.error

    @property
    def responses(self) -> int:
        """How many orders One Tribe has accepted or refused."""
        return self._breaker.responses

    def send(
        self, order: Order, claimed: Entry, attempt: int, responses_before: int
    ) -> tuple[Outcome, float | None]:
        """Send a claimed order once; return the outcome, and the seconds until the next attempt.

        `responses_before` is `responses` at the order's first attempt. Raises BusyError, without
        sending, if the run has lost its claims.
        """
        self.ledger.check_lease()
        answer = self._post(order, claimed)
        last = attempt == self._attempts
        # Out of attempts, but One Tribe accepted no other order either: not this order's fault.
        alone = self.responses == responses_before
        outcome = _outcome(answer, claimed, attempt, refused=last and not alone)
        again = not last and self._may_resend(order, claimed, answer, outcome)
        self._judge(answer, down=alone and (last or (attempt > 1 and not again)))
        if self.stopped or not again:
            return outcome, None
        return outcome, self._backoff_s(order.id, answer, attempt)

    def _may_resend(
        self, order: Order, claimed: Entry, answer: Receipt | Bc2otError, outcome: Outcome
    ) -> bool:
        """Whether another attempt of this run may succeed, and the policy allows it."""
        if outcome.state is not State.PENDING and not isinstance(answer, RetryLaterError):
            return False
        now = self._clock.now()
        after = settle(claimed, outcome, now)
        return decide(after, order, self.ledger.policy, now) is Disposition.TO_SEND

    def _judge(self, answer: Receipt | Bc2otError, *, down: bool) -> None:
        """End the run if its other orders would fail the same way."""
        if isinstance(answer, OneTribeUrlError):
            self._breaker.trip(answer)
        elif isinstance(answer, UnreachableError):
            self._breaker.fail(answer)
            if down and not isinstance(answer, NoResponseError):
                self._breaker.trip(_unreachable(answer))
        else:
            self._breaker.succeed()

    def _post(self, order: Order, entry: Entry) -> Receipt | Bc2otError:
        # All attempts of one delivery have the same key; an intentional resend has a new one.
        key = f"bc2ot-{self.ledger.store_hash}-{order.id}-{entry.deliveries}-{order.sha256[:16]}"
        try:
            return self._onetribe.send(order, idempotency_key=key)
        except (OneTribeUrlError, OrderRefusedError, UnreachableError) as error:
            return error

    def _backoff_s(self, order_id: int, answer: Receipt | Bc2otError, attempt: int) -> float:
        """Return how long this worker waits. A Retry-After pauses all workers instead."""
        wait_s = full_jitter(attempt, self._clock.random())
        asked = answer.retry_after_s if isinstance(answer, RetryLaterError) else None
        said = str(answer).rstrip(".")
        if asked is None:
            _log.debug("Order %d: %s. Retrying in %.1f s.", order_id, said, wait_s)
            return wait_s
        if asked > self._patience_s:
            self._breaker.trip(
                UnreachableError(
                    f"{said} and asks to wait {asked:,.0f} s.",
                    hint="What was not delivered stays owed. Run it again after that time.",
                )
            )
        wait_s = max(min(asked, MAX_IMPOSED_WAIT_S), wait_s)
        level = logging.WARNING if wait_s >= LONG_WAIT_S else logging.DEBUG
        _log.log(
            level,
            "%s and asks to wait (order %d): no order is sent for %.1f s.",
            said,
            order_id,
            wait_s,
        )
        self._onetribe.imposed.begin(wait_s)
        self.throttle.pause(wait_s)
        return 0.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """An outcome that is not in the ledger yet. A `final` one is reported when it is.

    `old` is whether the order was created more than a year ago.
    """

    settlement: Settlement
    final: bool
    old: bool = False


class Worker:
    """One worker of a run. `report` is called for each order once it is settled."""

    def __init__(
        self, sender: Sender, number: int, clock: Clock, report: Callable[[Report], None]
    ) -> None:
        self._sender = sender
        self._number = number
        self._clock = clock
        self._report = report
        self._unsettled: _Sent | None = None

    def deliver(self, order: Order) -> None:
        """Send an order until it is settled or the run must end (see `Sender.stopped`).

        Its outcome is written with the next order's claim, or by `settle`. Raises LedgerError,
        BusyError and InterruptedRunError.
        """
        try:
            self._deliver(order)
        except BaseException as error:
            sent = self._unsettled
            if sent is None or not sent.final or sent.settlement.claimed.order_id != order.id:
                # Other exceptions may contain secrets.
                reason = str(error) if isinstance(error, Bc2otError) else type(error).__name__
                self._report(Report(order.id, Disposition.PENDING, reason))
            raise

    def settle(self) -> None:
        """Write the last outcome, if any, without another claim."""
        if self._unsettled is not None:
            self._step(None)

    def finish(self) -> None:
        """Write the last outcome at the end of the run. Raises LedgerError and BusyError."""
        sent = self._unsettled
        try:
            self.settle()
        except Bc2otError as error:
            if sent is not None and sent.final:
                order_id, outcome = sent.settlement.claimed.order_id, sent.settlement.outcome
                kind = Disposition.UNKNOWN if outcome.arrived else Disposition.PENDING
                self._report(Report(order_id, kind, str(error)))
            raise

    def _deliver(self, order: Order) -> None:
        throttle, responses_before = self._sender.throttle, self._sender.responses
        for attempt in itertools.count(1):
            if throttle.waits:
                self.settle()  # do not hold a claim while waiting
            throttle.enter()
            try:
                wait_s = self._attempt(order, attempt, responses_before)
            finally:
                throttle.leave(sent=self._unsettled is not None)
            if wait_s is None:
                return
            self.settle()
            self._clock.sleep(wait_s)

    def _attempt(self, order: Order, attempt: int, responses_before: int) -> float | None:
        """Claim and send an order once; return the seconds until the next attempt, if any."""
        if self._sender.stopped is not None:
            self._report(Report(order.id, Disposition.PENDING, NOT_SENT))
            return None
        step = self._step(order)
        if step.entry is None or step.disposition is not Disposition.TO_SEND:
            self._report(unsent(order.id, step.disposition or Disposition.PENDING, step.entry))
            return None
        self._unsettled = _Sent(Settlement(step.entry, RELEASED), final=False)
        self._sender.throttle.wait_out_pause()  # it may have started during the claim
        if self._sender.stopped is not None:
            self._report(Report(order.id, Disposition.PENDING, NOT_SENT))
            return None
        outcome, wait_s = self._sender.send(order, step.entry, attempt, responses_before)
        created = order.date_created
        old = created is not None and self._clock.now() - created > YEAR
        self._unsettled = _Sent(Settlement(step.entry, outcome), final=wait_s is None, old=old)
        return wait_s

    def _step(self, order: Order | None) -> Step:
        """Settle the last order and claim another, in one commit."""
        sent = self._unsettled
        last = None if sent is None else sent.settlement
        step = self._sender.ledger.step(self._number, last, order)
        self._unsettled = None
        if sent is not None and sent.final:
            entry = step.settled or sent.settlement.claimed
            self._report(_report(entry, sent.settlement.outcome, old=sent.old))
        return step


def _report(entry: Entry, outcome: Outcome, *, old: bool) -> Report:
    state, reason = entry.state, entry.reason
    if state is State.SENDING:
        # Another run took the order over; this run reports its own response.
        state, reason = outcome.state or State.PENDING, outcome.reason
    return Report(entry.order_id, Disposition(state), reason, entry.possible_duplicates, old)


def _unreachable(error: UnreachableError) -> UnreachableError:
    """Return the error that ends a run in which One Tribe accepted no order."""
    if isinstance(error, NoConnectionError):
        return error
    hint = error.hint or "Undelivered orders stay owed. Run it again later."
    return UnreachableError(f"One Tribe accepts no orders now: {error}", hint=hint)


def _outcome(
    answer: Receipt | Bc2otError, claimed: Entry, attempt: int, *, refused: bool
) -> Outcome:
    """Return what one POST's response means for the order."""
    match answer:
        case Receipt():
            return Outcome(State.DELIVERED, "", answer.status, answer.text)
        case NoResponseError():
            return Outcome(State.UNKNOWN, f"{answer} It may have arrived.")
        case OrderRefusedError():
            reason = f"{answer}: {answer.text}" if answer.text else str(answer)
            # A copy may be refused because the order is there; that is not known.
            is_copy = answer.status == HTTPStatus.CONFLICT and claimed.arrivals > 0
            state = State.UNKNOWN if is_copy else State.FAILED
            return Outcome(state, reason, answer.status, answer.text)
        case RetryLaterError() if answer.status in LOST_BY_A_GATEWAY:
            reason = f"{answer}: a gateway lost the response. It may have arrived."
            return Outcome(State.UNKNOWN, reason, answer.status, answer.text)
        case RetryLaterError() if refused:
            reason = f"{answer}, to each of {attempt} attempts"
            return Outcome(State.FAILED, reason, answer.status, answer.text)
        case RetryLaterError():
            return Outcome(State.PENDING, str(answer), answer.status, answer.text)
    return Outcome(State.PENDING, str(answer))
