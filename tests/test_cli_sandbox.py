"""`sandbox` and `demo`: the two commands that need no account."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from onetribe_bc.sandbox import FAULT_SYNTAX, FaultKind
from tests.shell import Shell, shell_fixture  # noqa: F401


def _first_lines(process: subprocess.Popen[bytes], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().decode() for _ in range(number)]


# sandbox


def test_the_printed_exports_point_a_shell_at_the_sandbox_and_its_ledger(shell: Shell) -> None:
    shell.unset_all()
    sandbox = shell.start("sandbox", "--port", "0", "--orders", "15", "--latency", "0")
    lines = _first_lines(sandbox, 6)
    variables = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    assert {"BC2OT_STORE_HASH", "BC2OT_ACCESS_TOKEN", "BC2OT_ONETRIBE_URL"} < set(variables)
    ledger = Path(variables["BC2OT_LEDGER"])
    script = "".join(lines) + '"$@"'
    shell.pipe(script, "backfill", "--yes").says(0, "16 orders seen")
    sent = shell.pipe(script, "status", "--json").json["states"]["delivered"]
    assert sent > 5
    assert ledger.exists()
    assert not shell.ledger.exists()
    sandbox.send_signal(signal.SIGINT)
    told = shell.finish(sandbox).says(0, "Paste these lines", f"One Tribe received {sent} orders.")
    assert "in flight" not in told.err
    assert not ledger.parent.exists()


def test_the_help_of_the_sandbox_lists_every_fault(shell: Shell) -> None:
    told = " ".join(shell.run("sandbox", "--help").out.split())
    assert FAULT_SYNTAX.replace("…", "...") in told
    for kind in set(FaultKind) - {FaultKind.HOLD}:
        assert re.search(rf" {kind}(@[A-Z]+)? ", told)
    assert "--destination" in told


def test_a_sandbox_runs_on_when_its_stdout_is_closed_and_may_be_quiet(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sandbox = shell.start("sandbox", "--port", "0", stdout=writing)
    os.close(writing)
    assert sandbox.stderr is not None
    assert b"Both services run" in sandbox.stderr.readline()
    sandbox.send_signal(signal.SIGINT)
    shell.finish(sandbox).says(0, "One Tribe received 0 orders.")
    quiet = shell.start("-q", "sandbox", "--port", "0")
    _first_lines(quiet, 6)
    quiet.send_signal(signal.SIGINT)
    assert shell.finish(quiet).says(0).lines == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("onetribe:5x", ["an unknown kind", "5xx", "SERVICE:KIND"]),
        ("onetribe:status@99", ["99", "SERVICE:KIND"]),
    ],
)
def test_an_invalid_fault_is_reported(shell: Shell, fault: str, words: list[str]) -> None:
    shell.run("sandbox", "--port", "0", "--fault", fault).says(2, fault, *words)


@pytest.mark.parametrize("offset", [0, -1])
def test_a_port_in_use_is_reported(shell: Shell, offset: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] + offset
        told = shell.run("sandbox", "--port", str(port))
        told.says(2, "cannot be used", "--port", "0 to pick free ports")


# demo


@pytest.mark.parametrize("broken", [False, True])
def test_the_demo_shows_that_both_sides_agree_whatever_is_configured(
    shell: Shell, broken: bool
) -> None:
    if broken:
        shell.write("no: [yaml")
        home = Path(os.environ["HOME"], ".config", "bc2ot")
        home.mkdir(parents=True)
        (home / "config.yaml").write_text("delivery: {workers: none}")
        shell.set(BC2OT_CONFIG="/nowhere.yaml", BC2OT_STORE_HASH="!", BC2OT_WORKERS="none")
        shell.set(BC2OT_LEDGER="/nowhere/ledger.db", BC2OT_ONETRIBE_URL="nonsense")
    told = shell.run("demo", "--orders", "60").says(0, "60 orders seen", "already delivered")
    sent, received, duplicates, different = told.out.splitlines()[-1].split()
    assert sent == received != "0"
    assert (duplicates, different) == ("0", "0")
    assert "****" in told.err
    assert not shell.sandbox.onetribe.received


def test_a_quiet_demo_prints_the_comparison_only_and_leaves_no_file_behind(shell: Shell) -> None:
    home = Path(os.environ["HOME"])
    temporary = home / "tmp"
    temporary.mkdir()
    shell.set(TMPDIR=str(temporary))
    shell.monkeypatch.setattr(tempfile, "tempdir", None)  # it remembers the last one
    before = sorted(home.rglob("*"))
    told = shell.run("-q", "demo", "--orders", "40").says(0)
    assert told.err == ""
    assert told.out.startswith("sent ")
    assert sorted(home.rglob("*")) == before


def test_a_verbose_demo_masks_the_key(shell: Shell) -> None:
    told = shell.run("-v", "demo", "--orders", "5").says(0, "POST /direct/", "POST /stores/")
    assert "demo-key" not in told.err


def test_ctrl_c_ends_the_demo(shell: Shell) -> None:
    temporary = shell.folder / "tmp"
    temporary.mkdir()
    shell.set(TMPDIR=str(temporary))
    demo = shell.start("demo", "--orders", "20000")
    assert demo.stderr is not None
    while b"2. Backfill" not in demo.stderr.readline():
        pass
    demo.send_signal(signal.SIGINT)
    shell.finish(demo).says(130, "Interrupted.")
    assert not list(temporary.iterdir())
