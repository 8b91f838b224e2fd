"""One invocation: the options before the command, and what every command makes of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from onetribe_bc.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from onetribe_bc.cli.console import Console
    from onetribe_bc.clock import SystemClock
    from onetribe_bc.config import Settings


@dataclass(frozen=True)
class Invocation:
    """The global options. `verbosity` is -1 for quiet, 0, 1 or 2 and more. `warns` says whether the
    configuration's warnings are shown.
    """

    config: Path | None = None
    store: str | None = None
    verbosity: int = 0
    log_format: str = "text"
    no_input: bool = False
    warns: bool = True

    def for_store(self, name: str | None) -> Invocation:
        """The same for another store."""
        return replace(self, store=name)

    @property
    def quiet(self) -> bool:
        """Whether to say nothing unless something is wrong."""
        return self.verbosity < 0

    def console(self, *, json: bool = False) -> Console:
        """Where to write, with logging set up to go there as well."""
        from onetribe_bc.cli.console import Console
        from onetribe_bc.cli.logs import set_up_logging

        set_up_logging(self.verbosity, self.log_format)
        return Console(quiet=self.quiet, json=json, log_format=self.log_format)

    def settings(self, console: Console, overrides: Mapping[str, object] | None = None) -> Settings:
        """The configuration. Raises ConfigurationError."""
        from onetribe_bc.config import load

        settings = load(
            path=self.config,
            environ=os.environ,
            cwd=working_folder(),
            store=self.store,
            overrides=overrides,
        )
        for warning in settings.warnings if self.warns else ():
            console.warn(str(warning))
        return settings


def working_folder() -> Path:
    """Where relative paths of options start. Raises ConfigurationError where it was deleted."""
    from pathlib import Path

    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "The working folder was deleted.", hint="Change to one that exists, such as `cd ~`."
        ) from None


def line_for_cron(arguments: str) -> str:
    """The program that runs, with `arguments`, for a crontab: cron does not know your PATH."""
    import shlex
    import shutil

    started = os.path.basename(sys.argv[0]) == "bc2ot"  # noqa: PTH119 - quick to import
    program = sys.argv[0] if started else shutil.which("bc2ot")
    if program:
        command = shlex.quote(os.path.abspath(program))  # noqa: PTH100 - links stay what they are
    else:
        command = f"{shlex.quote(sys.executable)} -m onetribe_bc"
    return f"{command} {arguments}".replace("%", r"\%")  # to cron, % alone is the end of a line


pass_invocation: Callable[..., Callable[..., None]] = click.make_pass_decorator(Invocation)


FINISHING = "Finishing what is in flight; press Ctrl-C again to stop at once."


@contextmanager
def interruptible(console: Console, notice: str = FINISHING) -> Iterator[SystemClock]:
    """A clock that Ctrl-C and SIGTERM stop: what is in flight is finished, nothing new begun.
    A second Ctrl-C ends the process at once; the next run then finds what was in doubt.
    """
    from onetribe_bc.clock import SystemClock

    clock = SystemClock()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if clock.stopping:
            os.write(sys.stderr.fileno(), b"\nbc2ot: stopped at once.\n")
            os._exit(ExitCode.INTERRUPTED)
        clock.stop()
        if notice:
            console.interject(notice)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield clock
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does: the terminal shows again what is typed, and nothing stays
    behind.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Signals wait until it is done, and not by half."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
