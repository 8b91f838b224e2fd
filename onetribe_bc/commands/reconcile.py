"""Reconcile: compare the store's orders with the ledger, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.delivery.selection import Selection
from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Entry, State
from onetribe_bc.order import Order

KEPT_GAPS = 10_000
"""How many gaps a reconciliation names; it counts all of them."""


class Standing(StrEnum):
    """Where one of the store's orders stands with One Tribe."""

    DELIVERED = "delivered"
    SKIPPED = "skipped"
    MISSING = "missing"
    OWED = "owed"
    UNKNOWN = "unknown"
    FAILED = "failed"
    CHANGED = "changed"


GAPS = (Standing.MISSING, Standing.OWED, Standing.UNKNOWN, Standing.FAILED, Standing.CHANGED)
"""The standings in which One Tribe does not have the order, or may not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One order of the store, its standing, and the ledger's reason for it."""

    order_id: int
    standing: Standing
    reason: str = ""


@dataclass(slots=True)
class Reconciliation:
    """Findings, added up. `counted` is the store's own count of the same orders, after they
    were listed as before.
    """

    counted_before: int
    counted: int = 0
    standings: Counter[Standing] = field(default_factory=Counter)
    gaps: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count one order."""
        self.standings[finding.standing] += 1
        if finding.standing in GAPS and len(self.gaps) < KEPT_GAPS:
            self.gaps.append(finding)

    @property
    def seen(self) -> int:
        """How many orders the store listed."""
        return self.standings.total()

    @property
    def counts_agree(self) -> bool:
        """Whether the store counts as many orders as it lists. Some may come or go meanwhile."""
        low, high = sorted((self.counted_before, self.counted))
        return low <= self.seen <= high

    @property
    def exit_code(self) -> ExitCode:
        """INCOMPLETE for a gap, or when the store's count and its list differ."""
        gap = any(self.standings[standing] for standing in GAPS)
        return ExitCode.INCOMPLETE if gap or not self.counts_agree else ExitCode.DONE


def iter_findings(
    client: BigCommerceClient, ledger: Ledger, selection: Selection, *, on_change: bool
) -> Iterator[Finding]:
    """Each selected order of the store with its standing; changes nothing.

    With `on_change`, a delivered order whose content is another one by now is a gap.
    """
    for page in selection.iter_pages(client):
        entries = ledger.entries([order.id for order in page.orders])
        for order in page.orders:
            entry = entries.get(order.id)
            standing = _standing(entry, order, selection.skip_reason(order), on_change=on_change)
            reason = entry.reason if entry is not None else ""
            yield Finding(order.id, standing, reason)


def _standing(entry: Entry | None, order: Order, skip_reason: str, *, on_change: bool) -> Standing:
    match entry.state if entry is not None else None:
        case State.DELIVERED if entry is not None and on_change and entry.sha256 != order.sha256:
            return Standing.CHANGED
        case State.DELIVERED:
            return Standing.DELIVERED
        case State.UNKNOWN:
            return Standing.UNKNOWN
        case State.SENDING:
            return Standing.OWED
    if skip_reason:
        return Standing.SKIPPED
    match entry.state if entry is not None else None:
        case State.PENDING:
            return Standing.OWED
        case State.FAILED:
            return Standing.FAILED
    # Never seen, or skipped or gone when it was: eligible and there by now.
    return Standing.MISSING
