"""One run: pages of orders delivered under a name, and counted in the ledger."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from onetribe_bc.delivery import Report
from onetribe_bc.fetching import Page
from onetribe_bc.runs.pipeline import SkipReason, deliver_pages
from onetribe_bc.runs.services import Services
from onetribe_bc.runs.tally import Tally

COUNTED_EVERY = 500
"""After so many orders the ledger is told how far the run has come, for `status`."""


def run(
    services: Services,
    command: str,
    pages: Iterable[Page],
    *,
    skip_reason: SkipReason,
    exclusive: bool,
    limit: int | None = None,
    tally: Tally | None = None,
) -> Generator[Report, None, None]:
    """Deliver what is on the pages; yields a report on each order as it is settled. Close it
    to end the run early: what is in flight is finished. `tally` is an empty one to count in, for
    whoever wants to look at it meanwhile.

    With `exclusive`, raises BusyError at once while another exclusive run holds the store.
    Raises what `deliver_pages` raises after the last report.
    """
    tally = Tally() if tally is None else tally
    with services.book.run(command, workers=services.courier.workers, exclusive=exclusive):
        reports = deliver_pages(
            pages,
            book=services.book,
            courier=services.courier,
            clock=services.clock,
            skip_reason=skip_reason,
            limit=limit,
        )
        try:
            # Closed before the run ends, should our reader turn away: no worker outlives its run.
            with closing(reports):
                for report in reports:
                    tally.add(report)
                    if tally.seen % COUNTED_EVERY == 0:
                        services.book.record_counts(tally.counts())
                    yield report
        finally:
            services.book.record_counts(tally.counts())
