"""The command group, and the one place that turns errors into sentences and exit codes."""

from __future__ import annotations

import importlib
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from onetribe_bc.cli.invocation import Invocation
from onetribe_bc.cli.streams import drop
from onetribe_bc.errors import Bc2otError, ExitCode, InterruptedRunError

COMMANDS = {
    "hooks": "hooks:hooks",
    "push-order": "push_order:push_order",
    "backfill": "backfill:backfill",
    "sync": "sync:sync",
    "retry": "retry:retry",
    "reconcile": "reconcile:reconcile",
    "status": "status:status",
    "history": "status:history",
    "export": "status:export",
    "sandbox": "sandbox:sandbox",
    "demo": "demo:demo",
}
"""Each command's module and name, imported when it is needed."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(f"onetribe_bc.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

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

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    click.echo(f"bc2ot {_version()} (Python {platform.python_version()})")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file."
)
@click.option("--store", metavar="NAME", help="Which of the file's stores.")
@click.option("-v", "--verbose", count=True, help="Show each request; -vv shows waits as well.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--no-input", is_flag=True, help="Never ask; fail where an answer is needed.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, and Python's.",
)
@click.pass_context
def bc2ot(
    ctx: click.Context,
    config: Path | None,
    store: str | None,
    verbose: int,
    quiet: bool,
    log_format: str,
    no_input: bool,
) -> None:
    """Sends BigCommerce orders to One Tribe: every one, and none twice unseen.

    \b
    To see it work:          bc2ot demo
    To send what there is:   bc2ot backfill --since 30d
    """
    if verbose and quiet:
        raise click.UsageError("-v and -q contradict each other.")
    ctx.obj = Invocation(
        config=config,
        store=store,
        verbosity=-1 if quiet else verbose,
        log_format=log_format,
        no_input=no_input,
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Nothing else here ends the process."""
    try:
        result = bc2ot.main(list(arguments), prog_name="bc2ot", standalone_mode=False)
    except click.ClickException as error:
        _say(error.show)
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        _say("bc2ot: Interrupted.")
        return ExitCode.INTERRUPTED
    except SystemExit:  # click's, when the reader of --help or --version has gone
        drop(sys.stdout)
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - the last resort
        _say(_crash_report(error, arguments))
        return ExitCode.BUG
    return result if isinstance(result, int) else ExitCode.DONE


def _explain(error: Bc2otError, invocation: Invocation) -> None:
    from onetribe_bc.cli.console import Console

    console = Console(quiet=invocation.quiet, log_format=invocation.log_format)
    if isinstance(error, InterruptedRunError):
        console.fail("Interrupted.", "What was not delivered stays owed: run it again to go on.")
    else:
        console.fail(f"{error}", error.hint)


def _say(text: str | Callable[[], None]) -> None:
    try:
        text() if callable(text) else click.echo(text, err=True)
    except OSError:  # whoever read it has gone
        drop(sys.stderr)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("onetribe-bc")
    except PackageNotFoundError:
        return "(not installed)"


def _crash_report(error: Exception, arguments: Sequence[str]) -> str:
    """What to paste into a bug report: where it happened, but no values, which may be secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [
        f"  {Path(f.filename).name}:{f.lineno} {f.name}"
        for f in frames
        if "onetribe_bc" in f.filename
    ]
    commands = [word for word in arguments if word in COMMANDS]
    report = [
        (
            f"  bc2ot {_version()}, Python {platform.python_version()}, {sys.platform}, "
            f"command {' '.join(commands) or '?'}, {type(error).__name__}"
        ),
        *where,
    ]
    return (
        "bc2ot: This is a bug in bc2ot. Nothing is lost: what was not delivered stays owed. "
        "Please report it with these lines:\n" + "\n".join(report)
    )
