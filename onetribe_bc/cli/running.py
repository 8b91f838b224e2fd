"""Show a run: which orders it covers, its progress, and its outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TypeVar
from zoneinfo import ZoneInfo

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.cli.summary import (
    alarm_text,
    id_ranges,
    problem_lines,
    status_text,
    summary_json,
    summary_text,
)
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import Context, open_context
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.selection import Selection
from onetribe_bc.errors import Bc2otError, InterruptedRunError
from onetribe_bc.ledger.states import Disposition, Policy
from onetribe_bc.order import Order
from onetribe_bc.statuses import status_name
from onetribe_bc.text import plural

T = TypeVar("T")

SHOWN_RANGES = 100
"""How many IDs and ranges are printed on a terminal."""


@contextmanager
def delivering(console: Console, settings: Settings, policy: Policy) -> Iterator[Context]:
    """Yield a run's clients and ledger. Ctrl-C finishes what is in flight, and starts no more."""
    with interruptible(console) as clock, open_context(settings, clock, policy) as context:
        yield context


def describe(store_hash: str, selection: Selection, timezone: ZoneInfo) -> str:
    """Say which orders a run covers."""
    if selection.window is None:
        return f"Store {store_hash}, orders by id."
    window = selection.window.describe(timezone)
    counted = "" if selection.expected is None else f": {plural(selection.expected, 'order')}"
    return f"Store {store_hash}, orders {selection.by} {window}{counted}."


def selection_json(store_hash: str, selection: Selection) -> dict[str, object]:
    """Return the same for JSON output."""
    window = selection.window
    return {
        "store_hash": store_hash,
        "by": selection.by if window else "id",
        "since": window and window.since,
        "until": window and window.until,
    }


def show_run(
    console: Console,
    reports: Generator[Report],
    facts: Mapping[str, object] | None,
    *,
    expected: int | None = None,
    strict: bool = False,
    routine: bool = False,
) -> int:
    """Follow a run to its end, print the outcome, and return the exit code.

    JSON output begins with `facts`; None prints none. `expected` is the number of orders, if
    known; `strict` and `routine` are those of Summary. An error that ends the run early is raised
    after the outcome is printed.
    """
    summary = Summary(strict=strict, routine=routine)
    ended_by: Bc2otError | None = None
    try:
        # The run must end before its clients are closed.
        with closing(reports), console.progress(expected) as show:
            for report in reports:
                summary.add(report)
                show(summary)
    except Bc2otError as error:
        ended_by = error
    if console.as_json and facts is not None:
        console.json({**facts, **end_json(ended_by), **summary_json(summary)})
    _print_summary(console, summary, summary_text(summary), ended_by)
    if ended_by is not None:
        raise ended_by
    return summary.exit_code


def end_json(ended_by: Bc2otError | None = None) -> dict[str, object]:
    """Return how a run ended, for JSON output."""
    return {"complete": ended_by is None, "ended_by": ended_by and str(ended_by)}


def _print_summary(
    console: Console, summary: Summary, text: str, ended_by: Bc2otError | None = None
) -> None:
    if console.quiet:
        if summary.problem_count and ended_by is None:
            console.error(alarm_text(summary))
        return
    for line in problem_lines(summary):
        console.info(line)
    if summary.strict and summary.dispositions[Disposition.ALREADY_DELIVERED]:
        console.info("Delivered orders are sent again only by bc2ot push-order ID --force.")
    if summary.seen or ended_by is None:
        console.info(text)


def until_stopped(items: Iterable[T], clock: Clock) -> Iterator[T]:
    """Yield the items until Ctrl-C, then raise InterruptedRunError; for work that sends nothing."""
    for item in items:
        if clock.stopping:
            raise InterruptedRunError("Interrupted.")
        yield item


def show_preview(
    console: Console,
    previews: Iterable[tuple[Report, Order | None]],
    facts: Mapping[str, object],
    timezone: ZoneInfo,
) -> int:
    """Print what would be sent, as counts by the month of their creation and as IDs."""
    summary = Summary()
    ids: list[int] = []
    months: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report, order in previews:
        summary.add(report)
        if report.disposition is Disposition.TO_SEND and order is not None:
            ids.append(report.order_id)
            at = order.date_created
            month = "unknown" if at is None else f"{at.astimezone(timezone):%Y-%m}"
            months[month][status_name(order.status_id)] += 1
    by_month = dict(sorted(months.items()))
    if console.as_json:
        facts = {**facts, "dry_run": True, **summary_json(summary)}
        console.json({**facts, "to_send_by_month": by_month, "ids": ids})
    elif ids:
        ranges = id_ranges(sorted(ids))
        shown = ranges[:SHOWN_RANGES] if console.is_terminal else ranges
        console.data(", ".join(shown))
        if len(shown) < len(ranges):
            console.info("... and more; in a pipe or a file, all IDs are printed.")
    for month, statuses in by_month.items():
        console.info(f"Created {month}: {status_text(statuses)}")
    _print_summary(console, summary, f"Nothing is sent. {summary_text(summary)}")
    return summary.exit_code
