"""Reconcile: compare the store's orders with the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.report import Report, Summary, unsent
from onetribe_bc.delivery.selection import Selection, count_if_possible
from onetribe_bc.errors import ExitCode, InterruptedRunError
from onetribe_bc.ledger.states import Disposition, Entry, State
from onetribe_bc.order import Order

KEPT_GAPS = 10_000
"""How many gaps a reconciliation lists; it counts all of them."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The store's orders by disposition, and its own counts before and after listing them.

    The problems in `orders` are the gaps: One Tribe does not have these orders, or may not.
    `held` of them wait for a person.
    """

    orders: Summary
    counted_before: int | None
    counted: int | None
    held: int = 0

    @property
    def count_difference(self) -> int:
        """How many more orders the store counts than it lists; some may come or go meanwhile.

        Its count ignores some filters, so that a difference is no gap. 0 if it is not known.
        """
        if self.counted_before is None or self.counted is None:
            return 0
        low, high = sorted((self.counted_before, self.counted))
        return min(0, high - self.orders.seen) or max(0, low - self.orders.seen)

    @property
    def exit_code(self) -> ExitCode:
        """INCOMPLETE for a gap."""
        return self.orders.exit_code


def reconcile(context: Context, selection: Selection) -> Reconciliation:
    """Compare each selected order with its ledger entry; send and write nothing.

    A delivered order that has since changed is a gap if the policy sends changes. Raises
    InterruptedRunError when the clock is stopped.
    """
    client, ledger = context.bigcommerce, context.ledger
    counted_before = count_if_possible(client.count_orders, selection.query)
    orders, skip_reason = Summary(kept=KEPT_GAPS), context.skip_rule()
    held = 0
    for page in selection.iter_pages(client):
        for order_id, reason in page.unfetchable:
            orders.add(Report(order_id, Disposition.PENDING, reason))
        entries = ledger.entries([order.id for order in page.orders])
        for order in page.orders:
            if context.clock.stopping:
                raise InterruptedRunError("Interrupted.")
            entry = entries.get(order.id)
            disposition = _compare(
                entry, order, skip_reason(order), on_change=ledger.policy.on_change
            )
            if entry is not None and disposition is Disposition.UNKNOWN:
                held += ledger.policy.holds(entry)
            orders.add(unsent(order.id, disposition, entry))
    counted = count_if_possible(client.count_orders, selection.query)
    return Reconciliation(orders, counted_before, counted, held)


def _compare(
    entry: Entry | None, order: Order, skip_reason: str, *, on_change: bool
) -> Disposition:
    match None if entry is None else entry.state:
        case State.DELIVERED:
            changed = entry is not None and entry.sha256 != order.sha256
            return Disposition.CHANGED if on_change and changed else Disposition.DELIVERED
        case State.UNKNOWN:
            return Disposition.UNKNOWN
        case State.SENDING:
            return Disposition.PENDING
        case _ if skip_reason:
            return Disposition.SKIPPED
        case State.PENDING:
            return Disposition.PENDING
        case State.FAILED:
            return Disposition.FAILED
    # Not in the ledger, or skipped or gone when last seen, but eligible now.
    return Disposition.NOT_SENT
