"""The state of one order in the ledger, and its transitions: pure values and functions.

Each transition takes an entry and returns the next one; nothing here reads a clock, a database
or the network. docs/ledger.md explains the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from onetribe_bc.order import Order


class State(StrEnum):
    """Where an order stands with One Tribe; each order is in exactly one state."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"


OWED = (State.PENDING, State.SENDING, State.UNKNOWN)
"""The states of orders that a later run has to do something about."""

RESEND_AFTER = tuple(timedelta(hours=h) for h in (0, 1, 4, 12, 24))
"""How long an unknown order waits after its first copy, its second, and so on; the last repeats.
The first wait is short since most lost responses are isolated; a service that responds too late
keeps doing so for hours, and each copy may cost the merchant money.
"""


class Entry(NamedTuple):
    """One order's row. Times are aware UTC; `sha256` is of the body that was last sent.

    `state_before` and `sha256_before` are those before the claim, while it stands.
    `arrivals` counts the POSTs that One Tribe got or may have got: each beyond the first may be a
    duplicate there. `deliveries` counts those that it acknowledged. `status` is the order's status
    in BigCommerce when a run last saw it.

    A tuple, as rows are: claiming and settling make four of them for each order.
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
    state_before: State | None = None
    sha256_before: str | None = None
    worker: int | None = None
    status_id: int | None = None
    status: str = ""

    @property
    def possible_duplicates(self) -> int:
        """How many copies beyond the first One Tribe may have."""
        return max(0, self.arrivals - 1)

    @property
    def unacknowledged(self) -> int:
        """How many copies may have arrived without a response that says so."""
        return self.arrivals - self.deliveries

    @property
    def resend_at(self) -> datetime:
        """When the next copy of an unknown order is due. After a refused one: after the last wait,
        since the next is refused, too.
        """
        refused = self.answer_status == HTTPStatus.CONFLICT
        copies = len(RESEND_AFTER) if refused else max(1, self.unacknowledged)
        wait = RESEND_AFTER[min(copies, len(RESEND_AFTER)) - 1]
        return (self.sent_at or self.first_seen_at) + wait

    def is_claim_of(self, run_id: str | None, worker: int | None) -> bool:
        """Whether that worker holds the order."""
        return self.state is State.SENDING and (self.run_id, self.worker) == (run_id, worker)

    def is_same_claim(self, claimed: Entry) -> bool:
        """Whether that claim still stands, and it is no later one of the same worker."""
        same = self.is_claim_of(claimed.run_id, claimed.worker)
        return same and self.attempts == claimed.attempts


@dataclass(frozen=True, slots=True)
class Policy:
    """What a run may send besides orders that were never sent.

    `force` resends delivered orders; `on_change` does so when the content changed;
    `resend_unknown` resends what may have arrived, up to `max_copies` (None: without a limit) and
    with `at_intervals` not before it is due; `retry_failed` resends what was refused. `force`
    overrides all of these.
    """

    force: bool = False
    on_change: bool = False
    resend_unknown: bool = True
    retry_failed: bool = True
    max_copies: int | None = None
    at_intervals: bool = False

    def allows_copy(self, unacknowledged: int) -> bool:
        """Whether an order with so many unacknowledged copies may be sent once more."""
        return self.force or self.max_copies is None or unacknowledged < self.max_copies

    def holds(self, entry: Entry) -> bool:
        """Whether an unknown order waits for a person."""
        resends = self.force or self.resend_unknown
        return not (resends and self.allows_copy(entry.unacknowledged))


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended: delivered, unknown, failed or pending, why, and One Tribe's response.

    `state` is None if the request never left: the order is then what it was before its claim.
    """

    state: State | None
    reason: str = ""
    answer_status: int | None = None
    answer: str = ""

    @property
    def arrived(self) -> bool:
        """Whether One Tribe took the request, or may have. A 409 refused it: the order is unknown
        for an earlier one.
        """
        is_refused = self.answer_status == HTTPStatus.CONFLICT
        return self.state is State.DELIVERED or (self.state is State.UNKNOWN and not is_refused)


