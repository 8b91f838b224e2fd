"""bc2ot on a pseudo-terminal: wait for what it prints, type, press Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType

TIMEOUT_S = 30.0
"""How long to wait for output; a machine under load is slow."""

_START = """\
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this terminal becomes /dev/tty, and gets Ctrl-C
from onetribe_bc.cli import main
main()
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One command line on a terminal; its stdout goes to a file unless `shows_stdout`."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environ: Mapping[str, str],
        columns: int = 80,
        shows_stdout: bool = False,
    ) -> None:
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self._stdout = TemporaryFile()  # noqa: SIM115 - closed with the terminal
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdin=slave,
            stdout=slave if shows_stdout else self._stdout,
            stderr=slave,
            cwd=folder,
            env=dict(environ),
            start_new_session=True,
        )
        os.close(slave)
        self._output = b""
        self._read_to = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
        self._stdout.close()

    @property
    def stdout(self) -> bytes:
        """The content of the file that stdout goes to."""
        self._stdout.seek(0)
        return self._stdout.read()

    @property
    def raw(self) -> str:
        """All output so far, and what was typed and echoed."""
        return self._output.decode("utf-8", "replace")

    @property
    def shown(self) -> str:
        """The same without control sequences."""
        return _CONTROL.sub("", self.raw).replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """The same on one line, however it was wrapped."""
        return " ".join(self.shown.split())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def sees(self, words: str) -> Terminal:
        """Wait until these words come after those waited for before."""
        return self.sees_match(r"\s+".join(map(re.escape, words.split())))

    def sees_match(self, pattern: str) -> Terminal:
        """Wait for a regular expression in the same way."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := re.compile(pattern).search(self.shown, self._read_to)):
            if not self._read(deadline):
                raise AssertionError(f"no {pattern!r} in:\n{self.shown[self._read_to :]}")
        self._read_to = found.end()
        return self

    def types(self, text: str) -> Terminal:
        """Type a line and press Enter."""
        return self.presses(f"{text}\n")

    def presses(self, keys: str) -> Terminal:
        """Press keys: \\x03 is Ctrl-C, \\x04 is Ctrl-D."""
        os.write(self._master, keys.encode())
        return self

    def leaves(self, keys: str) -> Terminal:
        """Press Ctrl-C or Ctrl-D until there is a response: Python misses a signal between
        printing a question and reading the answer.
        """
        heard = len(self.shown) + len("^C")
        deadline = time.monotonic() + TIMEOUT_S
        while len(self.shown.rstrip()) <= heard and time.monotonic() < deadline:
            self.presses(keys)
            again_at = time.monotonic() + 2
            while len(self.shown.rstrip()) <= heard and self._read(again_at):
                pass
        return self

    def answers(self, question: str, answer: str) -> Terminal:
        """Wait for a question and answer it."""
        if "hidden" in question:
            return self.answers_hidden(question, answer)
        return self.sees(question).types(answer)

    def answers_hidden(self, question: str, answer: str) -> Terminal:
        """The same, once the terminal no longer shows what is typed."""
        self.sees(question)
        deadline = time.monotonic() + TIMEOUT_S
        while self.echoes:
            assert time.monotonic() < deadline, "the terminal still shows what is typed"
            time.sleep(0.005)
        return self.types(answer)

    def ends(self, code: int) -> Terminal:
        """Wait for the process to end with this exit code."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read(deadline):
            pass
        assert self.process.wait(TIMEOUT_S) == code, self.shown
        return self

    def kill(self, number: signal.Signals) -> Terminal:
        """Send a signal."""
        self.process.send_signal(number)
        return self

    def _read(self, deadline: float) -> bool:
        """Read more output; False at its end or at the deadline."""
        timeout = max(0, deadline - time.monotonic())
        if not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # on Linux: the other end was closed
            return False
        self._output += piece
        return bool(piece)
