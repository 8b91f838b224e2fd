"""The machine that bc2ot runs on: users, signals, limits, terminals, and other users' files."""

from __future__ import annotations

import copy
import os
import pickle
import pty
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.api.webhook import SECRET_HEADER
from onetribe_bc.cli.console import json_text
from onetribe_bc.cli.orders import _csv_row
from onetribe_bc.config.settings import BigCommerceSettings
from onetribe_bc.secret import Secret
from onetribe_bc.web.server import MAX_CONNECTIONS, max_connections
from tests.callbacks import Client, callback, signed, until
from tests.configuring import FULL, Desk
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.test_handle_callback import held_up
from tests.test_serve import responds, serving
from tests.wire import free_port

STRANGER = 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "work").mkdir()
    return Desk(tmp_path)


# Values with a shell's habit

HABITS = ["$HOME/x.db", "${HOME}/x.db", "'/x/y.db'", '"/x/y.db"', "%S/x.db", "/x/%h/y.db",
          "/x/$Y/z", "postgresql+psycopg://u:p4ss@h/x", "file:///x.db", "%APPDATA%/x", "LEDGER=/x",
          "/x/`date`/y.db", "/x/{{ name }}/y.db", "/x/%(here)s/y.db", "/x/y.db # mine", "/x/y.db;",
          " /x"]  # fmt: skip


@pytest.mark.parametrize("path", [*HABITS, "x.db", "./x.db", "~", "../x.db"])
def test_a_path_in_the_environment_that_a_shell_left_behind_is_an_error(
    desk: Desk, path: str
) -> None:
    desk.environ = {"BC2OT_LEDGER": path}
    told = desk.refusal(FULL)
    assert "BC2OT_LEDGER in the environment: ledger " in told
    assert "p4ss" not in told
    desk.environ = {"BC2OT_CONFIG": path}
    assert "BC2OT_CONFIG" in desk.refusal(FULL)


@pytest.mark.parametrize("path", HABITS[:-1])
def test_a_path_in_the_file_that_a_shell_left_behind_is_an_error(desk: Desk, path: str) -> None:
    escaped = path.replace("$", "$$").replace("'", "''")
    told = desk.refusal(f"{FULL}ledger: '{escaped}'\n")
    assert "line 6: ledger " in told
    assert list(desk.cwd.iterdir()) == [desk.file]


@pytest.mark.parametrize(
    "path", ["/x/y.db", "~/y.db", "/x/50%/y.db", "/x/a$1/y.db", "/x/ü (1).db", "/x/a #1/y.db"]
)
def test_a_plain_path_in_the_environment_is_taken(desk: Desk, path: str) -> None:
    desk.environ = {"BC2OT_LEDGER": path}
    assert Path(str(desk.load(FULL).ledger)).name == Path(path).name


SECRETS = ["$TOKEN", "${TOKEN}", "$(cat token)", "'t0ken'", '"t0ken"', "TOKEN=t0ken",
           "export TOKEN=t0ken", "`cat", "\u201ct0ken\u201d", "%TOKEN%", "\\$TOKEN", "$$TOKEN",
           "{{t0ken}}"]  # fmt: skip


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_that_a_shell_left_behind_is_an_error(desk: Desk, value: str) -> None:
    desk.environ = {"BC2OT_ACCESS_TOKEN": value}
    told = desk.refusal(FULL)
    assert "bigcommerce.access_token " in told
    assert "t0ken" not in told
    desk.environ = {}
    desk.write(value, desk.cwd / "token")
    assert "line 3" in desk.refusal(
        FULL.replace("access_token: top-token", "access_token_file: token")
    )


@given(st.text("abcXYZ019+/_-.:", min_size=1, max_size=40), st.sampled_from(["", "=", "=="]))
def test_a_secret_in_base64_is_never_taken_for_an_assignment(text: str, padding: str) -> None:
    from onetribe_bc.config.kinds import CREDENTIAL

    assert CREDENTIAL.read(text + padding).reveal() == text + padding


# The ledger


def test_making_a_new_ledger_is_said(shell: Shell) -> None:
    shell.run("push-order", "218").says(0, f"Created a new ledger, {shell.ledger}.")
    assert "Created" not in shell.run("push-order", "218").err
    shell.set(BC2OT_LEDGER=str(shell.folder / "else.db"))
    shell.run("status").says(0, "Created a new ledger", "else.db")


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_first_sync_says_that_earlier_orders_need_since(
    shell: Shell, quiet: tuple[str, ...]
) -> None:
    shell.run("sync", *quiet).says(0, "starts from now", "--since")
    assert "starts from now" not in shell.run("sync", *quiet).err


