"""What commands are built from: the decorator, the global options, shared options and values."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onetribe_bc.cli.context import Context
from onetribe_bc.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from onetribe_bc.cli.console import Console
    from onetribe_bc.ids import IdRange
    from onetribe_bc.ledger.listing import EntryFilter


COMPLETION_VARIABLE = "_BC2OT_COMPLETE"
"""Set by a shell that requests completions."""


# The global options, which every command accepts


class _GlobalOption(click.Option):
    """An option whose value goes into the Context. Only the help of bc2ot itself shows it."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(names, expose_value=False, callback=_store_in_context, **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return None if ctx.parent else super().get_help_record(ctx)


def _store_in_context(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    assert option.name is not None  # noqa: S101 - click names every option
    if ctx.get_parameter_source(option.name) is ParameterSource.DEFAULT:
        return
    context = ctx.ensure_object(Context)
    if option.name == "verbose":
        value += context.verbose
    ctx.obj = ctx.find_root().obj = context = replace(context, **{option.name: value})
    if context.verbose and context.quiet:
        raise click.UsageError("-v and -q contradict each other.")


def _complete_stores(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from onetribe_bc.config import store_names

    path = None if ctx.obj is None else ctx.obj.config
    names = store_names(path=path, environ=os.environ, cwd=Path.cwd())
    return [name for name in names if name.startswith(incomplete)]


GLOBAL_OPTIONS = (
    _GlobalOption(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Configuration file.  [default: ./bc2ot.yaml, else the user's]",
    ),
    _GlobalOption(
        "--store",
        metavar="NAME",
        shell_complete=_complete_stores,
        help="Store to use, by its name in the file.  [default: the one at the top]",
    ),
    _GlobalOption("-v", "--verbose", count=True, help="Show each request; -vv also shows waits."),
    _GlobalOption("-q", "--quiet", is_flag=True, help="Print only problems."),
    _GlobalOption(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Format of messages on stderr.",
    ),
    _GlobalOption("--no-input", is_flag=True, help="Never prompt; fail if input is needed."),
)


class Command(click.Command):
    """A command that accepts the global options after its name as well."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *GLOBAL_OPTIONS]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                "The options of bc2ot itself (-v, -q, --store NAME ...) are accepted here, too."
            )


class Group(Command, click.Group):
    """A command of subcommands that accepts the global options as well."""


def command(
    name: str,
    *,
    help: str,  # noqa: A002 - click's name
    epilog: str | None = None,
    group: Group | None = None,
) -> Callable[[Callable[..., int]], click.Command]:
    """Turn a function of a Context and its options into a command, of `group` if there is one."""

    def decorate(function: Callable[..., int]) -> click.Command:
        made = click.command(name, cls=Command, help=help, epilog=epilog)(click.pass_obj(function))
        if group is not None:
            group.add_command(made)
        return made

    return decorate


# Options and types that several commands share


class Whole(click.IntRange):
    """A whole number within bounds; the name is for error messages."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds; the name is for error messages."""

    name = "number"


def order_id(text: str) -> int:
    """Parse one order's ID. Raises click.BadParameter."""
    from onetribe_bc.ids import parse_ids

    try:
        found = parse_ids([text])
    except InputError as error:
        raise click.BadParameter(str(error)) from None
    if len(found) != 1 or not found[0].named:
        raise click.BadParameter(f"{text[:40]!r} is not an order id.")
    return found[0].first


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
force_option = click.option("--force", is_flag=True, help="Send delivered orders again.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what would be sent, and send nothing."
)
all_stores_option = click.option(
    "--all-stores", is_flag=True, help="Run for each store in the file, one after another."
)
workers_option = click.option(
    "--workers",
    type=Whole(1, 64),
    metavar="N",
    help="Number of orders to send at a time.  [default: delivery.workers, else 8]",
)
until_option = click.option(
    "--until", metavar="WHEN", help="End of the range, inclusive.  [default: now]"
)

changed_since_option = click.option(
    "--since", metavar="WHEN", help="Only orders whose last change in the ledger is not earlier."
)
changed_until_option = click.option(
    "--until", metavar="WHEN", help="Only orders whose last change in the ledger is not later."
)
reason_option = click.option(
    "--reason",
    metavar="TEXT",
    default="",
    help="Only orders with this text in their reason, in upper or lower case.",
)

WHEN = (
    "WHEN is a date (2026-03-01), a time (2026-03-01T12:00, in the configured time zone unless it "
    "ends in an offset), an age (36h, 7d, 2w), today or yesterday."
)
"""For the end of a help text."""


# Values


def read_ids(texts: Sequence[str]) -> list[IdRange]:
    """Parse IDs and ranges; `-` stands for the content of stdin. Raises InputError."""
    from onetribe_bc.ids import merge, parse_id_lines, parse_ids
    from onetribe_bc.text import decode_utf8

    ranges = parse_ids(text for text in texts if text != "-")
    if "-" in texts:
        try:
            lines = decode_utf8(sys.stdin.buffer.read())
        except ValueError as problem:
            raise InputError(f"The list of IDs on stdin {problem}.") from None
        ranges = merge([*ranges, *parse_id_lines(lines)])
    if not ranges:
        raise InputError("No order ID was given.", hint="Pass IDs such as 218, or - for stdin.")
    return ranges


def window_bounds(
    since: str | None, until: str | None, *, now: datetime, timezone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Parse `--since` and `--until` to UTC. Raises InputError, also for an inverted window."""
    from onetribe_bc.dates import Window, parse_time

    first = None if since is None else parse_time(since, now=now, timezone=timezone)
    last = None if until is None else parse_time(until, now=now, timezone=timezone, end=True)
    Window(first, last)
    return first, last


def entry_filter(
    console: Console,
    since: str | None,
    until: str | None,
    *,
    now: datetime,
    timezone: ZoneInfo,
    **others: Any,
) -> EntryFilter:
    """Parse `--since` and `--until`, say which window they mean, and add the other filters.

    Raises InputError.
    """
    from onetribe_bc.dates import Window
    from onetribe_bc.ledger.listing import EntryFilter

    bounds = window_bounds(since, until, now=now, timezone=timezone)
    if any(bounds):
        console.info(f"Orders last changed {Window(*bounds).describe(timezone)}.")
    return EntryFilter(*bounds, **others)


def warn_visible(console: Console, what: str, better: str) -> None:
    """Warn about a secret that is part of the command line."""
    console.warning(
        f"other users of this machine can see {what} in the list of processes. Better: {better}, "
        "with single quotes."
    )


def fill_in(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `${NAME}` with that environment variable, and `$$` with `$`.

    Other users see the options of a process, but not its environment. Raises InputError for a
    variable that is unset or empty; the error quotes no value.
    """
    from onetribe_bc.config.sources import expand

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
