"""`bc2ot doctor`: each problem, its report, its fix, and the exit code."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import pty
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from onetribe_bc.clock import SystemClock
from onetribe_bc.config import load
from onetribe_bc.doctor import examine, worst
from onetribe_bc.doctor.finding import fail
from onetribe_bc.errors import WORST_FIRST, ExitCode
from onetribe_bc.ledger.locks import locks_beside
from onetribe_bc.ledger.schema import SCHEMA_VERSION
from onetribe_bc.sandbox import Fault, FaultKind, Sandbox, Service
from tests.conftest import SandboxFactory
from tests.examining import (  # noqa: F401
    DAY_S,
    RECEIVER,
    Damage,
    Report,
    ask,
    change,
    fix,
    hook,
    sandbox_fixture,
    well_fixture,
)
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.test_http import certificate, tls  # noqa: F401
from tests.test_inspect import HALF_A_WRITE
from tests.wire import free_port

# All of it


def test_a_store_without_problems_is_reported_with_four_requests(well: Shell) -> None:
    before = len(well.sandbox.requests)
    report = well.run("doctor")
    assert report.code == 0
    assert [line for line in report.out.splitlines() if not line.startswith(" ")] == [
        "Configuration",
        "BigCommerce",
        "Webhooks",
        "One Tribe",
        "Ledger",
    ]
    assert all(line.startswith("  ok    ") for line in report.out.splitlines() if line[0] == " ")
    assert report.err == "No failures: 11 ok.\n"
    assert "/****. No order was sent: " in report.out
    assert len(well.sandbox.requests) - before == 4


def test_it_sends_no_order_and_leaves_the_ledger_unchanged(well: Shell) -> None:
    filed = well.sandbox.onetribe.counts()
    before = (hashlib.sha256(well.ledger.read_bytes()).digest(), well.ledger.stat().st_mtime_ns)
    ask(well, "--fix")
    assert (
        hashlib.sha256(well.ledger.read_bytes()).digest(),
        well.ledger.stat().st_mtime_ns,
    ) == before
    assert well.sandbox.onetribe.counts() == filed


def test_quiet_prints_only_problems(well: Shell) -> None:
    report = well.run("-q", "doctor")
    assert (report.code, report.stdout, report.stderr) == (0, b"", b"")
    well.sandbox.faults.add("bigcommerce:status@401")
    report = well.run("-q", "doctor")
    assert report.code == 4
    assert report.err == ""
    assert report.out.startswith("BigCommerce\n  FAIL  ")
    assert "ok " not in report.out


def test_json_has_stable_keys_and_check_names(well: Shell) -> None:
    document = ask(well).document
    assert document["store_hash"] == well.sandbox.store_hash
    assert (document["complete"], document["exit_code"]) == (True, 0)
    groups = {row["check"].partition(".")[0] for row in document["findings"]}
    assert groups == {"configuration", "bigcommerce", "hooks", "onetribe", "ledger"}
    keys = {"check", "level", "text", "mend", "exit_code", "fixable", "mended"}
    assert all(set(row) == keys for row in document["findings"])


def test_lines_fit_a_narrow_terminal(well: Shell) -> None:
    hook(well, destination=RECEIVER)
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    # readline, which pytest loads, tells child processes of another width behind Python's back.
    process = well.start("doctor", stdout=terminal, env=dict(os.environ))
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # how the end of a terminal shows on Linux
        while piece := os.read(screen, 65_536):
            shown += piece
    os.close(screen)
    assert well.finish(process).code == 0
    lines = shown.decode().splitlines()
    assert "  ok    The settings come from the" in lines
    assert "        environment alone." in lines
    # A word that is too long for any line is not cut into pieces, or it could not be copied.
    breakable = [line for line in lines if max(map(len, line.split())) <= 30]
    assert all(len(line) <= 40 for line in breakable)


def test_ctrl_c_ends_it(well: Shell) -> None:
    gate = well.sandbox.faults.hold("bigcommerce", times=None)
    process = well.start("doctor", "--json")
    gate.wait_arrival()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while b"Finishing" not in process.stderr.readline():
        assert process.poll() is None
    gate.open()
    report = well.finish(process)
    report.says(130, "Interrupted.")
    assert (report.json["complete"], report.json["exit_code"]) == (False, 130)
    assert [row["check"] for row in report.json["findings"]] == ["configuration.file"]


def test_the_worst_finding_decides_in_the_order_of_all_commands(well: Shell) -> None:
    assert worst([]) is ExitCode.DONE
    for worse, better in itertools.pairwise(WORST_FIRST):
        findings = [fail("ledger.file", "", exit_code=code) for code in (better, worse)]
        assert worst(findings) is worse
    well.set(BC2OT_ACCESS_TOKEN=None)
    well.sandbox.faults.add("onetribe:status@302")
    report = ask(well)
    assert report.code == 3
    assert "4" in {str(row["exit_code"]) for row in report.document["findings"]}


def test_markup_in_remote_text_is_shown_as_it_is(well: Shell) -> None:
    name = "[bold]Shop[/x]\nFAIL \x1b[31m"
    body = json.dumps({"id": well.sandbox.store_hash, "name": name}).encode()
    well.sandbox.faults.add(
        Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=200, path="/v2/store", body=body)
    )
    hook(well, "store/order/[/red]", "https://[/x].example.com/[bold]")
    report = ask(well)
    report.finds("bigcommerce.store", "ok", "is [bold]Shop[/x] FAIL \N{REPLACEMENT CHARACTER}[31m.")
    report.finds("hooks.destination", "note", "store/order/[/red] to ")


# Configuration


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (None, "fail 3 configuration.file: No configuration found -> BC2OT_"),
        ("bigcommerce:\n  store_hahs: abc\n", "fail 3 configuration.file: line 2 … store_hash"),
    ],
)
def test_a_missing_or_invalid_configuration_is_the_only_finding(
    shell: Shell, content: str | None, finding: str
) -> None:
    if content is None:
        shell.unset_all()
    else:
        shell.write(content)
    report = ask(shell)
    report.shows(finding)
    assert len(report.document["findings"]) == 1
    assert report.document["store_hash"] is None
    assert report.text.err == "Problems found: 1 FAIL.\n"


def test_checks_that_need_the_token_are_skipped_without_one(well: Shell) -> None:
    well.set(BC2OT_ACCESS_TOKEN=None)
    report = ask(well)
    assert report.code == 3
    report.finds(
        "bigcommerce.token", "fail", "access_token is not set", code=3, hint="BC2OT_ACCESS"
    )
    for check in ("bigcommerce.orders", "bigcommerce.store", "bigcommerce.clock", "hooks.list"):
        report.finds(check, "note", "skipped: no token")
    report.finds("onetribe.address", "ok")
    report.finds("ledger.sync", "ok")


def test_without_a_store_or_a_url_the_other_checks_go_on(well: Shell) -> None:
    well.set(BC2OT_STORE_HASH=None)
    report = ask(well)
    assert report.code == 3
    report.finds("bigcommerce.token", "fail", "store_hash is not set", code=3)
    report.finds("hooks.list", "note", "skipped: no store hash")
    report.finds("ledger.file", "note", "skipped: the store or One Tribe's URL")
    well.use(well.sandbox)
    well.set(BC2OT_ONETRIBE_URL=None)
    report = ask(well)
    report.finds("onetribe.address", "fail", "onetribe.url is not set", code=3)
    report.finds("hooks.destination", "warn", "points neither to One Tribe nor")


def configured(shell: Shell, **more: Any) -> Path:
    sandbox = shell.sandbox
    shell.unset_all()
    token = shell.write(sandbox.access_token, name="my token")
    token.chmod(0o644)
    bigcommerce = {
        "store_hash": sandbox.store_hash,
        "access_token_file": token.name,
        "api_url": sandbox.api_url,
    }
    settings = {
        "bigcommerce": bigcommerce,
        "onetribe": {"url": sandbox.onetribe_url},
        "ledger": str(shell.ledger),
    }
    return shell.write(yaml.safe_dump({**settings, **more}), mode=0o640)


def test_secret_files_that_others_can_read_are_reported_and_made_private(well: Shell) -> None:
    file = configured(well)
    well.ledger.chmod(0o666)
    report = ask(well)
    assert report.code == 0
    rows = report.rows("configuration.modes", "warn")
    assert [row["mend"] for row in rows] == [
        f"chmod 600 {file}",
        f"chmod 600 '{well.folder / 'my token'}'",
    ]
    assert "(mode 640)" in rows[0]["text"]
    report.finds("ledger.mode", "warn", "(mode 666)", hint=f"chmod 600 {well.ledger}")
    assert "Warning" not in report.text.err
    assert report.text.err.endswith("To fix 3 of them, add --fix.\n")

    fixed = well.run("doctor", "--fix")
    assert fixed.code == 0
    assert fixed.out.count("  ok    fixed: ") == 3
    assert "is readable only by its owner now (mode 600)" in fixed.out
    for path in (file, well.folder / "my token", well.ledger):
        assert path.stat().st_mode & 0o777 == 0o600
    well.ledger.chmod(0o666)
    assert "fixed: " in well.run("-q", "doctor", "--fix").says(0).out
    assert "fixed" not in well.run("doctor", "--fix").out


def test_a_file_of_another_user_is_not_changed(well: Shell) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    file = configured(well)
    os.chown(file, 12_345, -1)
    named = ("--config", str(file))
    fixed = Report(well.run("doctor", *named), well.run("doctor", *named, "--fix", "--json").json)
    fixed.finds("configuration.modes", "warn", "bc2ot.yaml", hint="as its owner")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_that_vanishes_during_fixes_stops_no_check(well: Shell) -> None:
    configured(well)
    report: list[str] = []
    for finding in examine(load(path=None, environ={}, cwd=well.folder), SystemClock(), fix=True):
        report.append(finding.text)
        if "bc2ot.yaml is readable only by its owner now" in finding.text:
            (well.folder / "my token").unlink()
    assert "could not be fixed: No such file or directory." in report
    assert f"{well.folder / 'my token'} cannot be checked: No such file or directory." in report
    assert "No order is owed." in report


def test_other_configuration_warnings_are_reported(well: Shell) -> None:
    (well.folder / f"receiver-secret-{well.sandbox.store_hash}").write_text("two\nlines\n")
    report = ask(well)
    report.finds("configuration.setting", "warn", "does not contain a secret on one line")


# BigCommerce


def faults(*given: str | Fault) -> Damage:
    return lambda shell: [shell.sandbox.faults.add(one) for one in given]


def response(path: str, status: int = 200, body: bytes = b"") -> Fault:
    return Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=status, path=path, body=body)


def without_scope(scope: str) -> Damage:
    return lambda shell: shell.sandbox.scopes.discard(scope)


def slow_clock(seconds: int) -> Damage:
    return lambda shell: setattr(shell.sandbox.clock, "offset_s", seconds)


SERVICES: dict[str, tuple[Damage, Sequence[str]]] = {
    "expired token": (
        lambda shell: shell.set(BC2OT_ACCESS_TOKEN="an-old-token"),
        [
            "fail 4 bigcommerce.token: 401 -> Check store_hash and access_token",
            "ok bigcommerce.clock",
            "note hooks.list: skipped: BigCommerce rejects this store or token",
        ],
    ),
    "no scope for orders": (
        without_scope("store_v2_orders_read_only"),
        [
            "ok bigcommerce.token",
            "fail 4 bigcommerce.orders: 403 -> store_v2_orders_read_only",
            "ok hooks.active",
        ],
    ),
    "no scope for the store's name": (
        without_scope("store_v2_information_read_only"),
        ["note bigcommerce.store: store_v2_information_read_only -> Nothing else"],
    ),
    "wrong store": (
        faults("bigcommerce:status@404"),
        ["fail 4 bigcommerce.token: has no store sandbox1 -> store_hash"],
    ),
    "response for another store": (
        faults(response("/v2/store", body=b'{"id": "another", "name": "Another"}')),
        ["fail 4 bigcommerce.store: another, not sandbox1 -> api_url"],
    ),
    "no connection": (
        lambda shell: shell.set(BC2OT_API_URL=f"http://127.0.0.1:{free_port()}"),
        [
            "fail 5 bigcommerce.reach: No connection -> firewall",
            "note bigcommerce.store: skipped: no usable response from BigCommerce",
            "note bigcommerce.clock: skipped: BigCommerce sent no time",
        ],
    ),
    "rejected request": (
        faults(response("/v2/orders", 422)),
        [
            "fail 5 bigcommerce.token: 422",
            "note hooks.list: skipped: BigCommerce rejects the request",
        ],
    ),
    "failures that do not stop the other checks": (
        faults(response("/v2/store", 500), response("/v3/hooks", 500)),
        ["fail 5 bigcommerce.store: 500", "fail 5 hooks.list: 500", "ok ledger.sync"],
    ),
    "clock within the tolerance": (slow_clock(30), ["ok bigcommerce.clock"]),
    "slow clock": (
        slow_clock(150),
        ["warn bigcommerce.clock: minutes behind BigCommerce's -> NTP"],
    ),
    "fast clock": (
        slow_clock(-150),
        ["warn bigcommerce.clock: minutes ahead of BigCommerce's -> NTP"],
    ),
    "clock by which callbacks are rejected": (
        slow_clock(-3_600),
        ["fail 1 bigcommerce.clock: ahead of … rejects signed callbacks -> NTP"],
    ),
    "One Tribe redirects": (
        faults("onetribe:status@301"),
        ["fail 4 onetribe.address: 301 … redirect -> onetribe.url"],
    ),
    "no connection to One Tribe": (
        lambda shell: shell.set(
            BC2OT_ONETRIBE_URL=f"http://127.0.0.1:{free_port()}/direct/webhook/order/k"
        ),
        ["fail 5 onetribe.address: No connection"],
    ),
    "One Tribe is down": (
        faults("onetribe:status@503"),
        ["warn onetribe.address: 503 -> stay owed"],
    ),
    **{
        f"One Tribe refuses HEAD with {status}": (
            faults(f"onetribe:status@{status}"),
            [f"note onetribe.address: {status} … does not verify -> push-order"],
        )
        for status in (401, 403, 404, 410)
    },
}


@pytest.mark.parametrize("problem", SERVICES)
def test_a_problem_of_a_service_is_reported(well: Shell, problem: str) -> None:
    damage, findings = SERVICES[problem]
    damage(well)
    ask(well).shows(*findings)


def test_a_service_that_is_down_is_tried_three_times(well: Shell) -> None:
    well.sandbox.faults.add("bigcommerce:status@503")
    before = len(well.sandbox.requests)
    report = well.run("doctor")
    assert report.code == 5
    assert "503" in report.out
    assert len(well.sandbox.requests) - before == 3


# The ledger


def test_a_ledger_with_an_interrupted_write_is_left_for_the_next_run(well: Shell) -> None:
    subprocess.run([sys.executable, "-c", HALF_A_WRITE, str(well.ledger)], check=False)
    report = ask(well)
    assert report.code == 0
    report.finds("ledger.file", "note", "interrupted write", hint="bc2ot status")
    well.run("status").says(0)
    ask(well).finds("ledger.file", "ok", "is sound")


def test_a_ledger_is_checked_during_a_write_and_skipped_during_a_commit(well: Shell) -> None:
    with closing(sqlite3.connect(well.ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert " is sound: " in well.run("doctor").out
        other.execute("COMMIT")
        other.execute("BEGIN EXCLUSIVE")
        report = well.run("doctor")
    assert report.code == 0
    assert "note  Ledger skipped: " in report.out


def owe(shell: Shell, state: str, number: int = 1, *, since_days: int = 0) -> None:
    change(
        shell,
        "UPDATE orders SET state = ?, first_seen_at = first_seen_at - ? "
        "WHERE order_id IN (SELECT order_id FROM orders WHERE state = 'delivered' LIMIT ?)",
        state,
        since_days * DAY_S * 1000,
        number,
    )


def sql(*statements: str) -> Damage:
    def damage(shell: Shell) -> None:
        for statement in statements:
            change(shell, statement)

    return damage


def hold_unknown(shell: Shell) -> None:
    owe(shell, "unknown")
    shell.configure(delivery={"on_unknown": "hold"})


LEDGERS: dict[str, tuple[Damage, Sequence[str]]] = {
    "sound": (
        lambda _shell: None,
        [
            f"ok ledger.file: version {SCHEMA_VERSION}, … kB, … orders of this store",
            "ok ledger.sync: seconds ago",
            "ok ledger.owed: No order is owed",
        ],
    ),
    "emptied": (
        lambda shell: shell.ledger.write_bytes(b""),
        ["fail 3 ledger.file: is empty, although -> restore a copy"],
    ),
    "damaged": (
        lambda shell: shell.ledger.write_bytes(b"no database at all" * 300),
        ["fail 3 ledger.file: is damaged -> restore a copy"],
    ),
    "large": (
        sql("CREATE TABLE padding (x)", "INSERT INTO padding VALUES (zeroblob(2500000))"),
        ["ok ledger.file:  MB, "],
    ),
    "of an older version, which the next run migrates": (
        sql("UPDATE ledger_meta SET value = '2' WHERE key = 'schema_version'"),
        [f"note ledger.file: has version 2 … to version {SCHEMA_VERSION}"],
    ),
    "of a newer version": (
        sql("UPDATE ledger_meta SET value = '99' WHERE key = 'schema_version'"),
        ["fail 3 ledger.file: version 99 … newer -> Upgrade bc2ot"],
    ),
    "without a table": (sql("DROP TABLE runs"), ["fail 3 ledger.file: could not be used"]),
    "never synced": (
        sql("UPDATE runs SET command = 'backfill'", "DELETE FROM bookmarks"),
        ["note ledger.sync: No sync has succeeded yet -> bc2ot sync --since 7d"],
    ),
    "synced too long ago": (
        sql(f"UPDATE runs SET ended_at = ended_at - {3 * DAY_S * 1000}"),
        ["fail 1 ledger.sync: 3 days ago -> cron"],
    ),
    "with old orders that recent syncs retry": (
        lambda shell: owe(shell, "pending", 2, since_days=4),
        ["note ledger.owed: 2 orders owed … 4 days -> bc2ot sync"],
    ),
    "with unknown orders": (
        lambda shell: owe(shell, "unknown", 2),
        ["note ledger.unknown: 2 orders are unknown … Later runs send them again"],
    ),
    "with unknown orders on hold": (
        hold_unknown,
        ["fail 1 ledger.unknown: held until you decide -> bc2ot retry --unknown"],
    ),
    "with refused orders": (
        lambda shell: owe(shell, "failed"),
        ["fail 1 ledger.failed: refused 1 order -> bc2ot retry --failed"],
    ),
}


@pytest.mark.parametrize("condition", LEDGERS)
def test_the_ledgers_condition_is_reported(well: Shell, condition: str) -> None:
    damage, findings = LEDGERS[condition]
    damage(well)
    before = well.ledger.read_bytes()
    ask(well, "--fix").shows(*findings)
    assert well.ledger.read_bytes() == before


def test_an_older_copy_put_back_is_a_failure_until_it_is_accepted(well: Shell) -> None:
    copy = well.ledger.read_bytes()
    well.sandbox.store.add(status_id=11)
    well.run("sync").says(0, "1 delivered")
    well.ledger.write_bytes(copy)
    ask(well).shows("fail 3 ledger.file: is an older copy -> bc2ot ledger accept")
    well.run("ledger", "accept").says(0)
    assert ask(well).rows("ledger.file", "fail") == []


def test_a_missing_ledger_is_a_note_and_an_empty_one_a_warning(shell: Shell) -> None:
    hook(shell)
    ask(shell, "--fix").shows("note ledger.file: There is no ledger … The first run creates it")
    assert not shell.ledger.exists()
    shell.ledger.touch(0o600)
    ask(shell, "--fix").shows("warn ledger.file: is empty -> restore a backup")
    assert shell.ledger.stat().st_size == 0
    shell.ledger.unlink()
    shell.run("backfill", "--yes").says(0)
    url = shell.sandbox.onetribe_url
    shell.set(BC2OT_ONETRIBE_URL=f"{url.rpartition('/')[0]}/another-key-of-a-merchant")
    (found,) = ask(shell).rows("ledger.address", "warn")
    assert "for another One Tribe URL" in found["text"]


def test_orders_owed_for_long_without_a_sync_are_a_failure(shell: Shell) -> None:
    hook(shell)
    shell.run("backfill", "--since", "2000-01-01").says(0)
    owe(shell, "pending")
    ask(shell).finds("ledger.owed", "note", "1 order owed")
    owe(shell, "pending", since_days=2)
    report = ask(shell)
    assert report.code == 1
    report.finds("ledger.owed", "fail", "2 orders owed", "known for 2 days", code=1)


def test_variables_that_override_the_file_are_listed(well: Shell) -> None:
    configured(well)
    well.set(BC2OT_WORKERS="3")
    ask(well).finds("configuration.file", "ok", "Overridden by the environment: ")
    assert "BC2OT_WORKERS" in well.run("doctor").out


def test_a_killed_run_is_a_note(well: Shell) -> None:
    change(well, "UPDATE runs SET ended_at = NULL, outcome = 'running', id = 'killed'")
    for run in ("killed", "0123456789abcdef"):
        (locks_beside(well.ledger) / f"run-{run}.lock").touch()
    report = ask(well)
    assert report.code == 0
    report.finds("ledger.runs", "note", "1 run ended unexpectedly", "settles")
    well.run("push-order", str(well.sandbox.store.ids()[0]))
    assert ask(well).rows("ledger.runs") == []


# Several stores


def section(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "bigcommerce": {
            "store_hash": sandbox.store_hash,
            "access_token": sandbox.access_token,
            "api_url": sandbox.api_url,
        },
        "onetribe": {"url": sandbox.onetribe_url},
    }


def test_all_stores_are_examined_and_the_worst_counts(
    well: Shell, make_sandbox: SandboxFactory
) -> None:
    uk = make_sandbox(3, now=None)
    uk.faults.add("bigcommerce:status@401")
    top = section(well.sandbox)
    well.unset_all()
    well.configure(**top, ledger=str(well.ledger), stores={"uk": section(uk)})
    assert well.run("doctor").code == 0
    assert well.run("--store", "uk", "doctor").code == 4
    report = well.run("doctor", "--all-stores").says(4, "Store (top of the file):", "Store uk:")
    assert report.out.count("BigCommerce\n") == 2
    both = well.run("doctor", "--all-stores", "--json")
    assert [(one["store"], one["exit_code"]) for one in both.json] == [(None, 0), ("uk", 4)]
    assert all(one["findings"] for one in both.json)


def test_a_store_whose_settings_cannot_be_loaded_has_one_finding(well: Shell) -> None:
    top = section(well.sandbox)
    well.unset_all()
    uk = {"bigcommerce": {"store_hash": "uk1", "access_token": "${UK_TOKEN}"}}
    well.configure(**top, ledger=str(well.ledger), stores={"uk": uk})
    report = well.run("doctor", "--all-stores", "--json").says(3)
    (one,) = [store for store in report.json if store["store"] == "uk"]
    (finding,) = one["findings"]
    assert (finding["check"], finding["level"], finding["exit_code"]) == (
        "configuration.file", "fail", 3
    )  # fmt: skip
    assert "UK_TOKEN" in finding["text"]
    assert one["error"] == finding["text"]
    assert (one["exit_code"], one["complete"], one["store_hash"]) == (3, True, None)
    report = well.run("doctor", "--all-stores").says(3, "Store uk:")
    assert "Configuration\n  FAIL  " in report.out
    assert "UK_TOKEN" not in report.err


@pytest.mark.skipif(
    os.access("/proc/self", os.W_OK), reason="needs a directory that no user can write to"
)
def test_a_ledger_that_cannot_be_created_is_reported(shell: Shell) -> None:
    shell.set(BC2OT_LEDGER="/proc/self/nowhere/ledger.db")
    report = shell.run("doctor")
    assert report.code == 3
    assert "cannot create it" in report.out
    assert shell.run("sync").code == 3
