"""Showing a run: what it is about, how far it has come, what it did."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar
from zoneinfo import ZoneInfo

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.summary import (
    alarm_text,
    problem_lines,
    spans,
    summary_json,
    summary_text,
)
from onetribe_bc.clock import Clock
from onetribe_bc.delivery.report import Report, Summary
from onetribe_bc.delivery.selection import Selection
from onetribe_bc.errors import Bc2otError, InterruptedRunError
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.text import plural

T = TypeVar("T")

SHOWN_SPANS = 100
"""How many ids and ranges a terminal is given."""


def describe(store_hash: str, selection: Selection, timezone: ZoneInfo) -> str:
    """What a run is about to look at."""
    if selection.window is None:
        return f"Store {store_hash}, orders by id."
    window = selection.window.describe(timezone)
    counted = "" if selection.expected is None else f": {plural(selection.expected, 'order')}"
    return f"Store {store_hash}, orders {selection.by} {window}{counted}."


def about(store_hash: str, selection: Selection) -> dict[str, object]:
    """The same for programs."""
    window = selection.window
    return {
        "store_hash": store_hash,
        "by": selection.by if window else "id",
        "since": window.since.isoformat() if window and window.since else None,
        "until": window.until.isoformat() if window and window.until else None,
    }


def show_run(
    console: Console,
    reports: Generator[Report],
    *,
    expected: int | None,
    facts: Mapping[str, object] | None = None,
    strict: bool = False,
    routine: bool = False,
) -> int:
    """Follow a run to its end, say what it did, and return its exit code. With `facts`, say it
    as JSON; `strict` and `routine` are the tally's. What ended the run early is raised
    again after that.
    """
    summary = Summary(strict=strict, routine=routine)
    try:
        # Whatever goes wrong here, the run ends before its services are closed.
        with closing(reports), console.progress(expected) as show:
            for report in reports:
                summary.add(report)
                show(summary)
    except Bc2otError as error:
        _show_tally(console, summary, facts, ended=error)
        raise
    _show_tally(console, summary, facts, ended=None)
    return summary.exit_code


def _show_tally(
    console: Console, summary: Summary, facts: Mapping[str, object] | None, ended: Bc2otError | None
) -> None:
    if facts is not None:
        outcome = {"complete": ended is None, "ended_by": None if ended is None else str(ended)}
        console.json({**facts, **outcome, **summary_json(summary)})
    _tell(console, summary, summary_text(summary), ended=ended)


def _tell(console: Console, summary: Summary, text: str, ended: Bc2otError | None = None) -> None:
    """The orders in trouble, and the summary; with -q one line, unless an error says it all."""
    if console.quiet:
        if summary.problem_count and ended is None:
            console.urgent(alarm_text(summary))
        return
    for line in problem_lines(summary):
        console.say(line)
    if summary.strict and summary.dispositions[Disposition.ALREADY_DELIVERED]:
        console.say("What was delivered before is sent again only by bc2ot push-order ID --force.")
    if summary.seen or ended is None:
        console.say(text)


def until_stopped(items: Iterable[T], clock: Clock) -> Iterator[T]:
    """The items until Ctrl-C, for work that sends nothing. Raises InterruptedRunError."""
    for item in items:
        if clock.stopping:
            raise InterruptedRunError("Interrupted.")
        yield item


def show_preview(
    console: Console, reports: Iterable[Report], facts: Mapping[str, object] | None
) -> int:
    """Say what would be sent, by count and ids."""
    summary = Summary()
    ids: list[int] = []
    for report in reports:
        summary.add(report)
        if report.disposition is Disposition.TO_SEND:
            ids.append(report.order_id)
    if facts is not None:
        console.json({**facts, "dry_run": True, **summary_json(summary), "ids": ids})
    elif ids:
        parts = spans(sorted(ids))
        shown = parts[:SHOWN_SPANS] if console.for_people else parts
        console.data(", ".join(shown))
        if len(shown) < len(parts):
            console.say("... and more; a pipe or a file gets all of them.")
    _tell(console, summary, f"Nothing is sent. {summary_text(summary)}")
    return summary.exit_code
