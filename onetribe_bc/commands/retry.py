"""Retry: send failed and unknown orders again."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence

from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import Page, iter_ids
from onetribe_bc.delivery.pipeline import preview_pages, run
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import InputError
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.listing import EVERY, EntryFilter
from onetribe_bc.ledger.states import State
from onetribe_bc.order import Order


def choose_orders(
    ledger: Ledger,
    ids: Sequence[int],
    states: Collection[State],
    matching: EntryFilter = EVERY,
) -> list[int]:
    """Return the ids of orders to retry, ascending: `ids`, or if empty, the matching in `states`.

    The claims of dead runs are recovered first, so that their orders are included. Raises
    InputError for an ID that is not in the ledger.
    """
    ledger.recover()
    if not ids:
        return [entry.order_id for entry in ledger.iter_entries(states, matching)]
    if unknown := sorted(set(ids) - set(ledger.entries(ids))):
        raise InputError(
            f"Order {unknown[0]} is not in the ledger.",
            hint=f"To send it for the first time: bc2ot push-order {unknown[0]}",
        )
    return sorted(set(ids))


def retry(context: Context, ids: Sequence[int]) -> Generator[Report]:
    """Fetch and deliver these orders, as `run` does, except delivered ones."""
    return run(
        context, "retry", _pages(context, ids), skip_reason=context.skip_rule(), exclusive=False
    )


def preview(context: Context, ids: Sequence[int]) -> Iterator[tuple[Report, Order | None]]:
    """Yield what `retry` would do with each order; fetch them, but send and record nothing."""
    return preview_pages(
        _pages(context, ids), ledger=context.ledger, skip_reason=context.skip_rule()
    )


def _pages(context: Context, ids: Sequence[int]) -> Iterator[Page]:
    return iter_ids(context.bigcommerce, each_of(ids))
