"""`bc2ot ledger`: create, upgrade, move and inspect the ledger."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from onetribe_bc.cli.context import Context, working_directory
from onetribe_bc.cli.options import Group, command, fill_in, json_option
from onetribe_bc.clock import SystemClock
from onetribe_bc.dates import format_time
from onetribe_bc.delivery.context import open_ledger
from onetribe_bc.errors import ConfigurationError, ExitCode, InputError
from onetribe_bc.ledger.copy import copy
from onetribe_bc.ledger.info import describe
from onetribe_bc.ledger.writer import Database, open_postgres
from onetribe_bc.location import Location, PostgresUrl, parse_location
from onetribe_bc.text import plural

ledger = Group(
    "ledger",
    help="""The ledger: a file or a PostgreSQL database that records what bc2ot sent.

    \b
    Examples:
      bc2ot ledger info
      bc2ot ledger create --role bc2ot
    """,
)


@command(
    "create",
    help="""Create the ledger in the PostgreSQL database that `ledger` names.

    Needs a role that may create tables. --role gives another role the rights and timeouts that
    bc2ot needs; bc2ot then runs with that one. An existing ledger stays as it is, so the command
    is safe to repeat. A ledger in a file is also created by the first run.

    \b
    Examples:
      BC2OT_LEDGER=postgresql://owner@db.example.com/bc2ot bc2ot ledger create --role bc2ot
    """,
    group=ledger,
)
@click.option("--role", default="", metavar="ROLE", help="The role that bc2ot runs as.")
def create(cli: Context, role: str) -> int:
    console = cli.console()
    location = cli.settings(console).ledger
    if isinstance(location, PostgresUrl):
        with closing(open_postgres(location)) as engine:
            created = engine.create(role=role)
    elif role:
        raise InputError("--role is for a ledger in PostgreSQL.", hint="Set `ledger` to a URL.")
    else:
        created = not location.exists()
        Database(location).close()
    console.data(f"{'Created the' if created else 'There is already a'} ledger {location}.")
    return ExitCode.DONE


@command(
    "upgrade",
    help="""Upgrade the ledger's tables to this version of bc2ot.

    For PostgreSQL, with the role that created them. A ledger in a file is also upgraded by the
    first run, which backs it up.
    """,
    group=ledger,
)
def upgrade(cli: Context) -> int:
    console = cli.console()
    location = cli.settings(console).ledger
    if isinstance(location, PostgresUrl):
        with closing(open_postgres(location)) as engine:
            engine.upgrade()
    else:
        _check_exists(location)
    info = describe(location)
    console.data(f"The ledger {info.ledger} has version {info.version}.")
    return ExitCode.DONE


@command(
    "info",
    help="""Show where the ledger is, its version, its stores and the runs that are live.

    \b
    Examples:
      bc2ot ledger info
      bc2ot ledger info --json
    """,
    group=ledger,
)
@json_option
def info(cli: Context, as_json: bool) -> int:
    console = cli.console(json=as_json)
    settings = cli.settings(console)
    _check_exists(settings.ledger)
    found = describe(settings.ledger)
    if as_json:
        console.json(asdict(found))
        return ExitCode.DONE
    console.data(f"Ledger {found.ledger} ({found.engine}), version {found.version}, id {found.id}")
    for store in found.stores:
        orders = plural(store.orders, "order")
        console.data(f"Store {store.store_hash} to One Tribe {store.destination}: {orders}")
    for run in found.live_runs:
        started = format_time(run.started_at, settings.timezone)
        console.data(f"Running: {run.command} of {run.store_hash} on {run.host} since {started}")
    return ExitCode.DONE


@command(
    "accept",
    help="""Continue with an older copy of the ledger that was restored.

    Orders of the missing period are sent again where the ledger does not know them, and flagged
    as possible duplicates. Runs whose lock files are gone count as ended: stop all others first.
    """,
    group=ledger,
)
def accept(cli: Context) -> int:
    console = cli.console()
    settings = cli.settings(console)
    _check_exists(settings.ledger)
    with open_ledger(settings) as opened:
        gap = opened.accept()
    if gap is None:
        console.data("Nothing is missing: the ledger is no older copy.")
    else:
        until = format_time(gap.until, settings.timezone)
        console.data(f"Accepted. What was sent until {until} may be sent again.")
    return ExitCode.DONE


@command(
    "copy",
    help="""Move another ledger to the one that `ledger` names, which must be empty.

    Copies all stores, compares both, and marks the other one as moved: bc2ot refuses it from then
    on. Stop receivers, cron and timers on all hosts first. A copy that was interrupted is started
    again. FILE-or-URL may name environment variables: '${OLD_LEDGER}'.

    \b
    Examples:
      bc2ot ledger copy --from /var/lib/bc2ot/ledger.db
      bc2ot ledger copy --from '${OLD_LEDGER}'
    """,
    group=ledger,
)
@click.option("--from", "source", required=True, metavar="FILE-or-URL", help="The other ledger.")
def copy_(cli: Context, source: str) -> int:
    console = cli.console()
    target = cli.settings(console).ledger
    try:
        origin = parse_location(fill_in(source, os.environ))
    except ValueError as problem:
        raise InputError(f"--from {problem}.") from None
    if isinstance(origin, PostgresUrl) and "${" not in source and origin.has_password:
        raise InputError(
            "--from has a password, which other users of this machine can see.",
            hint="Set the URL as an environment variable and pass its name: --from '${OLD_LEDGER}'",
        )
    if isinstance(origin, Path):
        origin = working_directory() / origin.expanduser()
    _check_exists(origin)
    counts = copy(origin, target, SystemClock())
    copied = ", ".join(f"{number:,} {table}" for table, number in counts.items())
    console.data(f"Moved the ledger {origin} to {target}: {copied}.")
    console.info("Set `ledger` (BC2OT_LEDGER) to it on all hosts before you start bc2ot again.")
    return ExitCode.DONE


def _check_exists(location: Location) -> None:
    # Opening a file would create it.
    if isinstance(location, Path) and not location.exists():
        raise ConfigurationError(
            f"There is no ledger {location}.", hint="Create it: bc2ot ledger create"
        )
