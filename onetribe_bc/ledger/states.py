"""What the ledger knows of one order, and how that may change: pure values and functions.

Each transition takes an entry and returns the next one; nothing here reads a clock, a database
or the network. docs/ledger.md explains the states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from onetribe_bc.order import Order


class State(StrEnum):
    """Where an order stands with One Tribe; each order is in exactly one of these."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """One order's row. Times are aware UTC; `sha256` is of the body that was last sent.

    `state_before` and `sha256_before` are those before a claim, while it stands.
    `arrivals` counts the POSTs that One Tribe got or may have got: what is above one may be a
    duplicate there. `deliveries` counts those that it acknowledged.
    """

    order_id: int
    state: State
    first_seen_at: datetime
    updated_at: datetime
    reason: str = ""
    sha256: str | None = None
    modified_at: datetime | None = None
    attempts: int = 0
    arrivals: int = 0
    deliveries: int = 0
    run_id: str | None = None
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    answer_status: int | None = None
    answer: str = ""
    state_before: str | None = None
    sha256_before: str | None = None

    @property
    def possible_duplicates(self) -> int:
        """How many copies beyond the first One Tribe may have."""
        return max(0, self.arrivals - 1)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run may send beside what was never sent.

    `force` sends again what was delivered; `on_change` does so when the content changed;
    `resend_unknown` sends again what may have arrived; `retry_failed` what was refused.
    """

    force: bool = False
    on_change: bool = False
    resend_unknown: bool = True
    retry_failed: bool = True


class Disposition(StrEnum):
    """What became of an order; each order that a run or a reconciliation saw has exactly one.

    `delivery.report` says what each means to people. The last two are a reconciliation's.
    """

    DELIVERED = "delivered"
    ALREADY_DELIVERED = "already delivered"
    SKIPPED = "skipped"
    FAILED = "failed"
    FAILED_BEFORE = "failed before"
    UNKNOWN = "unknown"
    HELD = "held"
    PENDING = "pending"
    CLAIMED = "claimed by another run"
    MISSING = "missing"
    TO_SEND = "to send"
    NOT_SENT = "not sent"
    CHANGED = "changed"


class Result(StrEnum):
    """How one try ended."""

    DELIVERED = "delivered"
    UNKNOWN = "unknown"
    FAILED = "failed"
    PENDING = "pending"
    UNSENT = "unsent"


