"""`bc2ot status`, `history` and `export`: what the ledger knows."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.completion import complete_states
from onetribe_bc.cli.invocation import Invocation, pass_invocation
from onetribe_bc.cli.options import json_option
from onetribe_bc.cli.options import order_id as order_id_type
from onetribe_bc.cli.stores import all_stores_option, for_stores
from onetribe_bc.errors import ExitCode

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings
    from onetribe_bc.ledger.ledger import Status
    from onetribe_bc.ledger.states import Entry

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
)


@click.command()
@all_stores_option
@json_option
@pass_invocation
def status(invocation: Invocation, all_stores: bool, as_json: bool) -> int:
    """Show what was delivered and what is owed, possible duplicates, and the last runs.

    Reads the ledger alone. `bc2ot reconcile` compares it with the store. Owed are orders that
    are pending, sending or unknown.

    \b
    Examples:
      bc2ot status
      bc2ot status --json
    """

    def work(console: Console, settings: Settings) -> int:
        return _status(console, settings, as_json=as_json)

    return for_stores(invocation, work, all_stores=all_stores, as_json=as_json)


def _status(console: Console, settings: Settings, *, as_json: bool) -> int:
    from onetribe_bc.delivery.context import open_ledger
    from onetribe_bc.ledger.states import State

    with open_ledger(settings) as ledger:
        found = ledger.status()
    if as_json:
        facts = {"store_hash": settings.need_store_hash(), **asdict(found), "owed": found.owed}
        states = {state.value: found.states.get(state, 0) for state in State}
        console.json(_plain({**facts, "states": states}))
    else:
        console.data(f"Store {settings.need_store_hash()} to {settings.onetribe.masked}")
        _show_status(console, found, settings.timezone)
    return ExitCode.DONE


def _show_status(console: Console, found: Status, zone: ZoneInfo) -> None:
    from onetribe_bc.ledger.states import State

    notes = {
        State.DELIVERED: f"last {_moment(found.last_delivered_at, zone)}",
        State.SKIPPED: ", ".join(f"{n:,} {why}" for why, n in found.skipped_reasons.items()),
        State.UNKNOWN: "may have arrived: retry --unknown",
        State.FAILED: "refused: history ID tells why, retry --failed sends them again",
    }
    rows = [
        (state.value, f"{found.states[state]:,}", notes.get(state, ""))
        for state in State
        if found.states.get(state)
    ]
    if rows:
        console.table(("state", "orders", ""), rows)
    else:
        console.data("The ledger knows no order yet.")
    oldest = found.oldest_owed_at
    known = "" if oldest is None else f", the oldest known since {_moment(oldest, zone)}"
    console.data(f"Owed: {found.owed:,}{known}")
    if found.callbacks_waiting:
        console.data(f"Named by callbacks, to be looked for: {found.callbacks_waiting:,}")
    console.data(f"Possible duplicates at One Tribe: {found.possible_duplicates:,}")
    console.data(f"Synced until: {_moment(found.synced_until, zone)}")
    if found.runs:
        console.data("")
        started = f"started ({zone})"
        columns = ("run", started, "outcome", "seen", "delivered", "failed", "unknown")
        console.table(
            columns,
            [
                (
                    run.command,
                    f"{run.started_at.astimezone(zone):%F %H:%M}",
                    textwrap.shorten(run.outcome, 40, placeholder="..."),
                    f"{run.seen:,}",
                    f"{run.delivered:,}",
                    f"{run.failed:,}",
                    f"{run.unknown:,}",
                )
                for run in found.runs
            ],
        )


@click.command()
@click.argument("order_id", type=order_id_type, metavar="ID")
@json_option
@pass_invocation
def history(invocation: Invocation, order_id: int, as_json: bool) -> int:
    """Show where one order stands, and every attempt at sending it.

    Reads the ledger alone. The exit code is 1 when it does not know the order.

    \b
    Examples:
      bc2ot history 218
      bc2ot history 218 --json
    """
    from onetribe_bc.delivery.context import open_ledger

    console = invocation.console(json=as_json)
    settings = invocation.settings(console)
    with open_ledger(settings) as ledger:
        entry = ledger.entry(order_id)
        attempts = ledger.attempts(order_id)
    if entry is None:
        if as_json:
            console.json({"order_id": order_id, "state": None, "history": []})
        console.urgent(
            f"The ledger does not know order {order_id}. To send it: bc2ot push-order {order_id}"
        )
        return ExitCode.INCOMPLETE
    if as_json:
        console.json(
            _plain(
                {
                    **asdict(entry),
                    "possible_duplicates": entry.possible_duplicates,
                    "history": [asdict(attempt) for attempt in attempts],
                }
            )
        )
        return ExitCode.DONE
    zone = settings.timezone
    console.data(
        f"Order {order_id}: {entry.state}" + (f" ({entry.reason})" if entry.reason else "")
    )
    if entry.possible_duplicates:
        console.data(f"One Tribe may have it {entry.arrivals} times.")
    if attempts:
        console.table(
            ("attempt", "started", "result", "answer", "reason"),
            [
                (
                    attempt.number,
                    _moment(attempt.started_at, zone),
                    attempt.result,
                    f"{attempt.answer_status or ''} {attempt.answer}".strip(),
                    attempt.reason,
                )
                for attempt in attempts
            ],
        )
    return ExitCode.DONE


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="A table for spreadsheets, or a JSON object per line.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    shell_complete=complete_states,
    help="Only orders in this state: pending, sending, delivered, unknown, failed, skipped or "
    "gone. Repeatable.  [default: all]",
)
@pass_invocation
def export(invocation: Invocation, form: str, states: tuple[str, ...]) -> int:
    """Write one line per order to stdout: its state, the SHA-256 of what was sent, when, and
    what One Tribe answered. It holds no customer data.

    \b
    Examples:
      bc2ot export > orders.csv
      bc2ot export --format jsonl --state failed --state unknown
    """
    from onetribe_bc.delivery.context import open_ledger
    from onetribe_bc.ledger.states import State

    try:
        chosen = [State(state.lower()) for state in states]
    except ValueError:
        known = ", ".join(State)
        raise click.UsageError(f"There is no such state. They are: {known}.") from None
    console = invocation.console()
    with open_ledger(invocation.settings(console)) as ledger:
        if form == "csv":
            console.raw(_csv(EXPORTED))
        for entry in ledger.iter_entries(chosen):
            row = _exported(entry)
            if form == "csv":
                console.raw(_csv(row.values()))
            else:
                console.raw(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return ExitCode.DONE


def _exported(entry: Entry) -> dict[str, object]:
    values = _plain({name: getattr(entry, name) for name in EXPORTED})
    assert isinstance(values, dict)  # noqa: S101 - a dict goes in
    return values


def _csv(values: object) -> bytes:
    """One row. A cell that a spreadsheet would take for a formula is quoted as text."""
    cells = ["" if value is None else str(value) for value in values]  # type: ignore[attr-defined]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        [
            f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
            for cell in cells
        ]
    )
    return line.getvalue().encode()


def _plain(value: object) -> object:
    """Datetimes as ISO 8601, for JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _moment(moment: datetime | None, zone: ZoneInfo) -> str:
    from onetribe_bc.dates import format_time

    return "never" if moment is None else format_time(moment, zone)
