"""What is shown where: terminals, pipes, readers that leave, -q, -v, logs, crashes, Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import json
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
from pathlib import Path

import pytest

from onetribe_bc.sandbox import Fault, Gate, Sandbox
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401


class Terminal:
    """A pseudo-terminal with a process in it."""

    def __init__(self, shell: Shell, *arguments: str, columns: int = 80, piped: str = "") -> None:
        self._shell = shell
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        streams = {name: slave for name in ("stdin", "stdout", "stderr") if name != piped}
        self.process = shell.start(*arguments, **streams, start_new_session=True)
        os.close(slave)
        self.shown = b""

    def wait_for(self, pattern: str) -> None:
        """Until the screen was told something."""
        while not re.search(pattern, self.text):
            if not self._read():
                raise AssertionError(f"{pattern!r} never came in {self.text!r}")

    def finish(self) -> int:
        """To the end; returns the exit code."""
        while self._read():
            pass
        os.close(self._master)
        self.process.communicate(timeout=30)
        self._shell.check(self.text)
        return self.process.returncode

    @property
    def text(self) -> str:
        return self.shown.decode("utf-8", "replace")

    def _read(self) -> bytes:
        if not select.select([self._master], [], [], 30)[0]:
            raise AssertionError(f"Nothing comes any more after {self.text!r}")
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # Linux tells so that nobody has the other end any more
            return b""
        self.shown += piece
        return piece


def _hold_one(sandbox: Sandbox) -> Gate:
    """One order hangs at One Tribe until the gate is opened; not the first, for which all wait."""
    gate = Gate()
    sandbox.faults.add(Fault("onetribe", "hold", times=1, skip=5, gate=gate))
    return gate


# Terminals


@pytest.mark.parametrize("columns", [80, 40])
def test_a_terminal_gets_a_bar_with_what_was_done(shell: Shell, columns: int) -> None:
    gate = _hold_one(shell.sandbox)
    terminal = Terminal(shell, "backfill", "--workers", "2", columns=columns)
    terminal.wait_for(r"\d+ delivered")
    terminal.wait_for(r"1[0-9] delivered, \d+ skipped, 0 failed,")
    gate.open()
    assert terminal.finish() == 0
    assert f"{shell.eligible} delivered" in terminal.text
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)
    bars = [line for line in re.split(r"[\r\n]+", shown) if " failed, " in line]
    assert bars
    assert max(map(len, bars)) <= columns
    assert ("━" in shown) is (columns == 80)
    assert re.search(r"\d+/s", shown)


@pytest.mark.parametrize(
    "arguments",
    [["-q", "backfill"], ["backfill", "--json"], ["--log-format", "json", "backfill"]],
)
def test_no_bar_where_none_is_wanted(shell: Shell, arguments: list[str]) -> None:
    terminal = Terminal(shell, *arguments)
    assert terminal.finish() == 0
    assert "\x1b[" not in terminal.text
    assert "━" not in terminal.text


def test_no_bar_when_the_output_goes_to_a_pipe(shell: Shell) -> None:
    terminal = Terminal(shell, "backfill", piped="stdout")
    assert terminal.finish() == 0
    assert "━" not in terminal.text


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}])
def test_a_dumb_terminal_gets_plain_lines(shell: Shell, variables: dict[str, str]) -> None:
    shell.set(**variables)
    terminal = Terminal(shell, "backfill")
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.text
    assert f"{shell.eligible} delivered" in terminal.text


def test_no_color_holds(shell: Shell) -> None:
    shell.set(NO_COLOR="1")
    terminal = Terminal(shell, "backfill")
    assert terminal.finish() == 0
    assert not re.search(r"\x1b\[(3\d|4\d|9\d|38;[^m]*)m", terminal.text)


def test_log_lines_stand_above_the_bar(shell: Shell) -> None:
    gate = _hold_one(shell.sandbox)
    terminal = Terminal(shell, "-v", "backfill", "--workers", "2")
    terminal.wait_for(r"1[0-9] delivered")
    gate.open()
    assert terminal.finish() == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)
    logged = [line for line in re.split(r"[\r\n]+", shown) if "POST /direct" in line]
    assert len(logged) == shell.eligible
    assert not [line for line in logged if "━" in line]


def test_a_pipe_gets_neither_colours_nor_bars(shell: Shell) -> None:
    told = shell.spawn("backfill").says(0, f"{shell.eligible} delivered")
    assert b"\x1b" not in told.stderr
    assert not told.stdout


# Readers that leave, and streams that are closed or full


@pytest.mark.parametrize("options", ["--json", "--dry-run", "--dry-run --json"])
def test_a_reader_that_leaves_does_not_end_the_work(shell: Shell, options: str) -> None:
    done = shell.pipe(
        '"$@" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', "backfill", *options.split()
    )
    assert done.code == 0
    assert "Broken" not in done.err
    if options == "--json":
        assert shell.states()["delivered"] == shell.eligible


@pytest.mark.parametrize("options", ["", "-v"])
def test_a_reader_of_stderr_that_leaves_does_not_end_the_work(shell: Shell, options: str) -> None:
    script = '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'
    assert shell.pipe(script, *options.split(), "backfill").code == 0
    assert shell.states()["delivered"] == shell.eligible


@pytest.mark.parametrize("arguments", ["--help", "--version", "backfill -h"])
def test_help_into_a_closed_pipe(shell: Shell, arguments: str) -> None:
    done = shell.pipe('"$@" | true; exit ${PIPESTATUS[0]}', *arguments.split())
    assert (done.code, done.err) == (0, "")


def test_errors_into_a_closed_pipe_keep_their_exit_code(shell: Shell) -> None:
    script = '(sleep 0.2; "$@") 2>&1 | true; exit ${PIPESTATUS[0]}'
    assert shell.pipe(script, "backfil").code == 2
    assert shell.pipe(script, "backfill", "--ids", "abc").code == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(shell: Shell, closed: str) -> None:
    assert shell.pipe(f'"$@" {closed}', "backfill").code == 0
    assert shell.states()["delivered"] == shell.eligible


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told(shell: Shell) -> None:
    done = shell.pipe('"$@" >/dev/full', "backfill", "--json")
    done.says(3, "output cannot be written: No space left", "in the ledger")
    assert shell.states()["delivered"] == shell.eligible


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_messages_that_cannot_be_written_do_not_end_the_work(shell: Shell) -> None:
    assert shell.pipe('"$@" 2>/dev/full', "backfill").code == 0
    assert shell.states()["delivered"] == shell.eligible


# -q, -v, logs


def test_quiet_is_silent_when_all_is_well(shell: Shell) -> None:
    told = shell.run("-q", "backfill")
    assert (told.code, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("fault", "arguments", "code", "words"),
    [
        ("onetribe:status@422#218", ["backfill"], 1, "Order 218 failed: One Tribe answered 422"),
        ("onetribe:status@422", ["backfill"], 1, ", and "),
        ("onetribe:status@401", ["backfill"], 4, "Check onetribe.url"),
        ("bigcommerce:status@401", ["backfill"], 4, "Check store_hash"),
        ("", ["push-order", "9999"], 1, "Order 9999 not in the store"),
        ("", ["backfill", "--ids", "218,9999", "--dry-run"], 1, "Order 9999 not in the store"),
        ("", ["backfill", "--since", "soon"], 2, '"soon"'),
    ],
)
def test_quiet_says_one_line_when_something_is_wrong(
    shell: Shell, fault: str, arguments: list[str], code: int, words: str
) -> None:
    if fault:
        shell.sandbox.faults.add(fault)
    assert len(shell.run("-q", *arguments).says(code, words).lines) == 1


def test_verbose_shows_each_request(shell: Shell) -> None:
    told = shell.run("-v", "backfill", "--since", "2026-02-01", "--limit", "2").says(0)
    number = r" \d{3} \d+ ms"
    assert re.search(r"GET /stores/sandbox1/v2/orders/count" + number, told.err)
    assert re.search(r"GET /stores/sandbox1/v2/orders" + number, told.err)
    assert len(re.findall(r"POST /direct/webhook/big-commerce/order/\*{4}" + number, told.err)) == 2
    assert "2026-02-01T" not in told.err
    assert "min_date" not in told.err


def test_very_verbose_shows_waits(shell: Shell) -> None:
    shell.sandbox.faults.add("bigcommerce:status@500*1")
    told = shell.run("-vv", "push-order", "218").says(0, "Trying again in 0.0 s")
    assert "Trying again" not in shell.run("-v", "push-order", "218", "--force").err
    assert told.lines


def test_json_logs_are_json_on_every_line(shell: Shell) -> None:
    shell.configure(delivery={"workers": 2}).chmod(0o644)
    shell.sandbox.faults.add("onetribe:status@422#218")
    told = shell.run("--log-format", "json", "-v", "backfill").says(1)
    lines = [json.loads(line) for line in told.lines]
    assert {"info", "error", "warning"} >= {line["level"] for line in lines}
    assert all(line["time"].endswith("+00:00") for line in lines)
    messages = "\n".join(line["message"] for line in lines)
    assert "chmod 600" in messages
    assert "POST /direct/webhook/big-commerce/order/**** 422" in messages
    assert "Order 218 failed" in messages


def test_json_logs_tell_errors_as_json(shell: Shell) -> None:
    told = shell.run("--log-format", "json", "push-order", "abc").says(2)
    [line] = [json.loads(line) for line in told.lines]
    assert line["level"] == "error"
    assert "'abc' is not an order id" in line["message"]


# Crashes


def test_a_crash_prints_a_report_without_values(shell: Shell) -> None:
    """A dependency that breaks in a way of its own is what a bug of ours looks like, too."""
    broken = shell.folder / "broken"
    broken.mkdir()
    (broken / "platformdirs.py").write_text(
        "import os\nraise KeyError(os.environ['BC2OT_ACCESS_TOKEN'])\n"
    )
    shell.set(PYTHONPATH=str(broken))
    told = shell.spawn("push-order", "218")
    told.says(70, "This is a bug in bc2ot", "stays owed", "command push-order", "KeyError")
    assert re.search(r"  bc2ot \d+\.\d+\.\d+, Python 3\.\d+\.\d+, \w+, command", told.err)
    assert "push_order.py:" in told.err
    assert "218" not in told.err.replace("push-order 218", "")
    assert not told.stdout


def test_a_crash_in_this_process(shell: Shell) -> None:
    shell.monkeypatch.setitem(sys.modules, "platformdirs", None)
    told = shell.run("backfill", "--ids", "218")
    told.says(70, "Please report it", "command backfill, ModuleNotFoundError", "places.py:")
    assert "platformdirs" not in told.err


# Ctrl-C and SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_in_flight(
    shell: Shell, make_sandbox: SandboxFactory, number: signal.Signals
) -> None:
    shell.use(make_sandbox(300))
    gate = shell.sandbox.faults.hold("onetribe", times=2)
    process = shell.start("backfill", "--workers", "2")
    gate.wait_arrival()
    process.send_signal(number)
    assert process.stderr is not None
    told = b""
    while b"press Ctrl-C again" not in told:
        told += process.stderr.readline()
    gate.open()
    rest = shell.finish(process).says(130, "Interrupted.", "stays owed")
    assert "stopped at once" not in rest.err
    states = shell.states()
    assert 1 <= states["delivered"] <= 2
    assert "sending" not in states
    assert "unknown" not in states
    shell.sandbox.faults.clear()
    shell.run("backfill").says(0, "already delivered")
    assert set(shell.sandbox.onetribe.counts().values()) == {1}


def test_a_second_ctrl_c_stops_at_once(shell: Shell) -> None:
    gate = _hold_one(shell.sandbox)
    process = shell.start("backfill", "--workers", "1")
    gate.wait_arrival()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while b"press Ctrl-C again" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    shell.finish(process).says(130, "stopped at once")
    gate.open()
    told = shell.run("backfill").says(0, "delivered")
    assert "1 possible duplicate" in told.err


def test_ctrl_c_while_ids_are_awaited_on_stdin(shell: Shell) -> None:
    for command in (["push-order", "-"], ["backfill", "--ids", "-"]):
        process = shell.start(*command, stdin=subprocess.PIPE)
        _wait_until_it_reads(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b"bc2ot: Interrupted."


def _wait_until_it_reads(process: subprocess.Popen[bytes]) -> None:
    """Until the process has nothing to do but to wait for its stdin."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            syscall = Path(f"/proc/{process.pid}/syscall").read_text().split()
            if syscall[:2] == ["0", "0x0"]:  # read() of descriptor 0
                return
        time.sleep(0.01)
    pytest.skip("this system does not tell what a process waits for")


def test_ctrl_c_on_a_terminal_speaks_over_the_bar(shell: Shell) -> None:
    gate = _hold_one(shell.sandbox)
    terminal = Terminal(shell, "backfill", "--workers", "2")
    terminal.wait_for(r"1[0-9] delivered")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("press Ctrl-C again to stop at once")
    gate.open()
    assert terminal.finish() == 130
    assert "\r\x1b[KFinishing what is in flight" in terminal.text
