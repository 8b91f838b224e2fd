"""Options and values that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from onetribe_bc.ids import IdRange

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="How many orders to send at a time."
)

force_option = click.option("--force", is_flag=True, help="Send again what was delivered before.")


def read_ids(texts: Sequence[str]) -> list[IdRange]:
    """Ids and ranges from arguments; `-` stands for what stdin holds. Raises InputError."""
    from onetribe_bc.errors import InputError
    from onetribe_bc.ids import parse_ids

    ranges = parse_ids([sys.stdin.read() if text == "-" else text for text in texts])
    if not ranges:
        raise InputError("No order id was given.", hint="Give ids such as 218, or - for stdin.")
    return ranges


def window_bounds(
    since: str | None, until: str | None, *, now: datetime, timezone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """`--since` and `--until` as aware UTC moments. Raises InputError, also when inverted."""
    from onetribe_bc.dates import Window, parse_moment

    first = None if since is None else parse_moment(since, now=now, timezone=timezone)
    last = None if until is None else parse_moment(until, now=now, timezone=timezone, end=True)
    Window(first, last)
    return first, last
