"""Retry: send again what failed, or may not have arrived."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from functools import partial

from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import iter_ids
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
from onetribe_bc.delivery.selection import skip_reason
from onetribe_bc.errors import InputError
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import State


def choose_orders(ledger: Ledger, ids: Sequence[int], states: Collection[State]) -> list[int]:
    """The orders to retry: these, or with none given all in these states; ascending.

    What a dead run had claimed is settled first, so that it counts. Raises InputError for an id
    that the ledger does not know.
    """
    ledger.recover()
    if not ids:
        return [entry.order_id for entry in ledger.iter_entries(states)]
    known = ledger.entries(ids)
    strangers = sorted(set(ids) - set(known))
    if strangers:
        raise InputError(
            f"The ledger does not know order {strangers[0]}.",
            hint=f"To send it for the first time: bc2ot push-order {strangers[0]}",
        )
    return sorted(set(ids))


def retry(
    context: Context, ids: Sequence[int], *, skip_status_ids: Collection[int]
) -> Generator[Report]:
    """Fetch and deliver these orders, as `run` does; what was delivered is left alone."""
    return run(
        context,
        "retry",
        iter_ids(context.bigcommerce, each_of(ids)),
        skip_reason=partial(skip_reason, skip_status_ids),
        exclusive=False,
    )
