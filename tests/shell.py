"""Run bc2ot from the command line: in this process, in another one, or on a terminal.

The output of each run is checked for secrets and customer data.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from onetribe_bc.cli.app import run
from onetribe_bc.sandbox import Sandbox
from tests.terminal import Terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Outcome:
    """The result of a command line."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def lines(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def says(self, code: int, *words: str) -> Outcome:
        """Assert the exit code and that stderr has these words; returns itself."""
        assert self.code == code, (self.code, self.err)
        for word in words:
            assert word in self.err, (word, self.err)
        return self


@dataclass
class Shell:
    """A working directory and an environment that point to a sandbox."""

    sandbox: Sandbox
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[bytes]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def use(self, sandbox: Sandbox) -> None:
        """Point to another sandbox."""
        self.sandbox = sandbox
        self.set(**sandbox.environment(), BC2OT_LEDGER=str(self.ledger))

    def set(self, **variables: str | None) -> None:
        """Set environment variables; None unsets one."""
        for name, value in variables.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)

    def unset_all(self) -> None:
        """Unset all BC2OT_ variables."""
        self.set(**dict.fromkeys([name for name in os.environ if name.startswith("BC2OT_")]))

    def write(self, text: str | bytes, *, mode: int = 0o600, name: str = "bc2ot.yaml") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def configure(self, **sections: Any) -> Path:
        """Write a configuration file in the working directory."""
        return self.write(yaml.safe_dump(sections))

    def run(self, *arguments: str, stdin: bytes = b"", personal: bool = False) -> Outcome:
        """Run in this process. With `personal`, stdout may have customer data."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capture.readouterr()
        code = run(arguments)
        return self.checked(Outcome(code, *self.capture.readouterr()), personal=personal)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start in a process of its own."""
        given = {"stdin": subprocess.DEVNULL, **options}
        for stream in ("stdout", "stderr"):
            given.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen(self.command(*arguments), cwd=self.folder, **given)
        self.started.append(process)
        return process

    def spawn(self, *arguments: str, **options: Any) -> Outcome:
        """Run in a process of its own."""
        return self.finish(self.start(*arguments, **options))

    def pipe(self, script: str, *arguments: str) -> Outcome:
        """Run a line of bash, where `"$@"` is the command line."""
        command = ["bash", "-c", script, "bash", *self.command(*arguments)]
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return self.finish(process)

    def finish(self, process: subprocess.Popen[bytes]) -> Outcome:
        stdout, stderr = process.communicate(timeout=60)
        return self.checked(Outcome(process.returncode, stdout or b"", stderr or b""))

    @contextmanager
    def terminal(self, *arguments: str, **options: Any) -> Iterator[Terminal]:
        """Run on a terminal of its own."""
        given = {"environ": os.environ, "shows_stdout": True, **options}
        with Terminal(*arguments, folder=self.folder, **given) as terminal:
            yield terminal
            self.check(terminal.shown)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "onetribe_bc", *arguments]

    def checked(self, outcome: Outcome, *, personal: bool = False) -> Outcome:
        """Check for tracebacks, secrets and customer data, which stdout may have if `personal`."""
        output = outcome.stderr if personal else outcome.stdout + b"\n" + outcome.stderr
        self.check(output.decode("utf-8", "replace"))
        return outcome

    def check(self, output: str) -> None:
        assert "Traceback" not in output, output
        sandbox = self.sandbox
        for secret in (sandbox.access_token, sandbox.merchant_key, sandbox.client_secret):
            assert secret not in output.replace(sandbox_exports(output), "")
        for order_id in sandbox.store.ids()[:60]:
            billing = json.loads(sandbox.store.raw(order_id))["billing_address"]
            assert billing["email"] not in output
            for name in (billing["first_name"], billing["last_name"]):
                assert not re.search(rf"\b{re.escape(name)}\b", output), name

    # The ledger and the store

    def state(self, order_id: int) -> Any:
        """The order's row in the ledger, by column; None if there is none."""
        with closing(sqlite3.connect(self.ledger)) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM orders WHERE order_id = ?"
            return connection.execute(query, (order_id,)).fetchone()

    def states(self) -> dict[str, int]:
        """How many orders are in each state."""
        with closing(sqlite3.connect(self.ledger)) as connection:
            return dict(connection.execute("SELECT state, count(*) FROM orders GROUP BY state"))

    @property
    def eligible(self) -> int:
        """How many orders of the store are to be sent."""
        store = self.sandbox.store
        return sum(store.row(order_id).status_id != 0 for order_id in store.ids())


def sandbox_exports(output: str) -> str:
    """The lines in which the sandbox command prints its own, fake credentials."""
    found = re.search(r"(?:^export BC2OT_.*\n)+", output, re.MULTILINE)
    return found[0] if found else "\0"


@pytest.fixture(name="shell")
def shell_fixture(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Iterator[Shell]:
    """A shell that points to `sandbox`; waits between attempts take no time."""
    # Full jitter multiplies a ceiling by this random number.
    monkeypatch.setattr(random.SystemRandom, "random", lambda _self: 0.0)
    for variable in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONPATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    shell = Shell(sandbox, Path.cwd(), monkeypatch, capfdbinary)
    shell.use(sandbox)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    logger = logging.getLogger("onetribe_bc")
    before = (logger.handlers[:], logger.propagate, logger.level)
    yield shell
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
    for process in shell.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
