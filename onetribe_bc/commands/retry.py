"""Retry: send failed and unknown orders again."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.fetching import iter_ids
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import InputError
from onetribe_bc.ids import each_of
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import State


def choose_orders(ledger: Ledger, ids: Sequence[int], states: Collection[State]) -> list[int]:
    """Return the ids of orders to retry, ascending: `ids`, or if empty, all orders in `states`.

    The claims of dead runs are recovered first, so that their orders are included. Raises
    InputError for an ID that is not in the ledger.
    """
    ledger.recover()
    if not ids:
        return [entry.order_id for entry in ledger.iter_entries(states)]
    if unknown := sorted(set(ids) - set(ledger.entries(ids))):
        raise InputError(
            f"Order {unknown[0]} is not in the ledger.",
            hint=f"To send it for the first time: bc2ot push-order {unknown[0]}",
        )
    return sorted(set(ids))


def retry(context: Context, ids: Sequence[int]) -> Generator[Report]:
    """Fetch and deliver these orders, as `run` does, except delivered ones."""
    return run(
        context,
        "retry",
        iter_ids(context.bigcommerce, each_of(ids)),
        skip_reason=context.skip_rule(),
        exclusive=False,
    )