def test_doctor_compares_the_ledger_with_the_store(shell: Shell) -> None:
    first = shell.run("doctor").out
    assert "and the ledger knows 0. If orders were sent before, this is not the ledger" in first
    shell.run("push-order", "218")
    assert "and the ledger knows 1." in shell.run("doctor").out
    shell.run("backfill", "--yes")
    assert "the ledger knows" not in shell.run("doctor").out


# Statuses


@pytest.mark.parametrize(
    ("status", "meant"), [("Canceled", "Cancelled"), ("Shiped", "Shipped"), ("Nonsense", "")]
)
def test_a_status_that_the_store_does_not_have_is_a_configuration_error(
    shell: Shell, status: str, meant: str
) -> None:
    file = shell.configure(orders={"skip_statuses": ["Incomplete", status]})
    for command in (["sync"], ["backfill", "--yes"], ["push-order", "218"]):
        told = shell.run(*command).says(
            3, str(file), ", line 2: orders.skip_statuses", repr(status)
        )
        assert not meant or f"did you mean {meant}?" in told.err
    told = shell.run("doctor")
    assert told.code == 3
    assert f"FAIL  {file}" in told.out
    shell.run("backfill", "--yes", "--status", status).says(2, repr(status))
    assert shell.sandbox.onetribe.counts() == {}


# Other users' files


@as_root
@pytest.mark.parametrize("linked", [False, True])
def test_a_configuration_that_another_user_left_here_is_refused_until_it_is_named(
    shell: Shell, linked: bool
) -> None:
    file = shell.configure(timezone="UTC")
    if linked:
        real = file.rename(shell.folder / "real.yaml")
        file.symlink_to(real)
    os.chown(file, STRANGER, -1, follow_symlinks=False)
    told = shell.run("push-order", "218").says(3, "belongs to user 12345", f"--config {file}")
    assert shell.sandbox.requests == (), told
    told = shell.run("--config", str(file), "push-order", "218").says(0)
    assert linked or "Warning: " in told.err
    shell.set(SUDO_UID=str(STRANGER))  # the user who called sudo
    shell.run("push-order", "218").says(0)


