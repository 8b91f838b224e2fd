"""The three streams as this process has them: terminals, closed ones, readers that left."""

from __future__ import annotations

import io
import os
import pty
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter

import pytest

from onetribe_bc.cli.app import run
from onetribe_bc.cli.console import Console, printable
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401


@contextmanager
def _streams(shell: Shell, descriptor: int, *names: str) -> Iterator[None]:
    """These streams are `descriptor`, which is closed at the end."""
    with (
        os.fdopen(descriptor, "w", encoding="utf-8") as stream,
        shell.monkeypatch.context() as patch,
    ):
        for name in names:
            patch.setattr(sys, name, stream)
        yield


def _on_terminal(shell: Shell, *arguments: str, columns: int = 80) -> tuple[int, str]:
    """A command line with a terminal as both streams: its exit code, and what was shown."""
    master, slave = pty.openpty()
    os.set_inheritable(slave, False)
    shown: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(master, 65_536):
                shown.append(piece)
        except OSError:
            pass  # the other end was closed

    reader = threading.Thread(target=read)
    reader.start()
    shell.set(COLUMNS=str(columns))
    with _streams(shell, slave, "stdout", "stderr"):
        code = run(arguments)
    reader.join()
    os.close(master)
    text = b"".join(shown).decode()
    shell.check(text)
    return code, text


def test_a_bar_without_a_total_when_the_number_is_unknown(shell: Shell) -> None:
    code, text = _on_terminal(shell, "push-order", "218")
    assert code == 0
    assert "1 delivered" in text


def test_a_message_from_a_signal_replaces_the_bar(shell: Shell) -> None:
    master, slave = pty.openpty()
    with _streams(shell, slave, "stdout", "stderr"):
        Console().notify_from_signal("stop")
        shell.set(TERM="dumb")
        Console().notify_from_signal("stop")
        wanted, shown = b"\r\x1b[Kstop\r\nstop\r\n", b""
        while len(shown) < len(wanted):
            shown += os.read(master, 100)
        assert shown == wanted
    os.close(master)


def test_ctrl_c_while_reading_stdin_interrupts(shell: Shell) -> None:
    class Pressed(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            os.kill(os.getpid(), signal.SIGINT)
            return super().read(size)

    shell.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pressed()))
    assert run(["push-order", "-"]) == 130
    assert shell.capture.readouterr().err.strip() == b"bc2ot: Interrupted."


def test_a_terminal_gets_at_most_a_hundred_id_ranges(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(1200))
    code, text = _on_terminal(shell, "backfill", "--dry-run")
    assert code == 0
    assert "... and more; in a pipe or a file, all IDs are printed." in text
    assert text.count(",") < 130
    assert shell.run("backfill", "--dry-run").out.count(",") > 130


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[/x] 🎂", "[/x] 🎂"),
        ("a\x1b[31mb\x07\r\x9b", "a\ufffd[31mb\ufffd\ufffd\ufffd"),
        ("two\nlines", "two\nlines"),
        ("\u202eabc\ud800", "\ufffdabc\ufffd"),
    ],
)
def test_control_characters_are_not_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_table_is_as_wide_as_its_content_in_a_pipe(shell: Shell) -> None:
    Console().table({"a": itemgetter(0), "b": itemgetter(1)}, [("x" * 200, "[/x]\x1b")])
    told = shell.capture.readouterr().out.decode()
    assert "x" * 200 + "   [/x]\ufffd" in told
