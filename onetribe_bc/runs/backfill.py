"""Backfill: send every order of a range that One Tribe does not have yet."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from onetribe_bc.delivery import Report
from onetribe_bc.order import Order
from onetribe_bc.runs.pipeline import preview_pages
from onetribe_bc.runs.run import run
from onetribe_bc.runs.selection import Selection
from onetribe_bc.runs.services import Services


def backfill(
    services: Services,
    selection: Selection,
    *,
    command: str = "backfill",
    exclusive: bool = True,
    limit: int | None = None,
) -> Generator[Report, None, None]:
    """Deliver the selected orders, as `run` does. Running it again sends only what is owed."""
    pages = selection.iter_pages(services.bigcommerce)
    return run(
        services,
        command,
        pages,
        skip_reason=selection.skip_reason,
        exclusive=exclusive,
        limit=limit,
    )


def preview(
    services: Services, selection: Selection, *, limit: int | None = None
) -> Iterator[tuple[Report, Order | None]]:
    """What `backfill` would do with each order; sends nothing and enters nothing."""
    return preview_pages(
        selection.iter_pages(services.bigcommerce),
        book=services.book,
        skip_reason=selection.skip_reason,
        limit=limit,
    )
