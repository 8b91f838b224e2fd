"""`bc2ot orders` and `export`: list the orders that the ledger knows, for people and as proof."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import click

from onetribe_bc.cli.console import Console, json_text, plain, printable
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import (
    WHEN,
    Whole,
    all_stores_option,
    changed_since_option,
    changed_until_option,
    command,
    entry_filter,
    reason_option,
)
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.cli.stores import for_stores
from onetribe_bc.clock import SystemClock
from onetribe_bc.commands.follow import follow
from onetribe_bc.config import Settings
from onetribe_bc.dates import format_time
from onetribe_bc.delivery.context import open_ledger
from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.states import Entry, State

EXPORTED = (
    "order_id",
    "state",
    "reason",
    "sha256",
    "attempts",
    "possible_duplicates",
    "first_seen_at",
    "sent_at",
    "delivered_at",
    "answer_status",
    "answer",
    "store_hash",
    "destination",
)
_OF_LEDGER = ("store_hash", "destination")
_LINE = "{:<10}  {:>9}  {:<9}  {:<26}  {:>8}  {}\n"
"""The table is printed line by line, however long it is: so the widths are fixed."""
_HEADER = _LINE.format("store", "order", "state", "sent", "attempts", "reason")


def _state(text: str) -> State:
    """Parse a state. Raises click.BadParameter."""
    try:
        return State(text.lower())
    except ValueError:
        near = difflib.get_close_matches(text.lower(), list(State), n=1)
        hint = f" Did you mean {str(near[0])!r}?" if near else ""
        raise click.BadParameter(
            f"{text[:40]!r} is not a state.{hint} The states are: {', '.join(State)}."
        ) from None


def _complete_states(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [state for state in State if state.startswith(incomplete.lower())]


_state_option = click.option(
    "--state",
    "states",
    type=_state,
    multiple=True,
    metavar="STATE",
    shell_complete=_complete_states,
    help="Only orders in this state: pending, sending, delivered, unknown, failed, skipped or "
    "gone. Repeatable.  [default: all]",
)


@command(
    "orders",
    help="""List the orders that the ledger knows, by ID: state, when last sent, attempts, reason.

    Reads only the ledger. All filters must match. The date filters use the time of an order's
    last change in the ledger: when bc2ot first saw, sent or skipped it, or got its response.

    \b
    Examples:
      bc2ot orders --state failed --since 7d
      bc2ot orders --reason timeout --json
      bc2ot orders --duplicates --all-stores
      bc2ot orders --since 1h --follow
    """,
    epilog=WHEN,
)
@_state_option
@changed_since_option
@changed_until_option
@reason_option
@click.option("--duplicates", is_flag=True, help="Only orders that One Tribe may have repeatedly.")
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    default="",
    help="Only orders that this run sent; `bc2ot status --json` has the IDs of the last runs.",
)
@click.option("--limit", type=Whole(min=1), metavar="N", help="List at most N orders of a store.")
@click.option(
    "--follow",
    "following",
    is_flag=True,
    help="Then list each order that changes and matches, until Ctrl-C.",
)
@all_stores_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def orders(
    cli: Context,
    states: tuple[State, ...],
    since: str | None,
    until: str | None,
    limit: int | None,
    following: bool,
    all_stores: bool,
    as_json: bool,
    **others: Any,
) -> int:
    if following and (until or all_stores):
        raise click.UsageError("--follow contradicts --until and --all-stores.")
    header, line = ("", _json_line) if as_json else (_HEADER, _table_line)
    window = since, until
    options = {"following": following, "all_stores": all_stores, **others}
    return _list(cli, states, window, header, line, limit, **options)


@command(
    "export",
    help="""Write one line per order to stdout: its state, the SHA-256 of what was sent, when, and
    One Tribe's response. The export holds no customer data.

    The date filters use the time of an order's last change in the ledger.

    \b
    Examples:
      bc2ot export > orders.csv
      bc2ot export --format jsonl --state failed --state unknown
      bc2ot export --since 2026-01-01 --until 2026-01-31 --all-stores > january.csv
    """,
    epilog=WHEN,
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="A table for spreadsheets, or one JSON object per line.",
)
@_state_option
@changed_since_option
@changed_until_option
@all_stores_option
def export(
    cli: Context,
    form: str,
    states: tuple[State, ...],
    since: str | None,
    until: str | None,
    all_stores: bool,
) -> int:
    def csv_line(entry: Entry, ledger: Ledger, _: Settings) -> str:
        return _csv_row(_exported(entry, ledger).values())

    def json_line(entry: Entry, ledger: Ledger, _: Settings) -> str:
        return f"{json_text(_exported(entry, ledger))}\n"

    header, line = (_csv_row(EXPORTED), csv_line) if form == "csv" else ("", json_line)
    return _list(cli, states, (since, until), header, line, all_stores=all_stores)


def _list(
    cli: Context,
    states: tuple[State, ...],
    window: tuple[str | None, str | None],
    header: str,
    line: Callable[[Entry, Ledger, Settings], str],
    limit: int | None = None,
    *,
    following: bool = False,
    all_stores: bool,
    **others: Any,
) -> int:
    """Print the header once, and a line per order, as long as something reads them."""
    out, headers = cli.console(), iter([header])

    def work(console: Console, settings: Settings) -> int:
        if out.reader_left:
            return ExitCode.DONE
        stoppable = interruptible(console, "") if following else nullcontext(SystemClock())
        with stoppable as clock:
            now, timezone = clock.now(), settings.timezone
            matching = entry_filter(console, *window, now=now, timezone=timezone, **others)
            with open_ledger(settings) as ledger:
                for each in headers:
                    out.text(each)
                entries: Iterable[Entry | None] = ledger.iter_entries(states, matching)
                if following:
                    entries = follow(ledger, states, matching, clock)
                number = _print(
                    out, (each and line(each, ledger, settings) for each in entries), limit
                )
        if not (number or out.reader_left):
            console.info("No orders.")
        return ExitCode.DONE

    return for_stores(cli, work, all_stores=all_stores, as_json=False)


def _print(out: Console, lines: Iterable[str | None], limit: int | None) -> int:
    """Print lines, up to `limit`, as long as something reads them; return how many."""
    number = 0
    for line in lines:
        if line is not None:
            out.text(line)
            number += 1
        elif out.is_unread():
            break
        if out.reader_left or number == limit:
            break
    return number


def _table_line(entry: Entry, ledger: Ledger, settings: Settings) -> str:
    store = settings.store_name or ledger.store_hash
    sent = format_time(entry.sent_at, settings.timezone) if entry.sent_at else "-"
    copies = f"(One Tribe may have it {entry.arrivals} times)" if entry.arrivals > 1 else ""
    reason = printable(f"{entry.reason} {copies}".strip() or "-")
    return _LINE.format(store, entry.order_id, entry.state, sent, entry.attempts, reason)


def _json_line(entry: Entry, ledger: Ledger, settings: Settings) -> str:
    more = {"updated_at": entry.updated_at, "status": entry.status}
    row = {"store": settings.store_name, **_exported(entry, ledger), **more}
    return f"{json_text(row)}\n"


def _exported(entry: Entry, ledger: Ledger) -> dict[str, object]:
    return {name: getattr(ledger if name in _OF_LEDGER else entry, name) for name in EXPORTED}


# Also in full width, and after a semicolon, which separates cells in many countries.
_FORMULA = re.compile(r"(?:^|(?<=;))(?=\s*[=+@;\uff1d\uff0b\uff0d\uff20\t\r-])")


def _csv_row(values: Iterable[object]) -> str:
    cells = ["" if value is None else plain(value) for value in values]
    # The apostrophe keeps a spreadsheet from reading a cell as a formula.
    safe = [_FORMULA.sub("'", cell) for cell in cells]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue()
