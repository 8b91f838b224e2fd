"""Reconcile: the store against the ledger; it finds every gap and changes nothing unasked."""

from __future__ import annotations

import csv
import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing

import pytest

from onetribe_bc.sandbox import Fault, Request
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401

STANDINGS = ("delivered", "skipped", "missing", "owed", "unknown", "failed", "changed")


def real_ids(shell: Shell) -> list[int]:
    store = shell.sandbox.store
    return [i for i in store.ids() if store.row(i).status_id != 0]


@pytest.fixture
def gappy(shell: Shell) -> Shell:
    """One order each that is missing, owed, unknown and failed; the others are delivered."""
    _, _, unknown, failed, *_ = real_ids(shell)
    shell.sandbox.faults.add(f"onetribe:lost_reply#{unknown}")
    shell.sandbox.faults.add(f"onetribe:status@422#{failed}")
    missing = real_ids(shell)[0]
    rest = ",".join(str(i) for i in shell.sandbox.store.ids() if i not in real_ids(shell)[:2])
    shell.run("backfill", "--ids", rest).says(1)
    shell.sandbox.faults.clear()
    shell.sandbox.faults.add("onetribe:status@503")
    shell.run("push-order", str(real_ids(shell)[1]))
    shell.sandbox.faults.clear()
    # Out of tries, it would have failed; it is owed while there are tries left.
    with closing(sqlite3.connect(shell.ledger, isolation_level=None)) as connection:
        connection.execute("UPDATE orders SET state = 'pending' WHERE answer_status = 503")
    assert shell.state(missing) is None
    return shell


def test_it_names_each_gap_and_exits_with_1(gappy: Shell) -> None:
    missing, owed, unknown, failed = real_ids(gappy)[:4]
    told = gappy.run("reconcile")
    told.says(
        1,
        f"Order {missing} missing at One Tribe",
        f"Order {owed} still owed",
        f"Order {unknown} unknown: ",
        f"Order {failed} failed: ",
        "4 gaps.",
        "Run it with --fix to send them.",
    )
    assert f"{len(gappy.sandbox.store)} orders in the store" in told.err


def test_without_fix_it_changes_nothing(gappy: Shell) -> None:
    before = gappy.ledger.read_bytes()
    received = len(gappy.sandbox.onetribe.received)
    gappy.run("reconcile").says(1)
    gappy.run("reconcile", "--json").says(1)
    assert gappy.ledger.read_bytes() == before
    assert len(gappy.sandbox.onetribe.received) == received


def test_fix_closes_the_gaps_and_reports_it(gappy: Shell) -> None:
    told = gappy.run("reconcile", "--fix", "--json")
    told.says(0, "4 gaps. Sending them.", "4 delivered", "No gap.")
    assert (told.json["gaps"], told.json["delivered"]) == ([], gappy.eligible)
    assert set(gappy.sandbox.onetribe.counts()) == set(real_ids(gappy))
    gappy.run("reconcile").says(0, "No gap.")


def test_fix_leaves_held_unknown_orders_to_the_merchant(gappy: Shell) -> None:
    gappy.configure(delivery={"on_unknown": "hold"})
    unknown = real_ids(gappy)[2]
    gappy.run("reconcile", "--fix").says(1, "1 gap.", "bc2ot retry --unknown")
    assert gappy.sandbox.onetribe.counts()[unknown] == 1
    gappy.run("reconcile").says(1, "bc2ot retry --unknown")
    gappy.run("retry", "--unknown").says(0)
    gappy.run("reconcile").says(0)


def test_json_adds_up_and_agrees_with_the_export(gappy: Shell) -> None:
    found = gappy.run("reconcile", "--json").json
    assert sum(found[standing] for standing in STANDINGS) == found["seen"]
    assert found["seen"] == found["counted_by_store"] == len(gappy.sandbox.store)
    assert {gap["standing"] for gap in found["gaps"]} == {"missing", "owed", "unknown", "failed"}
    assert found["until"] is not None
    exported = Counter(row["state"] for row in csv.DictReader(gappy.run("export").out.splitlines()))
    for state in ("delivered", "skipped"):
        assert exported[state] == found[state]


def test_only_orders_in_the_window_are_compared(gappy: Shell) -> None:
    gappy.run("reconcile", "--since", "2026-02-28", "--until", "2026-02-28").says(0)
    gappy.run("reconcile", "--since", "2026-03-02", "--until", "2026-03-01").says(2)