RELEASED = Outcome(None)
"""The claim is given back: its request never left."""

ABANDONED = Outcome(State.UNKNOWN, "The run that was sending it ended without a response.")
"""A dead run held the claim: the request may have arrived."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A period missing from the ledger, because an older copy of it was restored.

    It ends at `until`; the copy was accepted at `accepted_at`.
    """

    accepted_at: datetime
    until: datetime

    def covers(self, entry: Entry | None, order: Order) -> bool:
        """Whether the order may have been sent in it, and the ledger does not say so yet."""
        if entry is not None and (entry.first_seen_at < self.accepted_at or entry.arrivals):
            return False
        return order.date_created is None or order.date_created <= self.until


def decide(entry: Entry, order: Order, policy: Policy, now: datetime) -> Disposition:
    """Return whether an eligible order with this content is to be sent now.

    PENDING is for an unknown order that is not due yet.
    """
    changed = order.sha256 != entry.sha256 and not _is_older(order, entry)
    match entry.state:
        case State.SENDING:
            return Disposition.CLAIMED
        case State.DELIVERED if not (policy.force or (policy.on_change and changed)):
            return Disposition.ALREADY_DELIVERED
        case State.FAILED if not (policy.force or policy.retry_failed or changed):
            return Disposition.FAILED_BEFORE
        case State.UNKNOWN if policy.holds(entry):
            return Disposition.HELD
        case State.UNKNOWN if policy.at_intervals and not (policy.force or _is_due(entry, now)):
            return Disposition.PENDING
        # Once delivered, only a change or a person sends it, for which older copies do not count.
        case _ if not (entry.deliveries or policy.allows_copy(entry.unacknowledged)):
            return Disposition.HELD
    return Disposition.TO_SEND


def _is_due(entry: Entry, now: datetime) -> bool:
    """Whether an unknown order may be sent again. A wait beyond the longest is a wrong clock's."""
    return not now < entry.resend_at <= now + RESEND_AFTER[-1]


def _is_older(order: Order, entry: Entry) -> bool:
    """Whether a newer version was seen before: two runs may hold two versions of an order."""
    newest, this = entry.modified_at, order.date_modified
    return newest is not None and this is not None and this < newest


def record(
    entry: Entry | None,
    order: Order,
    skip_reason: str,
    policy: Policy,
    now: datetime,
    gap: Gap | None = None,
) -> tuple[Entry, Disposition]:
    """Record an order that was fetched; `skip_reason` says why it is not eligible, if so.

    An order to send becomes pending, so that it stays owed if the run ends here. A delivered
    order that is only to be forced stays delivered until its claim, and an unknown one stays
    unknown: neither may lose what is known about it.
    """
    fresh = entry or Entry(order.id, State.PENDING, first_seen_at=now, updated_at=now)
    seen = _seen(fresh, order)
    if gap is not None and gap.covers(entry, order):
        seen = seen._replace(arrivals=1)
    decision = decide(seen, order, policy, now)
    if skip_reason:
        return _skip(seen, skip_reason, decision, now)
    if decision is Disposition.HELD and seen.state is not State.UNKNOWN:
        return _moved(seen, State.UNKNOWN, now, reason="It may have arrived before."), decision
    if decision is not Disposition.TO_SEND:
        return seen, decision
    if fresh.state in (State.UNKNOWN, State.PENDING):
        return seen, decision
    if fresh.state is State.DELIVERED and policy.force:
        return seen, decision
    reason = "changed since it was delivered" if fresh.state is State.DELIVERED else ""
    return _moved(seen, State.PENDING, now, reason=reason), decision


def _seen(entry: Entry, order: Order) -> Entry:
    """The entry with the order's newest version and status."""
    if _is_older(order, entry):
        return entry
    modified_at = order.date_modified or entry.modified_at
    seen = (modified_at, order.status_id, order.status)
    if seen == (entry.modified_at, entry.status_id, entry.status):
        return entry
    return entry._replace(modified_at=modified_at, status_id=order.status_id, status=order.status)


