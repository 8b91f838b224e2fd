"""Services and ledgers that fail: the message, the exit code, and how the next run recovers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from onetribe_bc.sandbox import Fault, parse_fault
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.wire import WireServer, answer

KEY = "/direct/webhook/big-commerce/order/sandbox-merchant-key-not-a-secret"


def _recover(shell: Shell, *arguments: str) -> None:
    """Without the fault, the same command delivers the rest."""
    shell.sandbox.faults.clear()
    shell.run(*arguments).says(0, "delivered")
    assert shell.states()["delivered"] == shell.eligible
    assert set(shell.sandbox.onetribe.counts()) == {
        i for i in shell.sandbox.store.ids() if shell.sandbox.store.row(i).status_id != 0
    }


# One Tribe


@pytest.mark.parametrize("status", [301, 302, 308, 401, 403, 404, 405, 410])
def test_a_wrong_url_stops_the_run_and_all_orders_stay_owed(shell: Shell, status: int) -> None:
    location = (("Location", "/direct/elsewhere"),)
    shell.sandbox.faults.add(Fault("onetribe", "status", status=status, headers=location))
    result = shell.run("backfill", "--yes", "--workers", "2")
    result.says(4, f"One Tribe responded with {status}", "onetribe.url", "stay owed", "still owed")
    assert shell.states()["pending"] == shell.eligible
    assert len(shell.sandbox.onetribe.received) <= 2
    assert not [r for r in shell.sandbox.onetribe.requests if r.method != "POST"]
    _recover(shell, "backfill", "--yes")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_order_does_not_stop_the_others_which_html_with_200_acknowledges(
    shell: Shell, status: int
) -> None:
    shell.sandbox.faults.add(f"onetribe:status@{status}#218")
    shell.sandbox.faults.add("onetribe:html@200")
    result = shell.run("backfill", "--yes").says(1, "1 failed", "Failed orders wait")
    result.says(1, f"Order 218 failed: One Tribe responded with {status}: it refuses this order")
    assert (shell.state(218)["state"], shell.state(218)["answer_status"]) == ("failed", status)
    assert shell.states()["delivered"] == shell.eligible - 1
    shell.sandbox.faults.clear()
    shell.run("push-order", "218").says(0, "1 delivered")


def test_500_for_one_order_is_reported_after_the_last_attempt(shell: Shell) -> None:
    shell.configure(delivery={"attempts": 3})
    shell.sandbox.faults.add("onetribe:status@500#218")
    result = shell.run("backfill", "--yes")
    result.says(1, "Order 218 failed: One Tribe responded with 500, to each of 3 attempts")
    assert len([r for r in shell.sandbox.onetribe.received if r.order_id == 218]) == 3


@pytest.mark.parametrize("kind", ["status@500", "html@502", "html@503"])
def test_a_one_tribe_that_is_down_stops_the_run_early(shell: Shell, kind: str) -> None:
    shell.sandbox.faults.add(f"onetribe:{kind}")
    result = shell.run("backfill", "--yes", "--workers", "2")
    result.says(5, "accepts no orders now", "Run it again later", "stay owed")
    assert "<html" not in result.err
    assert "delivered" not in shell.states()
    assert len(shell.sandbox.onetribe.received) < 30
    if kind == "html@502":  # each counts as a copy
        shell.sandbox.faults.clear()
        shell.run("backfill", "--yes").says(1, "still owed (One Tribe may have it 2 times): ",
                                   "It may have arrived. Not sent again before 20")  # fmt: skip
        shell.run("retry", "--unknown").says(0)
    _recover(shell, "backfill", "--yes")


def test_a_refused_connection_leaves_all_orders_owed(shell: Shell) -> None:
    url = shell.sandbox.onetribe_url
    with WireServer([b""]) as gone:
        port = gone.port
    shell.set(BC2OT_ONETRIBE_URL=f"http://127.0.0.1:{port}{KEY}")
    result = shell.run("backfill", "--yes", "--workers", "2")
    result.says(5, "No connection to 127.0.0.1", "Check the URL", "still owed")
    assert "unknown" not in shell.states()
    assert shell.states()["pending"] == shell.eligible
    shell.set(BC2OT_ONETRIBE_URL=url)
    shell.run("backfill", "--yes").says(0, f"{shell.eligible} delivered")


# Faults that services have shown in the field


@pytest.mark.parametrize(
    "fault",
    [
        "onetribe:interim@0.2",
        "onetribe:many_headers",
        "onetribe:long_header",
        "onetribe:drip_head@0.0001",
        "onetribe:retry_after*3",
        "onetribe:status@500*3",
        "onetribe:html@503*3",
        "onetribe:bare_429*3",
        "onetribe:retry_after@-1*3",
        "bigcommerce:interim@0.01",
        "bigcommerce:many_headers",
        "bigcommerce:long_header",
        "bigcommerce:retry_after@-1*2",
        "bigcommerce:continue_forever*1",
        "bigcommerce:idle_reset*3",
        "bigcommerce:late@1*1",
    ],
)
def test_every_order_is_delivered_once_despite(shell: Shell, fault: str) -> None:
    shell.configure(delivery={"timeout": {"connect": 1, "read": 0.5}})
    shell.sandbox.faults.add(fault)
    shell.run("backfill", "--yes").says(0, f"{shell.eligible} delivered")

    assert len(shell.sandbox.onetribe.counts()) == shell.eligible
    assert set(shell.sandbox.onetribe.counts().values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [
        "onetribe:continue_forever*1#218",
        "onetribe:late@2*1#218",
        "onetribe:reset*1#218",
        "onetribe:drip_head@1*1#218",
    ],
)
def test_an_order_without_a_response_is_unknown_named_and_counted(shell: Shell, fault: str) -> None:
    shell.configure(delivery={"timeout": {"connect": 1, "read": 0.3}, "on_unknown": "hold"})
    shell.sandbox.faults.add(fault)
    told = shell.run("backfill", "--yes").says(
        1, "Order 218 unknown", f"{shell.eligible - 1} delivered"
    )

    assert "It may have arrived" in told.err
    assert shell.states()["unknown"] == 1
    shell.run("retry", "--unknown").says(0, "1 delivered", "1 possible duplicate")


def test_no_response_leaves_the_order_unknown_and_the_next_run_sends_it_again(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:lost_reply*1#218")
    result = shell.run("push-order", "218")
    result.says(1, "Order 218 unknown: ", "It may have arrived", "later runs send them again")
    shell.run("push-order", "218").says(0, "1 delivered", "1 possible duplicate at One Tribe")
    assert shell.sandbox.onetribe.counts() == {218: 2}


# BigCommerce

LASTING = [
    ("html", "502"),
    ("html@200", "not"),
    ("cut_json", "is incomplete"),
    ("truncated", "is incomplete"),
    ("garbled", "BigCommerce's response is not"),
    ("empty", ""),
    ("not_ascending", "ids must ascend"),
    ("status@500", "500"),
    ("bare_429", "429"),
    ("reset", "127.0.0.1"),
]


@pytest.mark.parametrize(("kind", "words"), LASTING, ids=[kind for kind, _ in LASTING])
def test_a_bigcommerce_that_fails_for_good_ends_the_run(
    shell: Shell, kind: str, words: str
) -> None:
    shell.sandbox.faults.add(f"bigcommerce:{kind}")
    result = shell.run("backfill", "--yes").says(5, "bc2ot: ", words)
    assert "<html" not in result.err
    assert len(result.err) < 1000
    assert not shell.sandbox.onetribe.received
    _recover(shell, "backfill", "--yes")


@pytest.mark.parametrize("kind", ["object_for_list", "row_without_id"])
def test_orders_whose_lists_cannot_be_read_are_fetched_singly(shell: Shell, kind: str) -> None:
    shell.sandbox.faults.add(f"bigcommerce:{kind}")
    shell.run("backfill", "--yes").says(0, f"{shell.eligible} delivered")


@pytest.mark.parametrize("kind", [*(kind for kind, _ in LASTING), "object_for_list"])
def test_a_bigcommerce_that_fails_once_loses_no_order(shell: Shell, kind: str) -> None:
    shell.sandbox.faults.add(replace(parse_fault(f"bigcommerce:{kind}*1"), path="/orders"))
    total = len(shell.sandbox.store)
    shell.run("backfill", "--yes").says(0, f"{total} orders seen: {shell.eligible} delivered")
    assert set(shell.sandbox.onetribe.counts().values()) == {1}


def test_a_bigcommerce_failure_during_the_run_reports_what_was_done(shell: Shell) -> None:
    for _ in range(300):
        shell.sandbox.store.add()
    shell.sandbox.faults.add(Fault("bigcommerce", "cut_json", skip=2, path="/orders"))
    result = shell.run("backfill", "--yes", "--json").says(5, "250 orders seen", "is incomplete")
    assert result.json["seen"] == 250
    assert result.json["complete"] is False
    _recover(shell, "backfill", "--yes")


@pytest.mark.parametrize("answered", [b"<html>", b"[]", b'{"id": 219}', b"null"])
def test_a_malformed_order_or_an_unreachable_bigcommerce_is_reported(
    shell: Shell, answered: bytes
) -> None:
    with WireServer([answer(answered)]) as server:
        shell.set(BC2OT_API_URL=server.url)
        shell.run("push-order", "218").says(5, "bc2ot: BigCommerce")
    shell.run("push-order", "218").says(5, "No connection to 127.0.0.1", "firewall")
    assert not shell.sandbox.onetribe.received


def test_a_response_with_another_order_is_not_sent(shell: Shell) -> None:
    empty = answer(b"", status="204 No Content")
    with WireServer([answer(json.dumps({"count": 0}).encode()), empty]) as server:
        shell.set(BC2OT_API_URL=server.url)
        shell.run("backfill", "--yes").says(0, "0 orders seen.")


# The ledger


@pytest.mark.parametrize(
    "content", [b"SQLite format 3\0" + b"\xff" * 4096, b"orders,of,another,kind\n" * 100]
)
def test_a_damaged_ledger_or_another_file_is_reported_and_left_unchanged(
    shell: Shell, content: bytes
) -> None:
    shell.ledger.write_bytes(content)
    shell.run("backfill", "--yes").says(
        3, f"The ledger {shell.ledger} is damaged", "restore a copy"
    )
    assert shell.ledger.read_bytes() == content


def test_a_newer_ledger_is_refused(shell: Shell) -> None:
    shell.run("push-order", "218").says(0)
    connection = sqlite3.connect(shell.ledger)
    with connection:
        connection.execute("UPDATE ledger_meta SET value = '99' WHERE key = 'schema_version'")
    connection.close()
    shell.run("push-order", "218").says(3, "version 99", "newer bc2ot", "Upgrade")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("file/ledger.db", ["cannot be opened for writing", "BC2OT_LEDGER"]),
        ("folder", ["cannot be opened for writing: Is a directory"]),
        # Root may write regardless of permissions, but not below /proc.
        ("/proc/bc2ot/ledger.db", ["/proc/bc2ot/ledger.db", "write permission", "BC2OT_LEDGER"]),
        pytest.param(
            "read-only",
            ["Permission denied"],
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere"),
        ),
    ],
)
def test_a_ledger_that_cannot_be_opened_for_writing_is_reported(
    shell: Shell, path: str, words: list[str]
) -> None:
    (shell.folder / "file").touch()
    (shell.folder / "folder").mkdir()
    (shell.folder / "read-only").touch(0o400)
    shell.set(BC2OT_LEDGER=str(shell.folder / path))
    shell.run("push-order", "218").says(3, *words)


def test_a_lock_directory_that_cannot_be_created_is_reported(shell: Shell) -> None:
    shell.ledger.with_name("ledger.db.locks").write_text("")
    result = shell.run("push-order", "218").says(3, "lock directory", "write permission")
    assert "seen" not in result.err


def test_a_lock_that_another_process_holds_for_a_moment_is_waited_for(shell: Shell) -> None:
    shell.run("push-order", "218").says(0)
    script = (
        "import sqlite3, sys, time\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True)\n"
        "sys.stdin.read(); c.execute('COMMIT')\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(shell.ledger)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    shell.started.append(holder)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    waiting = shell.start("push-order", "218", "--force")
    holder.communicate()
    shell.finish(waiting).says(0, "1 delivered")