def as_stranger(
    shell: Shell, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run in a process of an arbitrary uid without a home and a passwd entry."""
    script = (
        "import os, sys\n"
        "import onetribe_bc.cli.app, onetribe_bc.public, onetribe_bc.cli.logs\n"
        "import importlib\n"
        "for name in ('sync', 'push_order', 'status', 'doctor', 'hooks', 'demo', 'serve'):\n"
        "    importlib.import_module('onetribe_bc.cli.' + name)\n"
        "import encodings.idna, encodings.ascii, encodings.latin_1\n"
        "import requests, yaml, platformdirs.unix\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "import resource as r\n"
        "if n := int(os.environ.get('NPROC', 0)): r.setrlimit(r.RLIMIT_NPROC, (n, n))\n"
        "from onetribe_bc.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    kept = {n: v for n, v in os.environ.items() if not n.startswith("XDG_") and n != "HOME"}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**kept, **variables}, cwd="/", capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that every user can reach and write."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    return folder


@as_root
@pytest.mark.parametrize("planted", ["ledger.db.locks", "receiver-secret-STORE", "link"])
def test_root_refuses_locks_and_secrets_that_are_not_of_the_ledgers_owner(
    shell: Shell, open_folder: Path, planted: str
) -> None:
    shell.set(BC2OT_LEDGER=str(open_folder / "ledger.db"))
    shell.run("push-order", "218").says(0)
    file = open_folder / planted.replace("STORE", shell.sandbox.store_hash)
    if planted == "link":
        file = open_folder / "ledger.db.locks"
        file.symlink_to(file.rename(open_folder / "real"))
    elif not file.exists():
        file.write_text("a" * 32)
    os.chown(file, STRANGER, -1, follow_symlinks=False)
    shell.run("push-order", "218").says(3, "belongs to user 12345, not to user root")
    shutil.rmtree(open_folder)


@as_root
def test_a_ledger_of_another_user_is_refused(shell: Shell, open_folder: Path) -> None:
    ledger = open_folder / "ledger.db"
    shell.set(BC2OT_LEDGER=str(ledger))
    shell.run("push-order", "218").says(0)
    for file in (ledger, *open_folder.glob("ledger.db.locks"), *open_folder.glob("*/*")):
        os.chown(file, 54_321, -1)
    told = as_stranger(shell, "push-order", "218")
    assert told.returncode == 3, told.stderr
    assert "belongs to user 54321, not to user 12345" in told.stderr
    shutil.rmtree(open_folder)


@as_root
def test_without_a_home_and_a_passwd_entry_it_works_with_a_ledger_that_is_set(
    shell: Shell, open_folder: Path
) -> None:
    told = as_stranger(shell, "push-order", "218", BC2OT_LEDGER=f"{open_folder}/ledger.db")
    assert told.returncode == 0, told.stderr
    told = as_stranger(shell, "status", BC2OT_LEDGER=f"{open_folder}/ledger.db")
    assert (told.returncode, "delivered" in told.stdout) == (0, True), told.stderr
    told = as_stranger(shell, "push-order", "218", BC2OT_LEDGER="")
    assert told.returncode == 3
    assert "There is no home directory for the ledger." in told.stderr
    shutil.rmtree(open_folder)


@as_root
def test_what_root_makes_next_to_a_ledger_belongs_to_the_ledgers_owner(
    shell: Shell, open_folder: Path
) -> None:
    ledger = open_folder / "ledger.db"
    assert as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger)).returncode == 0
    shell.set(BC2OT_LEDGER=str(ledger))
    shutil.rmtree(f"{ledger}.locks")
    shell.run("push-order", "218").says(0)
    made = [*open_folder.glob("**/*")]
    assert made
    assert {file.stat().st_uid for file in made} == {STRANGER}
    told = as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger))
    assert told.returncode == 0, told.stderr
    shutil.rmtree(open_folder)


@as_root
@pytest.mark.parametrize(
    "file", ["ledger.db", "ledger.db-journal", "ledger.db.locks", "ledger.db.locks/mark", ""]
)
def test_a_file_of_roots_is_named_with_its_owner_and_the_command(
    shell: Shell, open_folder: Path, file: str
) -> None:
    ledger = open_folder / "ledger.db"
    assert as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger)).returncode == 0
    os.chown(open_folder / file, 0, 0)
    (open_folder / file).chmod({"": 0o755, "ledger.db.locks": 0o700}.get(file, 0o600))
    if not file:
        (open_folder / "ledger.db-journal").unlink()
    for command in (["push-order", "218", "--force"], ["doctor"]):
        told = as_stranger(shell, *command, BC2OT_LEDGER=str(ledger))
        assert told.returncode == 3, told.stdout + told.stderr
        if not (command == ["doctor"] and file == "ledger.db"):
            assert "belongs to root, and this is 12345: run `sudo chown 12345" in (
                told.stdout + told.stderr
            )
    shutil.rmtree(open_folder)


@as_root
@pytest.mark.parametrize("file", ["", "ledger.db", "ledger.db.locks"])
def test_files_that_their_owner_cannot_write_are_named_with_the_command(
    shell: Shell, open_folder: Path, file: str
) -> None:
    ledger = open_folder / "ledger.db"
    os.chown(open_folder, STRANGER, -1)
    if file:
        assert as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger)).returncode == 0
    closed = open_folder / file
    closed.chmod(0o500 if closed.is_dir() else 0o400)
    told = as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger))
    assert told.returncode == 3, told.stderr
    assert f"who may not write to it: run `chmod u+rwX {closed}`" in told.stderr
    closed.chmod(0o700)
    assert as_stranger(shell, "push-order", "218", BC2OT_LEDGER=str(ledger)).returncode == 0
    shutil.rmtree(open_folder)


def test_systemds_credentials_are_exempt_from_the_warning_about_modes(shell: Shell) -> None:
    folder = shell.folder / "credentials"
    folder.mkdir()
    file = shell.write("timezone: UTC\n", mode=0o644, name="credentials/config")
    shell.set(BC2OT_CONFIG=str(file))
    assert "other users" in shell.run("status").err
    shell.set(CREDENTIALS_DIRECTORY=str(folder))
    assert "other users" not in shell.run("status").err


# Signals and terminals


def test_sighup_stops_a_run_as_sigterm_does(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:slow=0.3")
    process = shell.start("backfill", "--yes", "--workers", "1")
    until(lambda: shell.sandbox.onetribe.counts())
    process.send_signal(signal.SIGHUP)
    shell.finish(process).says(130, "Finishing what is in flight", "Interrupted.")
    assert "unknown" not in shell.states()
    assert set(shell.states()) <= {"delivered", "pending", "skipped"}


@pytest.mark.parametrize(
    ("first", "pause_s", "second"),
    [("HUP", 0, "HUP"), ("HUP", 1, "HUP"), ("TERM", 0, "TERM"), ("TERM", 0, "HUP"),
     ("TERM", 1, "HUP"), ("HUP", 0, "TERM")],
)  # fmt: skip
def test_a_request_to_stop_that_comes_as_two_signals_leaves_no_order_in_doubt(
    shell: Shell, first: str, pause_s: float, second: str
) -> None:
    shell.sandbox.faults.add("onetribe:slow=1@2")
    process = shell.start("backfill", "--yes", "--workers", "1")
    until(lambda: shell.ledger.exists() and "sending" in shell.states())
    process.send_signal(signal.Signals[f"SIG{first}"])
    time.sleep(pause_s)
    process.send_signal(signal.Signals[f"SIG{second}"])
    ended = shell.finish(process).says(130, "Finishing what is in flight", "Interrupted.")
    assert "stopped immediately" not in ended.err
    assert set(shell.states()) <= {"delivered", "pending", "skipped"}


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(shell: Shell) -> None:
    shell.pipe('trap "" HUP INT; "$@" & sleep 1; kill -HUP $!; kill -INT $!; wait $!',
               "backfill", "--yes").says(0)  # fmt: skip


def test_serve_goes_on_after_sighup_and_without_its_terminal(shell: Shell) -> None:
    with serving(shell) as receiver:
        receiver.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP: the receiver goes on." in receiver.output())
        assert receiver.post(callback(218)) == 200
        receiver.end(shell).says(0)


def test_a_run_whose_terminal_has_gone_ends_its_work(shell: Shell) -> None:
    ours, theirs = pty.openpty()
    process = shell.start("backfill", "--yes", "-v", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(60) == 0
    assert shell.states()["delivered"] == shell.eligible


@pytest.mark.parametrize("was", ["terminal", "pipe"])
def test_serve_goes_on_when_nothing_reads_its_output_any_more(shell: Shell, was: str) -> None:
    ours, theirs = pty.openpty() if was == "terminal" else os.pipe()
    port = free_port()
    process = shell.start("-v", "serve", "--listen", f"127.0.0.1:{port}", stderr=theirs)
    os.close(theirs)
    until(lambda: responds(port))
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    for order_id in (shell.sandbox.store.ids()[0], 218):
        body = callback(order_id)
        with Client(port) as client:
            assert client.post(body, signed(body)).status == 200
    until(lambda: 218 in shell.sandbox.onetribe.counts())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert shell.state(218)["state"] == "delivered"


def test_the_second_signal_is_json_where_messages_are(shell: Shell) -> None:
    with held_up(shell, "--log-format", "json", "backfill", "--yes"):
        process = shell.started[-1]
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
        assert process.wait(30) == 130
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        assert all(line.startswith(b'{"time"') for line in lines), lines
        assert b"stopped immediately" in lines[-1]
        process.returncode = 0  # for `held_up`


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_non_blocking_pipe_gets_all_of_the_output(shell: Shell, stream: str) -> None:
    shell.run("backfill", "--yes")
    for command, least in (
        (["export", "--format", "jsonl"], 20),
        (["-vv", "backfill", "--yes"], 0),
    ):
        read, write = os.pipe()
        os.set_blocking(write, False)
        process = shell.start(*command, **{stream: write})
        os.close(write)
        time.sleep(0.5)
        with os.fdopen(read, "rb") as file:
            output = file.read()
        process.wait(60)
        assert process.returncode == 0
        assert stream == "stderr" or output.count(b"\n") >= least


def test_help_is_there_without_docstrings(shell: Shell) -> None:
    for command in (["sync"], ["hooks", "create"], []):
        told = subprocess.run(
            [sys.executable, "-OO", "-m", "onetribe_bc", *command, "--help"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "bc2ot" in told.stdout.replace("Usage: bc2ot", "", 1)


def test_on_windows_one_sentence_names_wsl() -> None:
    script = "import sys; sys.platform = 'win32'; from onetribe_bc.cli import main; main()"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "WSL" in told.stderr
    script = "import sys; sys.platform = 'win32'; import onetribe_bc; onetribe_bc.Ledger"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stderr.splitlines()[-1].startswith("ImportError: bc2ot needs Linux or macOS.")


# Limits


def limited(shell: Shell, limits: str, *arguments: str) -> tuple[int, str]:
    told = shell.pipe(f'{limits}; exec "$@"', *arguments)
    return told.code, told.err


def test_few_open_files_are_named_with_limit_and_key(shell: Shell) -> None:
    code, err = limited(shell, "ulimit -n 60", "serve", "--listen", "127.0.0.1:0")
    assert code == 3
    assert "The limit of open files is 60" in err
    assert "delivery.workers" in err
    code, err = limited(shell, "ulimit -n 256; ulimit -Hn 256", "push-order", "218")
    assert code == 0, err


@as_root
@pytest.mark.parametrize(
    ("limit", "command"), [(1, "push-order"), (2, "push-order"), (4, "push-order"), (2, "serve")]
)
def test_few_threads_are_named_with_limit_and_key(
    shell: Shell, open_folder: Path, limit: int, command: str
) -> None:
    arguments = ["218"] if command == "push-order" else ["--listen", "127.0.0.1:0"]
    ledger = f"{open_folder}/ledger.db"
    told = as_stranger(shell, command, *arguments, BC2OT_LEDGER=ledger, NPROC=str(limit))
    assert told.returncode == 3, told.stderr
    assert "No more threads can be started." in told.stderr
    assert "delivery.workers" in told.stderr
    shutil.rmtree(open_folder)


def test_connections_fit_the_limit_of_open_files_which_is_raised_as_far_as_it_may_be() -> None:
    script = (
        "import resource as r\n"
        "from onetribe_bc.web.server import max_connections\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, 256)); print(max_connections(8), max_connections(64))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["176", "64"]
    assert max_connections(8) == MAX_CONNECTIONS


# Secrets and odd text


def test_a_secret_reveals_nothing_to_asdict_copy_or_pickle() -> None:
    settings = BigCommerceSettings(access_token=Secret("t0ken"))
    for shown in (asdict(settings), astuple(settings), copy.deepcopy(settings), vars(settings)):
        assert "t0ken" not in repr(shown)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(settings, protocol)
    assert copy.copy(settings.access_token) == Secret("t0ken") != Secret("other")


@given(st.text())
def test_json_output_never_holds_a_character_that_a_terminal_obeys(text: str) -> None:
    import json

    shown = json_text({"answer": text}, indent=2)
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown)["answer"] == text


@pytest.mark.parametrize(
    "cell", ["=1", "\uff1d1", "\uff0b1", "\uff201", ";=1", "; =1", " =1", "a;=1", "-1", "@a"]
)
def test_no_cell_of_an_export_is_a_formula(cell: str) -> None:
    (row,) = [_csv_row([cell]).strip().strip('"')]
    for part in row.split(";"):
        assert not part.strip() or part.strip()[0] not in "=+-@\uff1d\uff0b\uff0d\uff20", row


def test_a_callback_is_verified_with_a_secret_of_the_environment(shell: Shell) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None, BC2OT_RECEIVER_SECRET="s3cret", SENT="s3cret")
    given = ("--header", f"{SECRET_HEADER}:${{SENT}}")
    shell.run("handle-callback", *given, stdin=callback(218)).says(0, "1 delivered")


# Proxies


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:pa55@proxy.example:3128", "the proxy proxy.example:3128 (HTTPS_PROXY)"),
        ("proxy.example:3128", "the proxy proxy.example:3128 (HTTPS_PROXY)"),
        ("http://user:pa55[@proxy.example:3128", "The proxy in HTTPS_PROXY is not a valid URL."),
    ],
)
def test_doctor_names_the_proxy_and_never_its_password(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, proxy: str, shown: str
) -> None:
    from onetribe_bc.doctor.configuration import check_configuration

    settings = desk.load(FULL)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    _source, *proxies = check_configuration(settings)
    found = [f"{finding.text} {finding.hint}" for finding in proxies]
    assert len(found) == 2
    assert all(shown in text and "pa55" not in text for text in found), found
    monkeypatch.setenv("NO_PROXY", "api.example.com,.bigcommerce.com")
    assert len(list(check_configuration(settings))) == 1
