"""`bc2ot status` and `history`: show where all orders stand, and one order."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import all_stores_option, command, json_option
from onetribe_bc.cli.options import order_id as order_id_type
from onetribe_bc.cli.stores import for_stores
from onetribe_bc.config import Settings
from onetribe_bc.dates import format_time
from onetribe_bc.delivery.context import open_ledger
from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.ledger import Run, Status
from onetribe_bc.ledger.orders import Attempt
from onetribe_bc.ledger.states import State


@command(
    "status",
    help="""Show what was delivered and what is owed, possible duplicates, and the last runs.

    Reads only the ledger; `bc2ot reconcile` compares it with the store. Orders that are pending,
    sending or unknown are owed.

    \b
    Examples:
      bc2ot status
      bc2ot status --json
    """,
)
@all_stores_option
@json_option
def status(cli: Context, all_stores: bool, as_json: bool) -> int:
    return for_stores(cli, _status, all_stores=all_stores, as_json=as_json)


def _status(console: Console, settings: Settings) -> int:
    with open_ledger(settings) as ledger:
        found, held = ledger.status(), ledger.held()
    if console.as_json:
        facts = {"store_hash": settings.need_store_hash(), **asdict(found), "owed": found.owed}
        states = {state.value: found.states.get(state, 0) for state in State}
        console.json({**facts, "held": held, "states": states})
        return ExitCode.DONE
    console.data(f"Store {settings.need_store_hash()} to {settings.onetribe.masked}")
    _print_states(console, found, held, settings.timezone)
    if found.runs:
        console.data("")
        _print_runs(console, found.runs, settings.timezone)
    return ExitCode.DONE


def _print_states(console: Console, found: Status, held: int, zone: ZoneInfo) -> None:
    notes = {
        State.DELIVERED: f"last {_local(found.last_delivered_at, zone)}",
        State.SKIPPED: ", ".join(f"{n:,} {why}" for why, n in found.skipped_reasons.items()),
        State.UNKNOWN: f"may have arrived{f', {held:,} held' if held else ''}: retry --unknown",
        State.FAILED: "refused: history ID shows why, retry --failed sends them again",
    }
    if states := [state for state in State if found.states.get(state)]:
        columns: dict[str, Callable[[State], str]] = {
            "state": lambda state: state.value,
            "orders": lambda state: f"{found.states[state]:,}",
            "": lambda state: notes.get(state, ""),
        }
        console.table(columns, states)
    else:
        console.data("The ledger knows no order yet.")
    oldest = found.oldest_owed_at
    since = "" if oldest is None else f", the oldest known since {_local(oldest, zone)}"
    console.data(f"Owed: {found.owed:,}{since}")
    if found.callbacks_waiting:
        console.data(f"Named by callbacks, not yet processed: {found.callbacks_waiting:,}")
    console.data(f"Possible duplicates at One Tribe: {found.possible_duplicates:,}")
    console.data(f"Synced until: {_local(found.synced_until, zone)}")


def _print_runs(console: Console, runs: Iterable[Run], zone: ZoneInfo) -> None:
    columns: dict[str, Callable[[Run], str]] = {
        "run": lambda run: run.command,
        f"started ({zone})": lambda run: f"{run.started_at.astimezone(zone):%F %H:%M}",
        "outcome": lambda run: textwrap.shorten(run.outcome, 40, placeholder="..."),
        "seen": lambda run: f"{run.seen:,}",
        "delivered": lambda run: f"{run.delivered:,}",
        "failed": lambda run: f"{run.failed:,}",
        "unknown": lambda run: f"{run.unknown:,}",
    }
    console.table(columns, runs)


@command(
    "history",
    help="""Show the state of one order, and every attempt to send it.

    Reads only the ledger. The exit code is 1 if the ledger does not know the order.

    \b
    Examples:
      bc2ot history 218
      bc2ot history 218 --json
    """,
)
@click.argument("order_id", type=order_id_type, metavar="ID")
@json_option
def history(cli: Context, order_id: int, as_json: bool) -> int:
    console = cli.console(json=as_json)
    settings = cli.settings(console)
    with open_ledger(settings) as ledger:
        entry = ledger.entry(order_id)
        attempts = ledger.attempts(order_id)
        held = entry is not None and entry.state is State.UNKNOWN and ledger.policy.holds(entry)
    if entry is None:
        if as_json:
            console.json({"order_id": order_id, "state": None, "history": []})
        console.error(
            f"The ledger does not know order {order_id}. To send it: bc2ot push-order {order_id}"
        )
        return ExitCode.INCOMPLETE
    if as_json:
        duplicates = {"possible_duplicates": entry.possible_duplicates}
        tries = [asdict(attempt) for attempt in attempts]
        console.json({**entry._asdict(), **duplicates, "history": tries})
        return ExitCode.DONE
    reason = f" ({entry.reason})" if entry.reason else ""
    console.data(f"Order {order_id}: {entry.state}{' and held' if held else ''}{reason}")
    if entry.possible_duplicates:
        console.data(f"One Tribe may have it {entry.arrivals} times.")
    columns: dict[str, Callable[[Attempt], object]] = {
        "attempt": lambda attempt: attempt.number,
        "started": lambda attempt: _local(attempt.started_at, settings.timezone),
        "result": lambda attempt: attempt.result,
        "answer": lambda attempt: f"{attempt.answer_status or ''} {attempt.answer}".strip(),
        "reason": lambda attempt: attempt.reason,
    }
    if attempts:
        console.table(columns, attempts)
    return ExitCode.DONE


def _local(time: datetime | None, zone: ZoneInfo) -> str:
    return "never" if time is None else format_time(time, zone)
