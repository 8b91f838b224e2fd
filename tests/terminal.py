"""bc2ot on a terminal of its own, with somebody at the keyboard: what it asks is waited for, what
is typed goes through the terminal's own driver, Ctrl-C and the hiding of input included.
"""

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

import coverage

ROOT = Path(__file__).parent.parent
PATIENCE_S = 30.0
"""How long a question may take to come; a machine under load is slow."""

_START = """\
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # /dev/tty is this terminal, and Ctrl-C goes to us
import coverage
coverage.process_startup()
from onetribe_bc.cli import main
main()
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """One command line on a terminal. Its stdout goes elsewhere, as `> file` would have it."""

    def __init__(
        self, *arguments: str, folder: Path, environ: Mapping[str, str], columns: int = 80
    ) -> None:
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self._stdout = TemporaryFile()  # noqa: SIM115 - closed with the terminal
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdin=slave,
            stdout=self._stdout,
            stderr=slave,
            cwd=folder,
            env={**environ, **_measured()},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        """All that was on the screen so far, what was typed and echoed included."""
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
        """What went to stdout."""
        self._stdout.seek(0)
        return self._stdout.read()

    @property
    def told(self) -> str:
        """The screen with lines joined, however they were broken."""
        return " ".join(self.shown.split())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def sees(self, words: str) -> Terminal:
        """Wait until the screen shows these words behind those waited for before."""
        pattern = re.compile(r"\s+".join(map(re.escape, words.split())))
        give_up_at = time.monotonic() + PATIENCE_S
        while not (found := pattern.search(self.shown, self._read_to)):
            if not self._read(give_up_at):
                raise AssertionError(f"no {words!r} in:\n{self.shown[self._read_to :]}")
        self._read_to = found.end()
        return self

    def types(self, text: str) -> Terminal:
        """Type a line, Enter included."""
        return self.presses(f"{text}\n")

    def presses(self, keys: str) -> Terminal:
        """Keys as they are: \\x03 is Ctrl-C, \\x04 is Ctrl-D."""
        os.write(self._master, keys.encode())
        return self

    def leaves(self, keys: str) -> Terminal:
        """Press Ctrl-C or Ctrl-D, again when nothing comes of it: Python does not hear a signal
        in the instant between showing a question and reading the answer.
        """
        heard = len(self.shown) + len("^C")
        give_up_at = time.monotonic() + PATIENCE_S
        while len(self.shown.rstrip()) <= heard and time.monotonic() < give_up_at:
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
        """The same where what is typed must not be shown: waits until the terminal hides it."""
        self.sees(question)
        give_up_at = time.monotonic() + PATIENCE_S
        while self.echoes:
            assert time.monotonic() < give_up_at, "the terminal goes on showing what is typed"
            time.sleep(0.005)
        return self.types(answer)

    def ends(self, code: int) -> Terminal:
        """Wait for the end."""
        give_up_at = time.monotonic() + PATIENCE_S
        while self._read(give_up_at):
            pass
        assert self.process.wait(PATIENCE_S) == code, self.shown
        return self

    def kill(self, number: signal.Signals) -> Terminal:
        """Send a signal."""
        self.process.send_signal(number)
        return self

    def _read(self, give_up_at: float) -> bool:
        """Read on; False at the end, or when it takes too long."""
        ready, _, _ = select.select([self._master], [], [], max(0, give_up_at - time.monotonic()))
        if not ready:
            return False
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # Linux: nobody has the other side open any more
            return False
        self.shown += _CONTROL.sub("", piece.decode("utf-8", "replace")).replace("\r\n", "\n")
        return bool(piece)


def _measured() -> dict[str, str]:
    """What makes the process add to the coverage of the tests, if that is measured."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        return {}
    # Not in the working folder, which is the test's own.
    file = ROOT / str(measuring.config.data_file)
    return {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"), "COVERAGE_FILE": str(file)}
