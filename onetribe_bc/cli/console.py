"""All that is shown to people: data on stdout, everything else on stderr.

The only module that knows rich. Remote text is never markup, and its control characters are
never sent to a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from typing import IO, Protocol

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from onetribe_bc.cli.logs import json_line
from onetribe_bc.cli.streams import drop
from onetribe_bc.cli.summary import progress_text
from onetribe_bc.delivery.report import Summary
from onetribe_bc.errors import ConfigurationError

_BAR_NEEDS = 80
"""A terminal with fewer columns shows the numbers without the bar."""
_MOST_COLUMNS = 96
"""Longer lines are hard to read."""
_READABLE = 16
"""Text in fewer columns than these is hard to read."""
_GAP = 3
"""How many columns of the terminal stand between two of a table."""
_PASTE_MARKS = ("\x1b[200~", "\x1b[201~")
_INVISIBLE = "\ufeff\u200b\u2060"


class ShowTally(Protocol):
    """Shows how far a run has come."""

    def __call__(self, summary: Summary, /) -> None: ...


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
        """A table that fits the terminal, or on one too narrow for it a block for each row; in a
        pipe a table as wide as its content.
        """
        cells = [[printable(str(cell)) for cell in row] for row in rows]
        least = [_least_width(column) for column in zip(columns, *cells, strict=True)]
        if sum(least) + _GAP * (len(columns) - 1) > self._out.width:
            self._blocks(columns, cells)
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column, width in zip(columns, least, strict=True):
            table.add_column(column, overflow="fold", min_width=width)
        for row in cells:
            table.add_row(*map(Text, row))
        with self._out.capture() as capture:
            self._out.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        self._write(("\n".join(lines) + "\n").encode())

    def _blocks(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A line for each cell that holds something, and an empty one between two rows."""
        name_width = max(map(cell_len, columns)) + 2
        width = max(self._out.width - name_width, _READABLE)
        lines: list[str] = []
        for row in rows:
            for name, cell in zip(columns, row, strict=True):
                wrapped = Text(cell).wrap(self._out, width, overflow="fold") if cell else ()
                for number, part in enumerate(wrapped):
                    shown = "" if number else name
                    lines.append(f"{shown:<{name_width}}{part.plain}".rstrip())
            lines.append("")
        self._write("\n".join(lines).encode())

    def explain(self, text: str, *, indent: str = "") -> None:
        """`say` in lines that fit the terminal, those after the first behind `indent`."""
        self.say(self._folded(text, indent))

    def complain(self, text: str, *, indent: str = "") -> None:
        """`urgent` in lines that fit the terminal."""
        self.urgent(self._folded(text, indent))

    def _folded(self, text: str, indent: str) -> str:
        return textwrap.fill(
            printable(text),
            width=min(self._columns, _MOST_COLUMNS) - 1,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @property
    def _columns(self) -> int:
        """How wide stderr is. Rich takes every dumb terminal for 80 columns."""
        if not self._err.is_dumb_terminal:
            return self._err.width
        with suppress(OSError):
            return os.get_terminal_size(sys.stderr.fileno()).columns or self._err.width
        return self._err.width

    # Asking: on stderr, and click.Abort at Ctrl-C and at the end of the input

    @property
    def can_ask(self) -> bool:
        """Whether somebody sees a question and can answer it."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask for yes or no."""
        with _asking():
            return click.confirm(question, default=default, err=True)

    def ask(self, question: str, *, default: str = "") -> str:
        """Ask for a text, again until there is one."""
        while True:
            with _asking():
                given: str = click.prompt(
                    question, default=default, show_default=bool(default), err=True
                )
            if answer := pasted(given):
                return answer

    def ask_hidden(self, question: str, *, may_be_empty: bool = False) -> str:
        """Ask for a text that the terminal does not show, again until there is one."""
        while True:
            with _asking(hidden=True):
                given: str = click.prompt(
                    question, default="", show_default=False, hide_input=True, err=True
                )
            answer = pasted(given)
            if answer or may_be_empty:
                return answer

    def choose(self, question: str, choices: Sequence[str], *, default: int = 0) -> int:
        """Ask for one of a few things, by number; the place in `choices`, from 0."""
        numbers = self._number(choices)
        while (answer := self.ask(question, default=str(default + 1))) not in numbers:
            self.urgent(f"Answer with a number from 1 to {len(choices)}.")
        return numbers.index(answer)

    def choose_or_paste(
        self, question: str, choices: Sequence[str], *, default: int = 0
    ) -> int | str:
        """Ask the same where the answer may be a secret, pasted a question early: the terminal
        does not show it, and what is no number is returned as it is.
        """
        numbers = self._number(choices)
        shown = f"{question} [{default + 1}] (hidden; or paste it right here)"
        answer = self.ask_hidden(shown, may_be_empty=True)
        if not answer:
            return default
        return numbers.index(answer) if answer in numbers else answer

    def _number(self, choices: Sequence[str]) -> list[str]:
        """Show choices with their numbers; returns the numbers."""
        for number, choice in enumerate(choices, start=1):
            self.complain(f"  {number}  {choice}", indent="     ")
        return [str(number) for number in range(1, len(choices) + 1)]

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

            def show(summary: Summary) -> None:
                elapsed = bar.tasks[0].elapsed or 0.0
                # Orders that came since they were counted must not push the bar over its end.
                whole = None if total is None else max(total, summary.seen)
                bar.update(
                    task,
                    completed=summary.seen,
                    total=whole,
                    description=progress_text(summary, elapsed),
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


def _least_width(column: Sequence[str]) -> int:
    """How narrow a column may become: no word is broken unless it is very long, and no text gets
    so little room that it becomes a tower.
    """
    widest = max(map(cell_len, column))
    longest_word = max(map(cell_len, " ".join(column).split()), default=0)
    return min(widest, max(_READABLE, min(longest_word, 2 * _READABLE)))


def pasted(answer: str) -> str:
    """An answer without what comes along when it is pasted: blanks, and the marks that terminals
    put around a paste.
    """
    for mark in _PASTE_MARKS:
        answer = answer.replace(mark, "")
    return answer.strip().strip(_INVISIBLE).strip()


@contextmanager
def _asking(*, hidden: bool = False) -> Iterator[None]:
    """Nothing of a question goes to stdout, and the line ends where a question is left."""
    try:
        with redirect_stdout(sys.stderr):  # older versions of click write a blank to stdout
            yield
    except click.Abort:
        if not hidden:  # click does it itself there
            click.echo(err=True)
        raise


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
