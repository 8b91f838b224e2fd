"""bc2ot as a person at a shell has it: command lines in, an exit code and two streams out.

After each of them it is looked whether a secret or a customer's data came out.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from onetribe_bc.cli.app import run
from onetribe_bc.sandbox import Sandbox

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

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
        """Ended with `code`, and stderr has these words. Returns itself."""
        assert self.code == code, (self.code, self.err)
        for word in words:
            assert word in self.err, (word, self.err)
        return self


@dataclass
class Shell:
    """A working folder, an environment, and a sandbox that both point at."""

    sandbox: Sandbox
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[bytes]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def use(self, sandbox: Sandbox) -> None:
        """Point at another sandbox."""
        self.sandbox = sandbox
        self.set(**sandbox.environment(), BC2OT_LEDGER=str(self.ledger))

    def set(self, **variables: str | None) -> None:
        """Environment variables; None unsets one."""
        for name, value in variables.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)

    def unset_all(self) -> None:
        """No BC2OT_ variable is left."""
        self.set(**dict.fromkeys([name for name in os.environ if name.startswith("BC2OT_")]))

    def write(self, text: str | bytes, *, mode: int = 0o600, name: str = "bc2ot.yaml") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def configure(self, **sections: Any) -> Path:
        """A configuration file in the working folder."""
        return self.write(yaml.safe_dump(sections))

    def run(self, *arguments: str, stdin: bytes = b"", personal: bool = False) -> Outcome:
        """One command line, in this process. `personal` says that orders are asked for."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capture.readouterr()
        code = run(arguments)
        return self.checked(Outcome(code, *self.capture.readouterr()), personal=personal)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """One command line in a process of its own."""
        given = {"stdin": subprocess.DEVNULL, **options}
        for stream in ("stdout", "stderr"):
            given.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen(self.command(*arguments), cwd=self.folder, **given)
        self.started.append(process)
        return process

    def spawn(self, *arguments: str, **options: Any) -> Outcome:
        """The same, to its end."""
        return self.finish(self.start(*arguments, **options))

    def pipe(self, script: str, *arguments: str) -> Outcome:
        """A line for bash, where `"$@"` is the command line."""
        command = ["bash", "-c", script, "bash", *self.command(*arguments)]
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return self.finish(process)

    def finish(self, process: subprocess.Popen[bytes]) -> Outcome:
        stdout, stderr = process.communicate(timeout=60)
        return self.checked(Outcome(process.returncode, stdout or b"", stderr or b""))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "onetribe_bc", *arguments]

    def checked(self, outcome: Outcome, *, personal: bool = False) -> Outcome:
        """No traceback, no secret and, unless asked for, nothing about a customer."""
        told = outcome.stderr if personal else outcome.stdout + b"\n" + outcome.stderr
        self.check(told.decode("utf-8", "replace"))
        return outcome

    def check(self, told: str) -> None:
        assert "Traceback" not in told, told
        sandbox = self.sandbox
        for secret in (sandbox.access_token, sandbox.merchant_key, sandbox.client_secret):
            assert secret not in told.replace(sandbox_exports(told), "")
        for order_id in sandbox.store.ids()[:60]:
            billing = json.loads(sandbox.store.raw(order_id))["billing_address"]
            assert billing["email"] not in told
            for name in (billing["first_name"], billing["last_name"]):
                assert not re.search(rf"\b{re.escape(name)}\b", told), name

    # What both sides know afterwards

    def state(self, order_id: int) -> Any:
        """The order's row in the ledger, as a mapping of its columns; None where there is none."""
        import sqlite3

        connection = sqlite3.connect(self.ledger)
        connection.row_factory = sqlite3.Row
        try:
            query = "SELECT * FROM orders WHERE order_id = ?"
            return connection.execute(query, (order_id,)).fetchone()
        finally:
            connection.close()

    def states(self) -> dict[str, int]:
        """How many orders are in each state."""
        import sqlite3

        connection = sqlite3.connect(self.ledger)
        try:
            return dict(connection.execute("SELECT state, count(*) FROM orders GROUP BY state"))
        finally:
            connection.close()

    @property
    def eligible(self) -> int:
        """How many orders are to be sent."""
        store = self.sandbox.store
        return sum(store.row(order_id).status_id != 0 for order_id in store.ids())


def sandbox_exports(told: str) -> str:
    """The lines in which the sandbox command tells its own credentials, which are fake."""
    found = re.search(r"(?:^export BC2OT_.*\n)+", told, re.MULTILINE)
    return found[0] if found else "\0"


@pytest.fixture(name="shell")
def shell_fixture(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Iterator[Shell]:
    """A shell that points at `sandbox`. Waits between tries are over at once."""
    # Full jitter is a chance times a ceiling, and the chance comes from the standard library.
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
