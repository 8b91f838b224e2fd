"""Options and values that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from onetribe_bc.ids import IdRange


class Whole(click.IntRange):
    """A whole number within bounds, named as people name it."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds, named as people name it."""

    name = "number"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

workers_option = click.option(
    "--workers",
    type=Whole(1, 64),
    metavar="N",
    help="How many orders to send at a time.  [default: delivery.workers, else 8]",
)

WHEN = (
    "WHEN is a date (2026-03-01), a time (2026-03-01T12:00, in the configured timezone unless it "
    "ends in an offset), a while ago (36h, 7d, 2w), today or yesterday."
)
"""What a date may look like, for the end of a help text."""

force_option = click.option("--force", is_flag=True, help="Send again what was delivered before.")


def order_id(text: str) -> int:
    """The type of an argument that is one order's id. Raises click.BadParameter."""
    from onetribe_bc.errors import InputError
    from onetribe_bc.ids import parse_ids

    try:
        found = parse_ids([text])
    except InputError as error:
        raise click.BadParameter(str(error)) from None
    if len(found) != 1 or not found[0].named:
        raise click.BadParameter(f"{text[:40]!r} is not an order id.")
    return found[0].first


def read_ids(texts: Sequence[str]) -> list[IdRange]:
    """Ids and ranges from arguments; `-` stands for what stdin holds. Raises InputError."""
    from onetribe_bc.errors import InputError
    from onetribe_bc.ids import parse_ids

    ranges = parse_ids([_read_stdin() if text == "-" else text for text in texts])
    if not ranges:
        raise InputError("No order id was given.", hint="Give ids such as 218, or - for stdin.")
    return ranges


def _read_stdin() -> str:
    """All of it. Spreadsheets begin a file with a byte order mark."""
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace")


def window_bounds(
    since: str | None, until: str | None, *, now: datetime, timezone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """`--since` and `--until` as aware UTC moments. Raises InputError, also when inverted."""
    from onetribe_bc.dates import Window, parse_time

    first = None if since is None else parse_time(since, now=now, timezone=timezone)
    last = None if until is None else parse_time(until, now=now, timezone=timezone, end=True)
    Window(first, last)
    return first, last


def fill_in(text: str, environ: Mapping[str, str]) -> str:
    """`text` with each `${NAME}` replaced by that environment variable, and `$$` by `$`.

    What an option holds shows in the list of processes; what a variable holds does not. Raises
    InputError for a variable that is not set or empty; it quotes no value.
    """
    from onetribe_bc.config.sources import expand
    from onetribe_bc.errors import InputError

    try:
        return expand(text, environ)
    except KeyError as error:
        raise InputError(
            f"The environment variable {error.args[0]} is not set.",
            hint="Set and export it, or write $$ for a dollar sign.",
        ) from None
    except ValueError:
        raise InputError(
            "Expected a variable name and } after ${.",
            hint="Write '${NAME}' in single quotes, or $${ for a literal ${.",
        ) from None
