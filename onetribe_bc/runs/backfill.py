"""Backfill: send every order of a range that One Tribe does not have yet."""

from __future__ import annotations

from collections.abc import Iterator

from onetribe_bc.delivery import Report
from onetribe_bc.order import Order
from onetribe_bc.runs.pipeline import deliver_pages, preview_pages
from onetribe_bc.runs.selection import Selection
from onetribe_bc.runs.services import Services
from onetribe_bc.runs.tally import Tally


def backfill(
    services: Services,
    selection: Selection,
    *,
    command: str = "backfill",
    exclusive: bool = True,
    limit: int | None = None,
) -> Iterator[Report]:
    """Deliver the selected orders; yields a report on each as it is settled.

    With `exclusive`, raises BusyError at once while another exclusive run holds the store.
    Raises what `deliver_pages` raises after the last report. Running it again sends only what
    is still owed.
    """
    tally = Tally()
    with services.book.run(command, workers=services.courier.workers, exclusive=exclusive):
        reports = deliver_pages(
            selection.iter_pages(services.bigcommerce),
            book=services.book,
            courier=services.courier,
            clock=services.clock,
            skip_reason=selection.skip_reason,
            limit=limit,
        )
        try:
            for report in reports:
                tally.add(report)
                yield report
        finally:
            services.book.record_counts(tally.counts())


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
