"""Backfill: send every selected order that One Tribe does not have yet."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.pipeline import preview_pages, run
from onetribe_bc.delivery.report import Report
from onetribe_bc.delivery.selection import Selection
from onetribe_bc.order import Order


def backfill(
    context: Context,
    selection: Selection,
    *,
    command: str = "backfill",
    exclusive: bool = True,
    limit: int | None = None,
) -> Generator[Report]:
    """Deliver the selected orders, as `run` does. A repeated run sends only owed orders."""
    return run(
        context,
        command,
        selection.iter_pages(context.bigcommerce),
        skip_reason=context.skip_rule(),
        exclusive=exclusive,
        limit=limit,
    )


def preview(
    context: Context, selection: Selection, *, limit: int | None = None
) -> Iterator[tuple[Report, Order | None]]:
    """Yield what `backfill` would do with each order; send and record nothing."""
    return preview_pages(
        selection.iter_pages(context.bigcommerce),
        ledger=context.ledger,
        skip_reason=context.skip_rule(),
        limit=limit,
    )