def test_a_changed_order_is_a_gap_only_where_changes_are_to_be_sent(shell: Shell) -> None:
    shell.run("backfill", "--yes").says(0)
    shell.sandbox.store.modify(218, staff_notes="changed")
    shell.run("reconcile").says(0, "No gap.")
    quiet = shell.run("-q", "reconcile")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, b"", b"")
    shell.configure(orders={"resend": "on-change"})
    shell.run("reconcile").says(1, "Order 218 changed")
    shell.run("reconcile", "--fix").says(0)
    assert shell.sandbox.onetribe.counts()[218] == 2


def test_an_order_that_became_eligible_since_it_was_skipped_is_missing(shell: Shell) -> None:
    shell.run("backfill", "--yes").says(0)
    store = shell.sandbox.store
    order_id = next(i for i in store.ids() if store.row(i).status_id == 0)
    shell.run("reconcile").says(0)
    store.complete(order_id)
    shell.run("reconcile").says(1, f"Order {order_id} missing at One Tribe")
    shell.run("reconcile", "--fix").says(0)


@pytest.mark.parametrize("more", [3, -2])
def test_a_count_that_disagrees_is_a_note_and_no_gap(shell: Shell, more: int) -> None:
    """A list that leaves orders out, as BigCommerce's does with archived ones, is noticed."""
    shell.run("backfill", "--yes").says(0)
    store = shell.sandbox.store
    hidden = json.dumps({"statuses": [], "count": len(store) + more}).encode()
    shell.sandbox.faults.add(
        Fault("bigcommerce", "status", status=200, path="/orders/count", body=hidden)
    )
    told = shell.run("reconcile")
    counts = f"BigCommerce counts {len(store) + more} orders and lists {len(store)}"
    told.says(0, counts, "Archived", "No gap.")
    assert shell.run("reconcile", "--json").says(0).json["count_difference"] == more


@pytest.mark.parametrize("count", [b"[]", b'{"count":"many"}'])
def test_without_a_count_orders_are_compared_all_the_same(shell: Shell, count: bytes) -> None:
    shell.run("backfill", "--yes").says(0)
    shell.sandbox.faults.add(
        Fault("bigcommerce", "status", status=200, path="/orders/count", body=count)
    )
    shell.run("reconcile").says(0, "The number of orders is not known", "No gap.")


@pytest.mark.parametrize("change", ["removed", "added"])
def test_an_order_created_or_deleted_meanwhile_is_not_a_gap(shell: Shell, change: str) -> None:
    shell.run("backfill", "--yes").says(0)
    store = shell.sandbox.store
    store_ids = iter(store.ids())
    lock = threading.Lock()

    def drift(request: Request) -> None:
        with lock:
            if change == "removed":
                store.remove(next(store_ids))
            else:
                store.add(status_id=0)

    shell.sandbox.on_request = drift
    told = shell.run("reconcile", "--json")
    shell.sandbox.on_request = None
    assert told.code == 0, told.err


def test_fix_while_another_run_holds_the_store_exits_with_6(gappy: Shell) -> None:
    gate = gappy.sandbox.faults.hold("onetribe", times=None)
    process = gappy.start("backfill", "--yes")
    gate.wait_arrival()
    gappy.run("reconcile", "--fix").says(6, "Another sync or backfill")
    gate.open()
    gappy.finish(process)


def test_a_bigcommerce_that_fails_is_no_gap_but_an_error(gappy: Shell) -> None:
    gappy.sandbox.faults.add("bigcommerce:status@503")
    told = gappy.run("reconcile")
    told.says(5)
    assert "gap" not in told.err


def test_many_gaps_are_counted_and_the_first_of_them_named(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(60))
    told = shell.run("reconcile").says(1, "more; --json lists them.")
    assert sum(line.startswith("Order ") for line in told.lines) == 20


def test_an_interrupt_ends_it_between_two_orders(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(300))
    gate = shell.sandbox.faults.hold("bigcommerce", times=None)
    process = shell.start("reconcile")
    gate.wait_arrival()
    process.terminate()
    assert process.stderr is not None
    while b"Finishing" not in process.stderr.readline():
        assert process.poll() is None
    gate.open()
    told = shell.finish(process)
    assert told.code == 130
    assert "in the store" not in told.err
