"""All that is shown to people: data on stdout, everything else on stderr.

The only module that knows rich. Remote text is never markup, and its control characters are
never sent to a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, Protocol

import click
from rich import box
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from onetribe_bc.cli.logs import json_line
from onetribe_bc.cli.streams import drop
from onetribe_bc.cli.summary import progress_text
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.runs.tally import Tally

_BAR_NEEDS = 80
"""A terminal with fewer columns shows the numbers without the bar."""


class ShowTally(Protocol):
    """Shows how far a run has come."""

    def __call__(self, tally: Tally, /) -> None: ...


class Console:
    """Where one command writes. `log_format` is that of stderr: text or json."""

    def __init__(
        self, *, quiet: bool = False, json: bool = False, log_format: str = "text"
    ) -> None:
        self.quiet = quiet
        self._json = json
        self._json_log = log_format == "json"
        self._out = _rich(sys.stdout)
        self._err = _rich(sys.stderr)
        self._reader_gone = False

    @property
    def for_people(self) -> bool:
        """Whether the output goes to a terminal, and not into a pipe or a file."""
        return self._out.is_terminal

    def say(self, text: str) -> None:
        """Tell a person something; not with -q."""
        if not self.quiet:
            self._tell(text, "info")

    def warn(self, text: str) -> None:
        """Tell a person what may go wrong; not with -q."""
        if not self.quiet:
            self._tell(text if self._json_log else f"Warning: {text}", "warning")

    def urgent(self, text: str) -> None:
        """Tell a person something that -q does not silence."""
        self._tell(text, "error")

    def fail(self, message: str, hint: str) -> None:
        """Tell why the command ends, and what to do next; in one line with -q."""
        if self.quiet or self._json_log:
            self.urgent(f"bc2ot: {message} {hint}".rstrip())
        else:
            self.urgent(f"bc2ot: {message}" + (f"\n       {hint}" if hint else ""))

    def interject(self, text: str) -> None:
        """Tell a person something from within a signal handler: it may have struck anywhere, so
        no lock is taken, as rich would.
        """
        line = self._line(text, "warning")
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            line = f"\r\x1b[K{line}"  # over the bar, or the ^C that the terminal shows
        with suppress(OSError):
            os.write(sys.stderr.fileno(), f"{line}\n".encode())

    def _tell(self, text: str, level: str) -> None:
        try:
            self._err.print(Text(self._line(text, level)))
        except OSError:  # whoever read it has gone; the work goes on
            drop(sys.stderr)

    def _line(self, text: str, level: str) -> str:
        if self._json_log:
            return json_line(level, __name__, text.strip(), datetime.now(UTC))
        return printable(text)

    def data(self, text: str) -> None:
        """One line of output."""
        self._write(f"{printable(text)}\n".encode())

    def json(self, value: object) -> None:
        """Output for programs."""
        self._write(json.dumps(value, indent=2, ensure_ascii=False, default=str).encode() + b"\n")

    def raw(self, body: bytes) -> None:
        """Bytes as they are."""
        self._write(body)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table that fits the terminal; in a pipe as wide as its content."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(str(cell))) for cell in row))
        with self._out.capture() as capture:
            self._out.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        self._write(("\n".join(lines) + "\n").encode())

    def confirm(self, question: str) -> bool:
        """Ask on stderr. Raises click.Abort at the end of the input."""
        return click.confirm(question, default=False, err=True)

    @contextmanager
    def progress(self, total: int | None) -> Iterator[ShowTally]:
        """A bar, on a terminal only. `total` is None where nobody knows it."""
        animated = (
            not (self.quiet or self._json or self._json_log)
            and sys.stdout.isatty()
            and self._err.is_terminal
            and not self._err.is_dumb_terminal
        )
        if not animated:
            yield lambda _tally: None
            return
        told = TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=False, overflow="fold")
        )
        columns = (BarColumn(bar_width=24), TaskProgressColumn(), told, TimeElapsedColumn())
        narrow = self._err.width < _BAR_NEEDS
        with Progress(*((told,) if narrow else columns), console=self._err, transient=True) as bar:
            task = bar.add_task("starting", total=total)

            def show(tally: Tally) -> None:
                elapsed = bar.tasks[0].elapsed or 0.0
                # Orders that came since they were counted must not push the bar over its end.
                whole = None if total is None else max(total, tally.seen)
                bar.update(
                    task,
                    completed=tally.seen,
                    total=whole,
                    description=progress_text(tally, elapsed),
                )

            yield show

    def _write(self, body: bytes) -> None:
        """To stdout. A reader that has gone (`| head`) ends the output, not the work."""
        if self._reader_gone:
            return
        try:
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._reader_gone = True
            drop(sys.stdout)
        except OSError as error:
            self._reader_gone = True
            drop(sys.stdout)
            raise ConfigurationError(
                f"The output cannot be written: {error.strerror}.",
                hint="What was delivered is in the ledger, and is not sent again.",
            ) from None


def printable(text: str) -> str:
    """`text` without control characters, which could rewrite what the terminal shows."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


class _Rich(RichConsole):
    def on_broken_pipe(self) -> None:
        """Rich would end the process, in the middle of the work."""
        raise


def _rich(stream: IO[str]) -> RichConsole:
    # Without a terminal there is no width to fit: a table is as wide as it needs to be.
    width = None if stream.isatty() else 10_000
    return _Rich(
        file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True
    )
