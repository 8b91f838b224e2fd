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
from operator import itemgetter
from pathlib import Path

import pytest

from onetribe_bc.cli.console import Console
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
        # Python's view of the environment: readline, which pytest loads, adds COLUMNS behind it.
        self.process = shell.start(
            *arguments, **streams, env=dict(os.environ), start_new_session=True
        )
        os.close(slave)
        self._bytes = b""

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
        return self._bytes.decode("utf-8", "replace")

    @property
    def shown(self) -> str:
        """The text without what moves the cursor or makes letters bold."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    def _read(self) -> bytes:
        if not select.select([self._master], [], [], 30)[0]:
            raise AssertionError(f"Nothing comes any more after {self.text!r}")
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # Linux tells so that nobody has the other end any more
            return b""
        self._bytes += piece
        return piece


def _hold_one(sandbox: Sandbox) -> Gate:
    """One order hangs at One Tribe until the gate is opened; not the first, for which all wait."""
    gate = Gate()
    sandbox.faults.add(Fault("onetribe", "hold", times=1, skip=5, gate=gate))
    return gate


# Terminals


def test_a_terminal_gets_a_bar_with_what_was_done(shell: Shell) -> None:
    gate = _hold_one(shell.sandbox)
    terminal = Terminal(shell, "backfill", "--workers", "2")
    terminal.wait_for(r"\d+ delivered")
    terminal.wait_for(r"1[0-9] delivered, \d+ skipped, 0 failed,")
    gate.open()
    assert terminal.finish() == 0
    assert f"{shell.eligible} delivered" in terminal.text
    shown = terminal.shown
    bars = [line for line in re.split(r"[\r\n]+", shown) if " failed, " in line]
    assert bars
    assert max(map(len, bars)) <= 80
    assert "━" in shown
    assert re.search(r"\d+/s", shown)


@pytest.mark.parametrize(
    "arguments",
    [["-q", "backfill"], ["backfill", "--json"], ["--log-format", "json", "backfill"]],
)
def test_no_bar_with_quiet_or_json(shell: Shell, arguments: list[str]) -> None:
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
    logged = [line for line in re.split(r"[\r\n]+", terminal.shown) if "POST /direct" in line]
    assert len(logged) == shell.eligible
    assert not [line for line in logged if "━" in line]


def test_a_pipe_gets_neither_colors_nor_bars(shell: Shell) -> None:
    told = shell.spawn("backfill").says(0, f"{shell.eligible} delivered")
    assert b"\x1b" not in told.stderr
    assert not told.stdout


# Tables


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "command",
    [["status"], ["history", "218"], ["hooks", "list"], ["reconcile"]],
    ids=" ".join,
)
def test_each_table_fits_its_terminal(shell: Shell, command: list[str], columns: int) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.run("sync", "--since", "2000-01-01").says(1)
    there = ["--destination", "https://hooks.example.com/orders", "--header", "X-Secret=x"]
    shell.run("hooks", "create", *there).says(0)
    wide = Terminal(shell, *command, columns=500)
    assert wide.finish() == (1 if command == ["reconcile"] else 0)
    terminal = Terminal(shell, *command, columns=columns)
    terminal.finish()
    # What is about now, reconcile's window, goes on between the two.
    words = [word for word in wide.shown.split() if len(word) <= 16 and not set(word) & set("─:")]
    assert set(words) <= set(terminal.shown.split())
    # Sentences are the terminal's to wrap.
    lines = [
        line for line in terminal.shown.split("\r\n") if not re.match("Store|Order|Poss", line)
    ]
    if command != ["reconcile"]:
        assert max(map(len, lines)) <= columns


def test_a_terminal_too_narrow_for_a_table_gets_a_line_for_each_cell(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.run("push-order", "218").says(1)
    told = Terminal(shell, "history", "218", columns=40)
    assert told.finish() == 0
    lines = told.shown.split("\r\n")
    assert "attempt  1" in lines
    assert "result   failed" in lines
    assert [line for line in lines if line.startswith("         ")]  # the reason goes on here


def test_blocks_wrap_text_at_words_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", "30")
        columns = {name: itemgetter(i) for i, name in enumerate(("id", "reason", "answer"))}
        Console().table(
            columns, [(1, "it says more than fits a\x1b line", "as it came"), (2, "", "late " * 4)]
        )
        Console().table(columns, [(3, "short", "")])
    told = b""
    with contextlib.suppress(OSError):  # how Linux tells that nobody has the other end any more
        while piece := os.read(master, 4096):
            told += piece
    os.close(master)
    shown = re.sub(r"\x1b\[[0-9;?]*m", "", told.decode())
    lines = [line.rstrip() for line in shown.split("\r\n")]
    assert lines[:7] == [
        "id      1",
        "reason  it says more than fits",
        "        a\N{REPLACEMENT CHARACTER} line",
        "answer  as it came",
        "",
        "id      2",
        "answer  late late late late",
    ]
    assert [lines[7].split(), lines[9].split()] == [list(columns), ["3", "short"]]


def test_a_pipe_gets_a_table_however_narrow_the_terminal_is(shell: Shell) -> None:
    shell.set(COLUMNS="40")
    shell.run("push-order", "218").says(0)
    header = shell.run("history", "218").out.splitlines()[1]
    assert header.split() == ["attempt", "started", "result", "answer", "reason"]


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
@pytest.mark.parametrize("arguments", ["", "--help", "--version", "sync -h", "completion zsh"])
def test_help_that_cannot_be_written_is_told(shell: Shell, arguments: str) -> None:
    done = shell.pipe('"$@" >/dev/full', *arguments.split())
    assert (done.code, done.lines) == (
        3,
        ["bc2ot: The output cannot be written: No space left on device."],
    )


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
        ("onetribe:status@401", ["backfill"], 4, "Compare onetribe.url"),
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


def test_quiet_says_what_is_wrong_with_a_single_order_once(shell: Shell) -> None:
    told = shell.run("-q", "push-order", "9999").says(1)
    assert told.err == "Order 9999 not in the store: BigCommerce has no such order.\n"


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


def test_very_verbose_shows_waits_for_one_tribe_as_well(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@503*1")
    told = shell.run("-vv", "push-order", "218")
    told.says(0, "Order 218: One Tribe answered 503. Trying again in 0.0 s.")
    headers = (("Retry-After", "0"),)
    shell.sandbox.faults.add(Fault("onetribe", "status", status=429, times=1, headers=headers))
    told = shell.run("-vv", "push-order", "218", "--force")
    told.says(0, "Order 218: One Tribe answered 429, and asks to wait. Nobody sends for 0.0 s.")


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
    told.says(70, "This is a bug in bc2ot", "stay owed", "command push-order", "KeyError")
    assert re.search(r"  bc2ot \d+\.\d+\.\d+, Python 3\.\d+\.\d+, \w+, command", told.err)
    assert "push_order.py:" in told.err
    assert " 218" not in told.err
    assert not told.stdout


def _break(shell: Shell, code: str) -> None:
    """A dependency that does something of its own when it is imported."""
    broken = shell.folder / "broken"
    broken.mkdir()
    (broken / "platformdirs.py").write_text(code)
    shell.set(PYTHONPATH=str(broken))


def test_a_crash_tells_no_value_of_what_led_to_it_either(shell: Shell) -> None:
    _break(
        shell,
        "try:\n    int('hunter2')\nexcept ValueError as error:\n"
        "    error.add_note('hunter2')\n    raise KeyError('hunter2') from error\n",
    )
    told = shell.spawn("push-order", "218").says(70, "KeyError")
    assert "hunter2" not in told.err
    assert "ValueError" not in told.err


def test_a_crash_in_a_thread_is_reported_like_any_other(shell: Shell) -> None:
    _break(
        shell,
        "import pathlib, threading\n"
        "def fail():\n    raise KeyError('hunter2')\n"
        "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\n"
        "def user_config_path(_):\n    return pathlib.Path('/nowhere')\n"
        "user_state_path = user_config_path\n",
    )
    told = shell.spawn("push-order", "218").says(70, "This is a bug", "push-order, KeyError")
    assert "hunter2" not in told.err


def test_a_crash_before_there_is_a_command_is_reported(shell: Shell) -> None:
    _break(shell, "raise KeyError('hunter2')\n")
    told = shell.spawn().says(70, "This is a bug", "command ?, KeyError", "overview.py:")
    assert "hunter2" not in told.err


def test_with_json_a_crash_and_wrong_usage_are_json_too(shell: Shell) -> None:
    _break(shell, "raise KeyError('hunter2')\n")
    for arguments in (("--log-format", "json", "status"), ("status", "--log-format=json")):
        (line,) = shell.spawn(*arguments).says(70, "This is a bug").err.splitlines()
        assert json.loads(line)["level"] == "error"
    (line,) = shell.run("--log-format", "json", "stauts").says(2).err.splitlines()
    assert "Did you mean 'status'?" in json.loads(line)["message"]


# Ctrl-C and SIGTERM


def test_an_interrupt_while_the_program_starts_is_one_like_any_other(shell: Shell) -> None:
    broken = shell.folder / "broken"
    broken.mkdir()
    (broken / "click.py").write_text("raise KeyboardInterrupt\n")
    shell.set(PYTHONPATH=str(broken))
    assert shell.spawn("status").says(130, "bc2ot: Interrupted.").err.count("\n") == 1


def test_an_interrupt_that_an_import_turned_into_something_else_is_no_bug(shell: Shell) -> None:
    _break(
        shell,
        "class Descriptor:\n"
        "    def __set_name__(self, owner, name):\n        raise KeyboardInterrupt\n"
        "class Owner:\n    a = Descriptor()\n",
    )
    assert shell.spawn("status").says(130, "bc2ot: Interrupted.").err.count("\n") == 1


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
    rest = shell.finish(process).says(130, "Interrupted.", "stay owed")
    assert "stopped immediately" not in rest.err
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
    shell.finish(process).says(130, "stopped immediately")
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
    terminal.wait_for("press Ctrl-C again to stop immediately")
    gate.open()
    assert terminal.finish() == 130
    assert "\r\x1b[KFinishing what is in flight" in terminal.text
