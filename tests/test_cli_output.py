"""What is printed where: terminals, pipes, readers that leave, -q, -v, logs, crashes, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import pytest

from onetribe_bc.cli.console import Console, printable
from onetribe_bc.sandbox import Fault, Gate, Sandbox
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401


def _hold_one(sandbox: Sandbox) -> Gate:
    """Hold one order at One Tribe until the gate opens; not the first, for which all wait."""
    gate = Gate()
    sandbox.faults.add(Fault("onetribe", "hold", times=1, skip=5, gate=gate))
    return gate


# Terminals


def test_a_terminal_gets_a_bar_and_log_lines_above_it(shell: Shell) -> None:
    gate = _hold_one(shell.sandbox)
    with shell.terminal("-v", "backfill", "--yes", "--workers", "2") as terminal:
        terminal.sees_match(r"1[0-9] delivered, \d+ skipped, 0 failed,")
        gate.open()
        terminal.ends(0)
    assert f"{shell.eligible} delivered" in terminal.text
    lines = re.split(r"[\r\n]+", terminal.shown)
    bars = [line for line in lines if " failed, " in line]
    assert max(map(len, bars)) <= 80
    assert re.search(r"━.*\d+/s", terminal.shown)
    logged = [line for line in lines if "POST /direct" in line]
    assert len(logged) == shell.eligible
    assert not [line for line in logged if "━" in line]


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["-q", "backfill", "--yes"], {}),
        (["backfill", "--yes", "--json"], {}),
        (["--log-format", "json", "backfill", "--yes"], {}),
        (["backfill", "--yes"], {"TERM": "dumb", "NO_COLOR": "1"}),
    ],
)
def test_no_bar_with_quiet_or_json_on_a_dumb_terminal_or_into_a_file(
    shell: Shell, arguments: list[str], variables: dict[str, str]
) -> None:
    shell.set(**variables)
    with shell.terminal(*arguments) as terminal:
        terminal.ends(0)
    assert "\x1b" not in terminal.raw
    assert "━" not in terminal.raw
    assert ("delivered" in terminal.text) is ("-q" not in arguments)
    with shell.terminal("backfill", "--yes", shows_stdout=False) as terminal:
        terminal.ends(0)
    assert "━" not in terminal.raw


def test_no_color_is_respected(shell: Shell) -> None:
    shell.set(NO_COLOR="1")
    with shell.terminal("push-order", "218") as terminal:  # whose bar has no total
        terminal.sees("1 delivered").ends(0)
    assert not re.search(r"\x1b\[(3\d|4\d|9\d|38;[^m]*)m", terminal.raw)


def test_a_pipe_gets_neither_colors_nor_bars(shell: Shell) -> None:
    result = shell.spawn("backfill", "--yes").says(0, f"{shell.eligible} delivered")
    assert b"\x1b" not in result.stderr
    assert not result.stdout


def test_a_terminal_gets_at_most_a_hundred_id_ranges(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(1200))
    with shell.terminal("backfill", "--dry-run") as terminal:
        terminal.sees("... and more; in a pipe or a file, all IDs are printed.").ends(0)
    assert len(re.findall(r"\d{3,4},", terminal.text)) < 130
    assert shell.run("backfill", "--dry-run").out.count(",") > 130


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_locale_that_cannot_write_a_text_ends_no_command(
    shell: Shell, variables: dict[str, str]
) -> None:
    shell.sandbox.hooks.add("store/order/created", "https://hooks.example.com/\u4e2d\xfc")
    shell.set(**variables)
    assert b"hooks.example.com" in shell.spawn("hooks", "list").says(0).stdout
    usage = shell.start("push-order", "\u4e2d218")
    assert b"is not an order id" in usage.communicate(timeout=60)[1]
    assert usage.returncode == 2


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


# Tables


@pytest.mark.parametrize("columns", [60, 120])
@pytest.mark.parametrize(
    "command",
    [["status"], ["history", "218"], ["hooks", "list"]],
    ids=" ".join,
)
def test_each_table_fits_its_terminal(shell: Shell, command: list[str], columns: int) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.run("sync", "--since", "2000-01-01").says(1)
    destination = ["--destination", "https://hooks.example.com/orders", "--header", "X-Secret=x"]
    shell.run("hooks", "create", *destination).says(0)
    with shell.terminal(*command, columns=500) as wide:
        wide.ends(0)
    with shell.terminal(*command, columns=columns) as terminal:
        terminal.ends(0)
    words = [word for word in wide.shown.split() if len(word) <= 16 and not set(word) & set("─:")]
    assert set(words) <= set(terminal.shown.split())
    # The terminal wraps sentences.
    lines = [line for line in terminal.shown.splitlines() if not re.match("Store|Order|Poss", line)]
    assert max(map(len, lines)) <= columns


def test_rows_that_do_not_fit_become_blocks_of_wrapped_cells(shell: Shell) -> None:
    columns = {name: itemgetter(i) for i, name in enumerate(("id", "reason", "answer"))}
    rows = [(1, "it says more than fits a\x1b line", "as it came"), (2, "", "late " * 4)]
    console = Console()
    console._out.width = 30
    console.table(columns, rows)
    console.table(columns, [(3, "short", "")])
    lines = shell.capture.readouterr().out.decode().splitlines()
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


def test_a_table_in_a_pipe_is_as_wide_as_its_content(shell: Shell) -> None:
    shell.set(COLUMNS="40")
    shell.run("push-order", "218").says(0)
    header = shell.run("history", "218").out.splitlines()[1]
    assert header.split() == ["attempt", "started", "result", "answer", "reason"]
    Console().table({"a": itemgetter(0), "b": itemgetter(1)}, [("x" * 200, "[/x]\x1b")])
    assert "x" * 200 + "   [/x]\ufffd" in shell.capture.readouterr().out.decode()


# Readers that leave, and streams that are closed or full


@pytest.mark.parametrize("options", ["--json", "--dry-run"])
def test_a_reader_that_leaves_does_not_end_the_work(shell: Shell, options: str) -> None:
    done = shell.pipe(
        '"$@" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', "backfill", "--yes", *options.split()
    )
    assert done.code == 0
    assert "Broken" not in done.err
    if options == "--json":
        assert shell.states()["delivered"] == shell.eligible


@pytest.mark.parametrize("options", ["", "-v"])
def test_a_reader_of_stderr_that_leaves_does_not_end_the_work(shell: Shell, options: str) -> None:
    script = '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'
    assert shell.pipe(script, *options.split(), "backfill", "--yes").code == 0
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
    assert shell.pipe(f'"$@" {closed}', "backfill", "--yes").code == 0
    assert shell.states()["delivered"] == shell.eligible


NEEDS_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@NEEDS_FULL
def test_output_that_cannot_be_written_is_reported_and_messages_are_dropped(shell: Shell) -> None:
    done = shell.pipe('"$@" >/dev/full', "backfill", "--yes", "--json")
    done.says(3, "output cannot be written: No space left", "in the ledger")
    assert shell.pipe('"$@" 2>/dev/full', "backfill", "--yes", "--force").code == 0
    assert set(shell.sandbox.onetribe.counts().values()) == {2}


@NEEDS_FULL
@pytest.mark.parametrize("arguments", ["", "--help", "--version", "sync -h", "completion zsh"])
def test_help_that_cannot_be_written_is_reported(shell: Shell, arguments: str) -> None:
    done = shell.pipe('"$@" >/dev/full', *arguments.split())
    assert done.code == 3
    assert done.lines == ["bc2ot: The output cannot be written: No space left on device."]


# -q, -v, logs


@pytest.mark.parametrize(
    ("fault", "arguments", "code", "words"),
    [
        (
            "onetribe:status@422#218",
            ["backfill", "--yes"],
            1,
            "Order 218 failed: One Tribe responded with 422",
        ),
        ("onetribe:status@422", ["backfill", "--yes"], 1, ", and "),
        ("onetribe:status@401", ["backfill", "--yes"], 4, "Compare onetribe.url"),
        ("bigcommerce:status@401", ["backfill", "--yes"], 4, "Check store_hash"),
        ("", ["backfill", "--ids", "218,9999", "--dry-run"], 1, "Order 9999 not in the store"),
        ("", ["backfill", "--since", "soon"], 2, '"soon"'),
    ],
)
def test_quiet_prints_one_line_for_a_problem(
    shell: Shell, fault: str, arguments: list[str], code: int, words: str
) -> None:
    if fault:
        shell.sandbox.faults.add(fault)
    assert len(shell.run("-q", *arguments).says(code, words).lines) == 1


def test_quiet_reports_only_a_problem_and_that_once(shell: Shell) -> None:
    result = shell.run("-q", "backfill", "--yes")
    assert (result.code, result.stdout, result.stderr) == (0, b"", b"")
    result = shell.run("-q", "push-order", "9999").says(1)
    assert result.err == "Order 9999 not in the store: BigCommerce has no such order.\n"


def test_verbose_shows_each_request(shell: Shell) -> None:
    result = shell.run("-v", "backfill", "--since", "2026-02-01", "--limit", "2").says(0)
    number = r" \d{3} \d+ ms"
    assert re.search(r"GET /stores/sandbox1/v2/orders/count" + number, result.err)
    assert re.search(r"GET /stores/sandbox1/v2/orders" + number, result.err)
    assert (
        len(re.findall(r"POST /direct/webhook/big-commerce/order/\*{4}" + number, result.err)) == 2
    )
    assert "2026-02-01T" not in result.err
    assert "min_date" not in result.err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("bigcommerce", "status", status=500, times=1), "Trying again in 0.0 s"),
        (
            Fault("onetribe", "status", status=503, times=1),
            "Order 218: One Tribe responded with 503. Retrying in 0.0 s.",
        ),
        (
            Fault("onetribe", "status", status=429, times=1, headers=(("Retry-After", "0"),)),
            "One Tribe responded with 429 and asks to wait (order 218): no order is sent for 0.0 s",
        ),
    ],
)
def test_only_very_verbose_shows_waits(shell: Shell, fault: Fault, message: str) -> None:
    shell.sandbox.faults.add(fault)
    shell.run("-vv", "push-order", "218").says(0, message)
    shell.sandbox.faults.replace([replace(fault)])
    assert message not in shell.run("-v", "push-order", "218", "--force").says(0).err


def test_json_logs_are_json_on_every_line(shell: Shell) -> None:
    shell.configure(delivery={"workers": 2}).chmod(0o644)
    shell.sandbox.faults.add("onetribe:status@422#218")
    result = shell.run("--log-format", "json", "-v", "backfill", "--yes").says(1)
    lines = [json.loads(line) for line in result.lines]
    assert {"info", "error", "warning"} >= {line["level"] for line in lines}
    assert all(line["time"].endswith("+00:00") for line in lines)
    messages = "\n".join(line["message"] for line in lines)
    assert "chmod 600" in messages
    assert "POST /direct/webhook/big-commerce/order/**** 422" in messages
    assert "Order 218 failed" in messages
    line = shell.run("--log-format", "json", "push-order", "abc").says(2).lines[-1]
    assert "'abc' is not an order id" in json.loads(line)["message"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_is_masked_wherever_it_would_be_printed(shell: Shell, log_format: str) -> None:
    """As an argument, in a path and in a URL; `shell` fails if the output holds the token."""
    token = shell.sandbox.access_token
    as_usual = ("--log-format", log_format)
    shell.run(*as_usual, "push-order", token).says(2, "'****' is not an order id")
    shell.set(BC2OT_LEDGER=str(shell.folder / token / "ledger.db"))
    shell.run(*as_usual, "push-order", "218").says(0, "Created a new ledger", "/****/ledger.db")
    shell.sandbox.hooks.add("store/order/created", "https://h.example.com/s3cr3t-ab")
    shell.set(BC2OT_CLIENT_SECRET="s3cr3t-ab")
    [hook] = shell.run(*as_usual, "hooks", "list", "--json").says(0).json["hooks"]
    assert hook["destination"] == "https://h.example.com/****"


# Crashes


def _break(shell: Shell, code: str, *, module: str = "platformdirs") -> None:
    """Replace a dependency with `code`, which runs when it is imported."""
    broken = shell.folder / "broken"
    broken.mkdir()
    (broken / f"{module}.py").write_text(code)
    shell.set(PYTHONPATH=str(broken))


def test_a_crash_prints_a_report_without_values_of_it_or_its_causes(shell: Shell) -> None:
    _break(
        shell,
        "try:\n    int('hunter2')\nexcept ValueError as error:\n"
        "    error.add_note('hunter2')\n    raise KeyError('hunter2') from error\n",
    )
    result = shell.spawn("push-order", "218")
    result.says(70, "This is a bug in bc2ot", "stay owed", "push_order.py:")
    report = r"  bc2ot \d+\.\d+\.\d+, Python 3\.\d+\.\d+, \w+, command push-order, KeyError"
    assert re.search(report, result.err)
    assert not [word for word in ("hunter2", "ValueError", " 218") if word in result.err]
    assert not result.stdout


def test_a_crash_in_a_thread_is_reported_like_any_other(shell: Shell) -> None:
    _break(
        shell,
        "import pathlib, threading\n"
        "def fail():\n    raise KeyError('hunter2')\n"
        "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\n"
        "def user_config_path(_):\n    return pathlib.Path('/nowhere')\n"
        "user_state_path = user_config_path\n",
    )
    result = shell.spawn("push-order", "218").says(70, "This is a bug", "push-order, KeyError")
    assert "hunter2" not in result.err


def test_with_json_a_crash_and_wrong_usage_are_json_too(shell: Shell) -> None:
    _break(shell, "raise KeyError('hunter2')\n")
    shell.spawn().says(70, "This is a bug", "command ?, KeyError", "overview.py:")
    for arguments in (("--log-format", "json", "status"), ("status", "--log-format=json")):
        (line,) = shell.spawn(*arguments).says(70, "This is a bug").err.splitlines()
        assert json.loads(line)["level"] == "error"
    (line,) = shell.run("--log-format", "json", "stauts").says(2).err.splitlines()
    assert "Did you mean 'status'?" in json.loads(line)["message"]


# Ctrl-C and SIGTERM


WRAPPED = """\
class Descriptor:
    def __set_name__(self, owner, name): raise KeyboardInterrupt
