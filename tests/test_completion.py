"""`bc2ot completion`: the scripts in the shells themselves, and what is completed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys

import pytest

from onetribe_bc.cli.registry import COMMANDS
from tests.shell import Outcome, Shell, shell_fixture  # noqa: F401

SHELLS = ("bash", "zsh", "fish")


def _needs(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


@pytest.fixture(name="stores")
def stores_fixture(shell: Shell) -> Shell:
    """A configuration file with two stores, and bc2ot on the PATH."""
    shell.unset_all()
    store = {"bigcommerce": {"store_hash": "abc"}}
    shell.configure(stores={"uk": store, "us": store})
    command = shell.folder / "bin" / "bc2ot"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m onetribe_bc "$@"\n')
    command.chmod(0o755)
    shell.set(PATH=f"{command.parent}:{os.environ['PATH']}")
    return shell


def asked(shell: Shell, line: str, *, as_shell: str = "bash") -> Outcome:
    """Return what a shell gets when TAB is pressed at the end of `line`."""
    words = line.split(" ")
    shell.set(
        _BC2OT_COMPLETE=f"{as_shell}_complete",
        COMP_WORDS=line,
        COMP_CWORD=words[-1] if as_shell == "fish" else str(len(words) - 1),
    )
    try:
        return shell.run()
    finally:
        shell.set(_BC2OT_COMPLETE=None)


def completed(shell: Shell, line: str) -> list[str]:
    """The completions of `line`."""
    result = asked(shell, line)
    assert (result.code, result.err) == (0, "")
    return [item.partition(",")[2] for item in result.out.split("\n") if item]


# What is completed


def test_commands_and_options_are_completed(shell: Shell) -> None:
    assert completed(shell, "bc2ot ") == list(COMMANDS)
    assert completed(shell, "bc2ot h") == ["hooks", "handle-callback", "history"]
    assert {"create", "list", "enable"} < set(completed(shell, "bc2ot hooks "))
    assert completed(shell, "bc2ot sync hooks ") == []
    assert "--log-format" in completed(shell, "bc2ot --")
    assert "--destination" in completed(shell, "bc2ot hooks create --")


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("bc2ot backfill --by ", ["created", "modified"]),
        ("bc2ot completion ", list(SHELLS)),
        ("bc2ot export --state SK", ["skipped"]),
        ("bc2ot backfill --status ship", ["Shipped"]),
        ("bc2ot backfill --status partially", ['"Partially Shipped"', '"Partially Refunded"']),
        ("bc2ot --store ", ["uk", "us"]),
        ("bc2ot sync --store uk", ["uk"]),
        ("bc2ot hooks list --store u", ["uk", "us"]),
        ("bc2ot push-order --d", ["--dry-run"]),
        ("bc2ot sync --log-f", ["--log-format"]),
        ("bc2ot hooks create --scope store/order/cre", ["store/order/created"]),
        ("bc2ot hooks list --scope store/order/cre", ["store/order/created"]),
    ],
)
def test_values_and_begun_options_are_completed(
    stores: Shell, line: str, values: list[str]
) -> None:
    assert completed(stores, line) == values


def test_zsh_and_fish_get_a_summary_of_each_command(shell: Shell) -> None:
    for as_shell in ("zsh", "fish"):
        result = asked(shell, "bc2ot syn", as_shell=as_shell).out
        about = COMMANDS["sync"]
        assert (about.replace(",", ";") if as_shell == "fish" else about) in result


@pytest.mark.parametrize("line", ["handle-callback c", "init --access-token-file c"])
def test_files_are_completed(shell: Shell, line: str) -> None:
    assert "file,c" in asked(shell, f"bc2ot {line}").out


def test_completion_calls_neither_service_and_creates_no_ledger(stores: Shell) -> None:
    completed(stores, "bc2ot sync --store ")
    assert not stores.sandbox.requests
    assert not stores.ledger.exists()


# Nothing but completions ever comes out


@pytest.mark.parametrize(
    "line", ["bc2ot --config nowhere.yaml --store ", "bc2ot retry abc --", "bc2ot -v -q sync "]
)
def test_completion_prints_no_errors(shell: Shell, line: str) -> None:
    assert asked(shell, line).err == ""


@pytest.mark.parametrize("asking", ["tcsh_complete", "bash_nonsense", "bash_complete", "x"])
def test_an_invalid_completion_request_prints_nothing(shell: Shell, asking: str) -> None:
    shell.set(_BC2OT_COMPLETE=asking, COMP_WORDS=None, COMP_CWORD=None)
    result = shell.run()
    assert (result.code, result.stdout, result.stderr) == (1, b"", b"")


def test_a_bug_during_completion_prints_nothing(stores: Shell) -> None:
    broken = stores.folder / "broken"
    broken.mkdir()
    (broken / "platformdirs.py").write_text("raise KeyError('hunter2')\n")
    stores.set(PYTHONPATH=str(broken), _BC2OT_COMPLETE="bash_complete")
    stores.set(COMP_WORDS="bc2ot --store ", COMP_CWORD="2")
    result = stores.spawn()
    assert (result.code, result.stdout, result.stderr) == (1, b"", b"")


# In the shells


@pytest.mark.parametrize("name", SHELLS)
def test_each_script_is_valid_in_its_shell(shell: Shell, name: str) -> None:
    _needs("bash")
    result = shell.run("completion", name)
    assert (result.code, result.err) == (0, "")
    assert f"bc2ot completion {name}" in shell.run("completion", "--help").out
    _needs(name)
    script = shell.write(result.out, name="script")
    done = subprocess.run([name, "-n", str(script)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_bash_completes(stores: Shell) -> None:
    _needs("bash")
    script = (
        'eval "$(bc2ot completion bash)"\n'
        "COMP_WORDS=(bc2ot sync --store u) COMP_CWORD=3\n"
        '_bc2ot_completion bc2ot\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("uk\nus\n", "")


def test_fish_completes(stores: Shell) -> None:
    _needs("fish")
    script = "bc2ot completion fish | source; complete -C 'bc2ot sync --store u'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["uk", "us"], "")


def test_zsh_completes(stores: Shell) -> None:
    _needs("zsh")
    master, slave = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    ) as zsh:
        os.close(slave)
        try:
            script = 'autoload -Uz compinit && compinit -u && eval "$(bc2ot completion zsh)"'
            os.write(master, f"{script} && echo 'rea''dy'\n".encode())
            _wait_for(master, b"ready\r")
            os.write(master, b"bc2ot history --js\t")
            _wait_for(master, b"--json")
        finally:
            zsh.kill()
            os.close(master)


def _wait_for(terminal: int, words: bytes) -> None:
    shown = b""
    while words not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 4096)
