"""Everything that people see: data on stdout, messages on stderr.

The only module that knows rich. Remote text is never markup, and its control characters never
reach a terminal.
"""

from __future__ import annotations

import json
import os
import select
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from typing import IO, Any, TypeVar

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from onetribe_bc.cli import discard
from onetribe_bc.cli.logs import json_line
from onetribe_bc.cli.summary import progress_text
from onetribe_bc.delivery.report import Summary
from onetribe_bc.errors import (
    Bc2otError,
    BusyError,
    ConfigurationError,
    ExitCode,
    InterruptedRunError,
)
from onetribe_bc.secret import mask_secrets

Row = TypeVar("Row")

_MAX_COLUMNS = 96
"""Text is wrapped at this width: longer lines are hard to read."""
_READABLE = 16
"""Text in fewer columns is hard to read."""
_GAP = 3
"""Columns between two columns of a table."""
LASTING = timedelta(hours=1)
"""Until then, a run that holds the store is routine."""
_PASTE_MARKS = ("\x1b[200~", "\x1b[201~")
_INVISIBLE = "\ufeff\u200b\u2060"


class Console:
    """Where one command writes.

    `json` is whether its output is JSON, `log_format` the format of stderr: text or json. With
    `print_json` JSON output goes there, not to stdout.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        json: bool = False,
        log_format: str = "text",
        print_json: Callable[[Any], None] | None = None,
    ) -> None:
        self.quiet = quiet
        self.as_json = json
        self._json_log = log_format == "json"
        self._print_json = print_json
        self._out = _rich(sys.stdout)
        self._err = _rich(sys.stderr)
        self.reader_left = False
        """Whether nothing reads stdout any more."""

    @property
    def is_terminal(self) -> bool:
        """Whether stdout is a terminal, not a pipe or a file."""
        return self._out.is_terminal

    # Messages, on stderr

    def info(self, text: str, *, fold: bool = False) -> None:
        """Print a message; not with -q. `fold` breaks it into lines that are easy to read."""
        if not self.quiet:
            self._log(self._folded(text) if fold else text, "info")

    def warning(self, text: str) -> None:
        """Print a warning; not with -q."""
        if not self.quiet:
            self._log(text if self._json_log else f"Warning: {text}", "warning")

    def error(self, message: str, hint: str = "", *, fold: bool = False) -> None:
        """Print a problem and what to do next; with -q, on one line."""
        separator = " " if self.quiet or self._json_log or fold else "\n       "
        text = f"{message}{separator}{hint}" if hint else message
        self._log(self._folded(text) if fold else text, "error")

    def failure(self, error: Bc2otError, where: str = "") -> ExitCode:
        """Print the error that ended a command, after `where`, and return its exit code.

        With -q, say who holds the store only once that has lasted.
        """
        if isinstance(error, InterruptedRunError):
            hint = "Undelivered orders stay owed: run the command again to continue."
            self.error(f"bc2ot: {where}Interrupted.", hint)
        elif not (
            self.quiet
            and isinstance(error, BusyError)
            and error.since
            and datetime.now(UTC) - error.since < LASTING
        ):
            self.error(f"bc2ot: {where}{error}", error.hint)
        return error.exit_code

    def notify_from_signal(self, text: str) -> None:
        """Print a message from a signal handler: without rich, whose lock the signal may have
        interrupted.
        """
        line = self._line(text, "warning")
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            line = f"\r\x1b[K{line}"  # replaces the bar, or the ^C that the terminal shows
        with suppress(OSError):
            os.write(sys.stderr.fileno(), f"{line}\n".encode())

    def _log(self, text: str, level: str) -> None:
        try:
            self._err.print(Text(self._line(text, level)))
        except OSError:  # nothing reads stderr any more; the work goes on
            discard(sys.stderr)

    def _line(self, text: str, level: str) -> str:
        if self._json_log:
            return json_line(level, __name__, mask_secrets(text.strip()))
        return printable(text)

    def _folded(self, text: str, indent: str = "") -> str:
        return textwrap.fill(
            printable(text),
            width=min(self._columns, _MAX_COLUMNS) - 1,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @property
    def _columns(self) -> int:
        """The width of stderr; rich assumes 80 for a dumb terminal."""
        if self._err.is_dumb_terminal:
            with suppress(OSError):
                return os.get_terminal_size(sys.stderr.fileno()).columns
        return self._err.width

    # Output, on stdout

    def data(self, text: str) -> None:
        """Print one line."""
        self.text(f"{printable(text)}\n")

    def json(self, value: object) -> None:
        """Print JSON."""
        if self._print_json is None:
            self.text(json_text(value, indent=2) + "\n")
        else:
            self._print_json(value)

    def text(self, text: str) -> None:
        """Write text as it is, but no secret that this process knows."""
        self.raw(mask_secrets(text).encode("utf-8", "backslashreplace"))

    def raw(self, body: bytes) -> None:
        """Write bytes. If the reader is gone (`| head`), the output ends, not the work.

        Raises ConfigurationError when stdout cannot be written.
        """
        if self.reader_left:
            return
        try:
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
        except OSError as error:
            self.reader_left = True
            discard(sys.stdout)
            if isinstance(error, BrokenPipeError):
                return
            raise ConfigurationError(
                f"The output cannot be written: {error.strerror}.",
                hint="Delivered orders are in the ledger and are not sent again.",
            ) from None

    def is_unread(self) -> bool:
        """Check whether the pipe that stdout is has no reader left, without writing."""
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))

    def table(self, columns: Mapping[str, Callable[[Row], object]], rows: Iterable[Row]) -> None:
        """Print a table that fits the terminal or, where that is too narrow, a block per row.

        `columns` has each column's cell by its header. In a pipe, the table is as wide as its
        content.
        """
        cells = [[printable(str(cell(row))) for cell in columns.values()] for row in rows]
        widths = [_least_width(column) for column in zip(columns, *cells, strict=True)]
        if sum(widths) + _GAP * (len(columns) - 1) > self._out.width:
            table = _blocks(list(columns), cells)
        else:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
            for column, width in zip(columns, widths, strict=True):
                table.add_column(column, overflow="fold", min_width=width)
            for line in cells:
                table.add_row(*map(Text, line))
        with self._out.capture() as capture:
            self._out.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        self.text("\n".join(lines) + "\n")

    @contextmanager
    def progress(self, total: int | None) -> Iterator[Callable[[Summary], None]]:
        """Show a bar, on a terminal only; yields what updates it. `total` is None if unknown."""
        animated = (
            not (self.quiet or self.as_json or self._json_log)
            and sys.stdout.isatty()
            and self._err.is_terminal
            and not self._err.is_dumb_terminal
        )
        if not animated:
            yield lambda _summary: None
            return
        column = Column(no_wrap=False, overflow="fold")
        text = TextColumn("{task.description}", markup=False, table_column=column)
        columns = (BarColumn(bar_width=24), TaskProgressColumn(), text, TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task("starting", total=total)

            def show(summary: Summary) -> None:
                # Orders placed after the count must not push the bar past its end.
                largest = None if total is None else max(total, summary.seen)
                text = progress_text(summary, bar.tasks[0].elapsed or 0.0)
                bar.update(task, completed=summary.seen, total=largest, description=text)

            yield show

    # Questions, on stderr; click.Abort is raised at Ctrl-C and at the end of the input

    @property
    def can_ask(self) -> bool:
        """Whether a person can see a question and answer it."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask for yes or no."""
        with _asking():
            return click.confirm(question, default=default, err=True)

    def ask(
        self, question: str, *, default: str = "", hidden: bool = False, may_be_empty: bool = False
    ) -> str:
        """Ask for a text until there is one; the terminal does not show it if it is `hidden`."""
        while True:
            with _asking(hidden=hidden):
                given: str = click.prompt(
                    question,
                    default=default,
                    show_default=bool(default),
                    hide_input=hidden,
                    err=True,
                )
            if (answer := pasted(given)) or may_be_empty:
                return answer

    def choose(self, question: str, choices: Sequence[str]) -> int:
        """Ask for one of `choices` by its number; returns its index."""
        numbers = self._number(choices)
        while (answer := self.ask(question, default="1")) not in numbers:
            self.error(f"Answer with a number from 1 to {len(choices)}.")
        return numbers.index(answer)

    def choose_or_paste(self, question: str, choices: Sequence[str], default: int) -> int | str:
        """Ask the same, hidden, as the answer may be a secret that was pasted one question early:
        any text but a number is returned unchanged.
        """
        numbers = self._number(choices)
        shown = f"{question} [{default + 1}] (hidden; or paste it right here)"
        answer = self.ask(shown, hidden=True, may_be_empty=True)
        if not answer:
            return default
        return numbers.index(answer) if answer in numbers else answer

    def _number(self, choices: Sequence[str]) -> list[str]:
        """Print the choices with their numbers, and return the numbers."""
        for number, choice in enumerate(choices, start=1):
            self.error(self._folded(f"  {number}  {choice}", indent="     "))
        return [str(number) for number in range(1, len(choices) + 1)]


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return JSON in ASCII, in which a terminal interprets nothing."""
    return json.dumps(value, indent=indent, default=plain).replace("\x7f", "\\u007f")


def plain(value: object) -> str:
    """Return a value as text, a time as ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def printable(text: str) -> str:
    """Mask secrets, and replace control characters, which could rewrite what the terminal shows."""
    text = mask_secrets(text)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _blocks(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a line per cell that is not empty, and an empty line between rows."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", min_width=_READABLE)
    for number, row in enumerate(rows):
        if number:
            table.add_row()
        for name, cell in zip(columns, row, strict=True):
            if cell:
                table.add_row(name, Text(cell))
    return table


def _least_width(column: Sequence[str]) -> int:
    """Return how narrow a column may become without breaking words, unless they are very long."""
    widest = max(map(cell_len, column))
    longest_word = max(map(cell_len, " ".join(column).split()), default=0)
    return min(widest, max(_READABLE, min(longest_word, 2 * _READABLE)))


def pasted(answer: str) -> str:
    """Strip blanks and the marks that terminals put around pasted text."""
    for mark in _PASTE_MARKS:
        answer = answer.replace(mark, "")
    return answer.strip().strip(_INVISIBLE).strip()


@contextmanager
def _asking(*, hidden: bool = False) -> Iterator[None]:
    """Keep questions off stdout, and end the line when a question is aborted."""
    try:
        with redirect_stdout(sys.stderr):  # some versions of click write a blank to stdout
            yield
    except click.Abort:
        if not hidden:  # click ends the line itself
            click.echo(err=True)
        raise


class _Rich(RichConsole):
    def on_broken_pipe(self) -> None:
        """Ignore a closed pipe, for which rich would end the process."""
        raise


def _rich(stream: IO[str]) -> RichConsole:
    # Without a terminal, a table is as wide as its content.
    width = None if stream.isatty() else 10_000
    return _Rich(
        file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True
    )
