"""The command group, and the one place that turns errors into sentences and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from onetribe_bc.cli.catalogue import COMMANDS, GROUPS
from onetribe_bc.cli.completion import COMPLETION_VARIABLE, complete_stores
from onetribe_bc.cli.invocation import Invocation
from onetribe_bc.cli.streams import drop
from onetribe_bc.errors import Bc2otError, ExitCode, InterruptedRunError
from onetribe_bc.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_ANYWHERE = "Options of bc2ot itself (-v, -q, --store NAME ...) may stand here, too."


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        module = importlib.import_module(f"onetribe_bc.cli.{listed.module}")
        command = getattr(module, listed.name)
        assert isinstance(command, click.Command)  # noqa: S101 - the catalogue is ours
        return _taking_ours(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, listed.about) for name, listed in group.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the catalogue alone: click would import every command to look for its help."""
        from click.shell_completion import CompletionItem

        # fish takes what is behind a comma for something else.
        comma = ";" if os.environ.get(COMPLETION_VARIABLE, "").startswith("fish") else ","
        named = [
            CompletionItem(name, help=listed.about.replace(",", comma))
            for name, listed in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

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
            _explain(error, ctx.obj)
            return error.exit_code

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


# The options of bc2ot itself


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"bc2ot {__version__} (Python {python})")
    ctx.exit()


_OURS = (
    click.Option(
        ["--config"],
        type=click.Path(),
        metavar="FILE",
        help="The configuration file.  [default: ./bc2ot.yaml, else the user's]",
    ),
    click.Option(
        ["--store"],
        metavar="NAME",
        shell_complete=complete_stores,
        help="Which of the file's stores.  [default: the one at its top]",
    ),
    click.Option(
        ["-v", "--verbose"], count=True, help="Show each request; -vv shows waits as well."
    ),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing unless something is wrong."),
    click.Option(
        ["--log-format"],
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="What messages look like on stderr.",
    ),
    click.Option(["--no-input"], is_flag=True, help="Never ask; fail where an answer is needed."),
)


def _taking_ours(command: click.Command) -> click.Command:
    """`command`, with our own options understood after its name as well: people put them there."""
    taking = copy(command)
    taking.params = [*command.params, *map(_late, _OURS)]
    taking.epilog = f"{command.epilog}\n\n{_ANYWHERE}" if command.epilog else _ANYWHERE
    if isinstance(taking, click.Group):
        taking.commands = {name: _taking_ours(one) for name, one in taking.commands.items()}
    return taking


def _late(option: click.Option) -> click.Option:
    late = copy(option)
    late.expose_value, late.callback = False, _take_late
    # Completed and understood, and not told of in each command's help.
    late.get_help_record = lambda _context: None  # type: ignore[method-assign,assignment]
    return late