def _skip(
    entry: Entry, skip_reason: str, decision: Disposition, now: datetime
) -> tuple[Entry, Disposition]:
    """An ineligible order is never sent; `arrivals` keeps what One Tribe may have."""
    match entry.state:
        case State.SENDING:
            return entry, Disposition.CLAIMED
        case State.DELIVERED:
            return entry, Disposition.SKIPPED if decision is Disposition.TO_SEND else decision
        case State.SKIPPED if entry.reason == skip_reason:
            return entry, Disposition.SKIPPED
    return _moved(entry, State.SKIPPED, now, reason=skip_reason), Disposition.SKIPPED


def claim(
    entry: Entry, order: Order, policy: Policy, run_id: str, worker: int, now: datetime
) -> tuple[Entry, Disposition]:
    """Claim an order for a worker. The entry has changed only if the disposition is TO_SEND."""
    if entry.is_claim_of(run_id, worker):
        return entry, Disposition.TO_SEND  # the transaction runs a second time
    decision = decide(entry, order, policy, now)
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
        worker=worker,
        sent_at=now,
    )
    return claimed, decision


def settle(entry: Entry, outcome: Outcome, now: datetime) -> Entry:
    """Apply the outcome of the attempt. Raises ValueError if the order is not being sent."""
    if entry.state is not State.SENDING:
        raise ValueError(f"order {entry.order_id} is {entry.state}, not sending")
    if outcome.state is None:
        return _restored(entry, now)
    delivered = outcome.state is State.DELIVERED
    return _moved(
        entry,
        outcome.state,
        now,
        reason=outcome.reason,
        arrivals=entry.arrivals + outcome.arrived,
        deliveries=entry.deliveries + delivered,
        delivered_at=now if delivered else entry.delivered_at,
        answer_status=outcome.answer_status,
        answer=outcome.answer,
        **_UNCLAIMED,
    )


def settle_late(entry: Entry, outcome: Outcome, now: datetime) -> Entry:
    """Apply an outcome whose claim is gone: its request arrived all the same, or may have."""
    if not outcome.arrived:
        return entry
    counted = entry._replace(arrivals=entry.arrivals + 1, updated_at=now)
    if outcome.state is not State.DELIVERED:
        return counted
    counted = counted._replace(deliveries=entry.deliveries + 1, delivered_at=now)
    if entry.state is State.SENDING:
        return counted
    return _moved(
        counted,
        State.DELIVERED,
        now,
        answer_status=outcome.answer_status,
        answer=outcome.answer,
    )


def _restored(entry: Entry, now: datetime) -> Entry:
    """The entry before a claim that came to nothing: delivered, unknown, failed or owed."""
    return _moved(
        entry,
        entry.state_before or State.PENDING,
        now,
        sha256=entry.sha256_before,
        attempts=entry.attempts - 1,
        sent_at=entry.sent_at if entry.attempts > 1 else None,
        **_UNCLAIMED,
    )


def mark_gone(entry: Entry, now: datetime) -> Entry:
    """BigCommerce no longer has the order: nothing more can be sent. What was delivered stays
    so, and `arrivals` keeps what may have been.
    """
    if entry.state is State.SENDING:
        return entry
    if entry.state is State.DELIVERED:
        return entry._replace(status_id=None, status=DELETED)
    return _moved(entry, State.GONE, now, reason="BigCommerce no longer has it")


DELETED = "deleted"
"""The `status` of a delivered order that BigCommerce no longer has."""

_UNCLAIMED: dict[str, Any] = {
    "run_id": None,
    "worker": None,
    "state_before": None,
    "sha256_before": None,
}


def _moved(entry: Entry, state: State, now: datetime, **changes: Any) -> Entry:
    return entry._replace(**{"state": state, "updated_at": now, "reason": "", **changes})
