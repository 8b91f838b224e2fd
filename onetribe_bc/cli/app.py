"""The command group, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli import discard
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import COMPLETION_VARIABLE, GLOBAL_OPTIONS
from onetribe_bc.cli.registry import COMMANDS, GROUPS
from onetribe_bc.errors import Bc2otError, ExitCode
from onetribe_bc.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PYTHON = ".".join(map(str, sys.version_info[:3]))
_MODULES = {"history": "status", "export": "orders"}
"""The modules of commands that have none of their own."""
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Commands(click.Group):
    """The commands of the registry, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"onetribe_bc.cli.{_MODULES.get(name, name)}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(group.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete from the registry; click would import every command to read its help."""
        from click.shell_completion import CompletionItem

        # fish ends a description at a comma.
        comma = ";" if os.environ.get(COMPLETION_VARIABLE, "").startswith("fish") else ","
        commands = [
            CompletionItem(name, help=summary.replace(",", comma))
            for name, summary in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            from onetribe_bc.cli.overview import show_overview

            show_overview(ctx)
            ctx.exit()
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except Bc2otError as error:
            from onetribe_bc.cli.console import Console

            console = Console(quiet=ctx.obj.quiet, log_format=ctx.obj.log_format)
            return console.failure(error)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = [name for name in COMMANDS if len(args[0]) > 2 and name.startswith(args[0])]
            near += difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


@click.group(
    cls=_Commands,
    params=list(GLOBAL_OPTIONS),
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Sends every BigCommerce order to One Tribe: none lost, no silent duplicates.

    \b
    To see it work:              bc2ot demo
    To send existing orders:     bc2ot backfill --since 30d
    """,
)
@click.version_option(
    __version__,
    message=f"bc2ot %(version)s (Python {_PYTHON})",
    help="Print the versions of bc2ot and Python.",
)
@click.pass_context
def bc2ot(ctx: click.Context) -> None:
    ctx.ensure_object(Context)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    if COMPLETION_VARIABLE in os.environ:
        return _complete()
    write = partial(_write, as_json=_wants_json(arguments))
    crashed: list[BaseException] = []

    def report_crash(error: BaseException) -> None:
        crashed.append(error)
        write(_crash_report(error, arguments))

    try:
        with _thread_crashes(report_crash):
            result = bc2ot.main(list(arguments), prog_name="bc2ot", standalone_mode=False)
    except click.ClickException as error:
        write(error)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        write("bc2ot: Interrupted.")
        return ExitCode.INTERRUPTED
    except SystemExit:  # click's, if the reader of --help or --version is gone
        discard(sys.stdout)
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - the last resort
        causes = _causes(error)
        # Python may wrap a KeyboardInterrupt during an import.
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
            write("bc2ot: Interrupted.")
            return ExitCode.INTERRUPTED
        if problem := next(filter(None, map(_system_limit, causes)), ""):
            write(f"bc2ot: {problem}")
            return ExitCode.CONFIGURATION
        report_crash(error)
    if crashed:
        return ExitCode.BUG
    return result if isinstance(result, int) else ExitCode.DONE


def _complete() -> int:
    """Print completions for a shell, and nothing else: it would appear on the user's prompt."""
    try:
        bc2ot.main([], prog_name="bc2ot", complete_var=COMPLETION_VARIABLE)
    except SystemExit as end:
        return ExitCode.DONE if not end.code else ExitCode.INCOMPLETE
    except (Exception, KeyboardInterrupt):  # noqa: BLE001 - see above
        discard(sys.stdout)
    return ExitCode.INCOMPLETE


@contextmanager
def _thread_crashes(report: Callable[[BaseException], None]) -> Iterator[None]:
    """Pass exceptions that end a thread to `report`; Python would print their values."""

    def on_crash(crash: threading.ExceptHookArgs) -> None:
        if crash.exc_value is not None:
            report(crash.exc_value)

    before, threading.excepthook = threading.excepthook, on_crash
    try:
        yield
    finally:
        threading.excepthook = before


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what caused it."""
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    return causes


def _system_limit(error: BaseException) -> str:
    """Return which limit of the system ended the command; "" if none did."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        discard(sys.stdout)
        return f"The output cannot be written: {error.strerror}."
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            "Too many open files. Raise the limit (ulimit -n, LimitNOFILE=), or lower "
            "delivery.workers."
        )
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return (
            "No more threads can be started. Raise the limit (ulimit -u, TasksMax=, or the "
            "container's pids limit), or lower delivery.workers."
        )
    return ""


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether messages should be JSON, even if the command line cannot be parsed."""
    return "--log-format=json" in arguments or ("--log-format", "json") in pairwise(arguments)


def _crash_report(error: BaseException, arguments: Sequence[str]) -> str:
    """Return a bug's type and location.

    The texts of exceptions, causes included, and the values of arguments are left out: any of
    them may hold a secret.
    """
    import traceback

    command = " ".join(word for word in arguments if word in COMMANDS) or "?"
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in frames[:-1] if "onetribe_bc" in frame.filename] + frames[-1:]
    return (
        "bc2ot: This is a bug in bc2ot. Nothing is lost: undelivered orders stay owed. Please "
        "report it with these lines:\n"
        f"  bc2ot {__version__}, Python {_PYTHON}, {sys.platform}, "
        f"command {command}, {type(error).__name__}"
    ) + "".join(f"\n  {Path(at.filename).name}:{at.lineno} {at.name}" for at in shown)


def _write(message: str | click.ClickException, *, as_json: bool) -> None:
    if as_json:
        from onetribe_bc.cli.logs import json_line

        text = message if isinstance(message, str) else f"bc2ot: {message.format_message()}"
        message = json_line("error", __name__, text)
    try:
        click.echo(message, err=True) if isinstance(message, str) else message.show()
    except OSError:  # nothing reads stderr any more
        discard(sys.stderr)