class Owner:
    a = Descriptor()
"""


@pytest.mark.parametrize(
    ("code", "module"), [("raise KeyboardInterrupt\n", "click"), (WRAPPED, "platformdirs")]
)
def test_an_interrupt_during_an_import_is_not_a_bug(shell: Shell, code: str, module: str) -> None:
    _break(shell, code, module=module)
    assert shell.spawn("status").says(130, "bc2ot: Interrupted.").err.count("\n") == 1


def test_ctrl_c_while_ids_are_awaited_on_stdin(shell: Shell) -> None:
    for command in (["push-order", "-"], ["backfill", "--ids", "-"]):
        process = shell.start(*command, stdin=subprocess.PIPE)
        _wait_until_it_reads(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b"bc2ot: Interrupted."


def _wait_until_it_reads(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process reads from its stdin."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            syscall = Path(f"/proc/{process.pid}/syscall").read_text().split()
            if syscall[:2] == ["0", "0x0"]:  # read() of descriptor 0
                return
        time.sleep(0.01)
    pytest.skip("this system does not show what a process waits for")


@pytest.mark.parametrize(("term", "begin"), [("xterm", "\r\x1b[K"), ("dumb", "")])
def test_ctrl_c_on_a_terminal_replaces_the_bar(shell: Shell, term: str, begin: str) -> None:
    shell.set(TERM=term)
    gate = _hold_one(shell.sandbox)
    with shell.terminal("backfill", "--yes", "--workers", "2") as terminal:
        gate.wait_arrival()
        terminal.kill(signal.SIGINT)
        terminal.sees("press Ctrl-C again to stop immediately")
        gate.open()
        terminal.ends(130)
    assert f"{begin}Finishing what is in flight" in terminal.raw
    assert ("\x1b" in terminal.raw) is (term == "xterm")