_STATES = {
    Result.DELIVERED: State.DELIVERED,
    Result.UNKNOWN: State.UNKNOWN,
    Result.FAILED: State.FAILED,
    Result.PENDING: State.PENDING,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one try: what became of it, why, and what One Tribe answered."""

    result: Result
    reason: str = ""
    answer_status: int | None = None
    answer: str = ""


def decide(entry: Entry | None, order: Order, policy: Policy) -> Disposition:
    """Whether an eligible order with this content is to be sent now."""
    if entry is None:
        return Disposition.TO_SEND
    changed = order.sha256 != entry.sha256 and not _is_older(order, entry)
    match entry.state:
        case State.SENDING:
            return Disposition.CLAIMED
        case State.DELIVERED if not (policy.force or (policy.on_change and changed)):
            return Disposition.ALREADY_DELIVERED
        case State.UNKNOWN if not (policy.force or policy.resend_unknown):
            return Disposition.HELD
        case State.FAILED if not (policy.force or policy.retry_failed or changed):
            return Disposition.FAILED_BEFORE
    return Disposition.TO_SEND


def _is_older(order: Order, entry: Entry) -> bool:
    """Whether a newer version was seen already: two runs may hold two versions of an order."""
    newest, this = entry.modified_at, order.date_modified
    return newest is not None and this is not None and this < newest


def record(
    entry: Entry | None, order: Order, skip_reason: str, policy: Policy, now: datetime
) -> tuple[Entry, Disposition]:
    """Take note of an order that was fetched; `skip_reason` says why it is not eligible, if so.

    What is to be sent becomes pending, so that it stays owed if the run ends here. A delivered
    order that is only to be forced stays delivered until its claim, and an unknown one stays
    unknown: neither may lose what is known about it.
    """
    fresh = entry or Entry(order.id, State.PENDING, first_seen_at=now, updated_at=now)
    modified_at = fresh.modified_at if _is_older(order, fresh) else order.date_modified
    seen = replace(fresh, modified_at=modified_at or fresh.modified_at)
    decision = decide(entry, order, policy)
    if skip_reason:
        return _pass_over(seen, skip_reason, decision, now)
    if decision is not Disposition.TO_SEND:
        return seen, decision
    if fresh.state is State.UNKNOWN or (fresh.state is State.DELIVERED and policy.force):
        return seen, decision
    if fresh.state is State.PENDING:
        return seen, decision
    reason = "changed since it was delivered" if fresh.state is State.DELIVERED else ""
    return _moved(seen, State.PENDING, now, reason=reason), decision


def _pass_over(
    entry: Entry, skip_reason: str, decision: Disposition, now: datetime
) -> tuple[Entry, Disposition]:
    """An order that is not eligible is never sent; `arrivals` keeps what One Tribe may have."""
    match entry.state:
        case State.SENDING:
            return entry, Disposition.CLAIMED
        case State.DELIVERED:
            return entry, Disposition.SKIPPED if decision is Disposition.TO_SEND else decision
    return _moved(entry, State.SKIPPED, now, reason=skip_reason), Disposition.SKIPPED


def claim(
    entry: Entry, order: Order, policy: Policy, run_id: str, now: datetime
) -> tuple[Entry, Disposition]:
    """Take an order for sending. Only with the decision SEND has the entry changed."""
    decision = decide(entry, order, policy)
    if decision is not Disposition.TO_SEND:
        return entry, decision
    claimed = _moved(
        entry,
        State.SENDING,
        now,
        state_before=entry.state,
        sha256_before=entry.sha256,
        sha256=order.sha256,
        attempts=entry.attempts + 1,
        run_id=run_id,
        sent_at=now,
    )
    return claimed, decision


def settle(entry: Entry, outcome: Outcome, now: datetime) -> Entry:
    """Write down how the try ended. Raises ValueError for an entry that is not being sent."""
    if entry.state is not State.SENDING:
        raise ValueError(f"order {entry.order_id} is {entry.state}, not sending")
    if outcome.result is Result.UNSENT:
        return _restored(entry, outcome, now)
    arrived = outcome.result in (Result.DELIVERED, Result.UNKNOWN)
    delivered = outcome.result is Result.DELIVERED
    return _moved(
        entry,
        _STATES[outcome.result],
        now,
        reason=outcome.reason,
        arrivals=entry.arrivals + arrived,
        deliveries=entry.deliveries + delivered,
        delivered_at=now if delivered else entry.delivered_at,
        answer_status=outcome.answer_status,
        answer=outcome.answer,
        run_id=None,
        state_before=None,
        sha256_before=None,
    )


def _restored(entry: Entry, outcome: Outcome, now: datetime) -> Entry:
    """As it was before a claim that came to nothing: delivered, unknown, failed or owed."""
    state = State(entry.state_before or State.PENDING)
    return _moved(
        entry,
        state,
        now,
        reason=outcome.reason if state is State.PENDING else "",
        sha256=entry.sha256_before,
        attempts=entry.attempts - 1,
        sent_at=entry.sent_at if entry.attempts > 1 else None,
        run_id=None,
        state_before=None,
        sha256_before=None,
    )


RELEASED = Outcome(Result.UNSENT)
"""For what was claimed and given back before it was sent."""

UNSENT = Outcome(Result.UNSENT, "The run that had claimed it ended before it was sent.")
"""For what a dead run had claimed and certainly not sent."""

ABANDONED = Outcome(Result.UNKNOWN, "The run that was sending it ended without an answer.")
"""For what a dead run was sending: whether the POST arrived, nobody knows."""


def mark_gone(entry: Entry, now: datetime) -> Entry:
    """BigCommerce no longer has the order: nothing more can be sent. What was delivered stays
    so, and `arrivals` keeps what may have been.
    """
    if entry.state in (State.SENDING, State.DELIVERED):
        return entry
    return _moved(entry, State.GONE, now, reason="BigCommerce no longer has it")


def _moved(entry: Entry, state: State, now: datetime, **changes: object) -> Entry:
    cleared: dict[str, object] = {"reason": ""}
    return replace(entry, state=state, updated_at=now, **{**cleared, **changes})  # type: ignore[arg-type]