def _take_late(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Let one of our options count as if it stood before the command."""
    assert option.name is not None  # noqa: S101 - all of them have one
    given = ctx.get_parameter_source(option.name) is not click.core.ParameterSource.DEFAULT
    if ctx.resilient_parsing or not given:
        return
    root = ctx.find_root()
    if option.name == "verbose":
        value += root.params[option.name]
    root.params[option.name] = value
    root.obj = ctx.obj = _invocation(root.params)


def _invocation(given: Mapping[str, Any]) -> Invocation:
    from pathlib import Path

    if given["verbose"] and given["quiet"]:
        raise click.UsageError("-v and -q contradict each other.")
    return Invocation(
        config=Path(given["config"]) if given["config"] else None,
        store=given["store"],
        verbosity=-1 if given["quiet"] else given["verbose"],
        log_format=given["log_format"],
        no_input=given["no_input"],
    )


@click.group(
    cls=_Commands, params=list(_OURS), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, and Python's.",
)
@click.pass_context
def bc2ot(ctx: click.Context, /, **given: object) -> None:
    """Sends every BigCommerce order to One Tribe: none lost, no silent duplicates.

    \b
    To see it work:          bc2ot demo
    To send what there is:   bc2ot backfill --since 30d
    """
    ctx.obj = _invocation(given)


# Running


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Nothing else here ends the process."""
    if COMPLETION_VARIABLE in os.environ:
        return _complete()
    crashed: list[BaseException] = []
    say = _say_json if _wants_json(arguments) else _say

    def tell_crash(error: BaseException) -> None:
        from onetribe_bc.cli.crash import report

        crashed.append(error)
        say(report(error, arguments))

    try:
        with _crashing_threads(tell_crash):
            result = bc2ot.main(
                list(arguments),
                prog_name="bc2ot",
                standalone_mode=False,
                terminal_width=_narrow_width(),
            )
    except click.ClickException as error:
        say(error)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        say("bc2ot: Interrupted.")
        return ExitCode.INTERRUPTED
    except SystemExit:  # click's, when the reader of --help or --version has gone
        drop(sys.stdout)
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - the last resort
        if isinstance(error, OSError) and _came_from_printing(error):
            drop(sys.stdout)
            say(f"bc2ot: The output cannot be written: {error.strerror}.")
            return ExitCode.CONFIGURATION
        if _came_from_interrupt(error):
            say("bc2ot: Interrupted.")
            return ExitCode.INTERRUPTED
        tell_crash(error)
    if crashed:
        return ExitCode.BUG
    return result if isinstance(result, int) else ExitCode.DONE


def _complete() -> int:
    """Answer the shell. Whatever goes wrong, nothing may come out on somebody's prompt."""
    try:
        bc2ot.main([], prog_name="bc2ot", complete_var=COMPLETION_VARIABLE)
    except SystemExit as ended:
        return ExitCode.DONE if not ended.code else ExitCode.INCOMPLETE
    except (Exception, KeyboardInterrupt):  # noqa: BLE001 - see above
        drop(sys.stdout)
    return ExitCode.INCOMPLETE


@contextmanager
def _crashing_threads(tell: Callable[[BaseException], None]) -> Iterator[None]:
    """Python prints what ends a thread with all of its values; `tell` is given it instead."""

    def on_crash(crash: threading.ExceptHookArgs) -> None:
        if crash.exc_value is not None:
            tell(crash.exc_value)

    before, threading.excepthook = threading.excepthook, on_crash
    try:
        yield
    finally:
        threading.excepthook = before


def _came_from_printing(error: BaseException) -> bool:
    """Whether it was click.echo that failed: a full disk, say, and not a bug."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and place.tb_frame.f_code is click.echo.__code__


def _came_from_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is behind it: in the midst of an import it may become another exception."""
    behind = error.__cause__ or error.__context__
    return isinstance(behind, KeyboardInterrupt) or (
        behind is not None and _came_from_interrupt(behind)
    )


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether messages are to be JSON, also those on what cannot be understood."""
    return "--log-format=json" in arguments or ("--log-format", "json") in pairwise(arguments)


def _narrow_width() -> int | None:
    """The width of a terminal that is narrower than click takes any for."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (OSError, ValueError):
        return None
    return columns - 2 if 20 <= columns < 52 else None


def _explain(error: Bc2otError, invocation: Invocation) -> None:
    from onetribe_bc.cli.console import Console

    console = Console(quiet=invocation.quiet, log_format=invocation.log_format)
    if isinstance(error, InterruptedRunError):
        console.fail("Interrupted.", "What was not delivered stays owed: run it again to go on.")
    else:
        console.fail(f"{error}", error.hint)


def _say_json(told: str | click.ClickException) -> None:
    from datetime import UTC, datetime

    from onetribe_bc.cli.logs import json_line

    text = told if isinstance(told, str) else f"bc2ot: {told.format_message()}"
    _say(json_line("error", __name__, text, datetime.now(UTC)))


def _say(told: str | click.ClickException) -> None:
    try:
        click.echo(told, err=True) if isinstance(told, str) else told.show()
    except OSError:  # whoever read it has gone
        drop(sys.stderr)
