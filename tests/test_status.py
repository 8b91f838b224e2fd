"""Status, history and export: three views of the ledger that agree."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.ledger.ledger import Bookmark, Ledger, Seen, Settlement
from onetribe_bc.ledger.states import Outcome, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.sandbox import Fault, Gate
from onetribe_bc.secret import Secret
from tests.clocks import STARTED_AT, FakeClock
from tests.conftest import SandboxFactory
from tests.delivering import DESTINATION, make_book, make_order
from tests.shell import Shell, shell_fixture  # noqa: F401

HEADER = (
    "order_id,state,reason,sha256,attempts,possible_duplicates,first_seen_at,sent_at,"
    "delivered_at,answer_status,answer,store_hash,destination"
)


def real_ids(shell: Shell) -> list[int]:
    store = shell.sandbox.store
    return [i for i in store.ids() if store.row(i).status_id != 0]


@pytest.fixture
def varied(shell: Shell) -> Shell:
    """One failed, one held as unknown, one sent twice, the rest delivered or skipped."""
    shell.configure(delivery={"on_unknown": "hold"})
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.sandbox.faults.add(f"onetribe:lost_reply#{real_ids(shell)[0]}")
    shell.run("sync", "--since", "2000-01-01").says(1)
    shell.sandbox.faults.clear()
    shell.run("push-order", str(real_ids(shell)[1]), "--force").says(0)
    return shell


def exported(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    result = shell.run("export", *arguments)
    assert result.code == 0
    if "jsonl" in arguments:
        return [json.loads(line) for line in result.out.splitlines()]
    return list(csv.DictReader(io.StringIO(result.out)))


# Status


def test_status_shows_states_and_runs(varied: Shell) -> None:
    result = varied.run("status")
    assert result.code == 0
    store = varied.sandbox.store
    skipped = len(store) - varied.eligible
    for words in (
        "Store sandbox1 to http://127.0.0.1",
        "/****",
        "may have arrived, 1 held: retry --unknown",
        "history ID shows why",
        f"{skipped} status Incomplete",
        "Owed: 1, the oldest known since 20",
        "Possible duplicates at One Tribe: 1",
        "Synced until: 2026-03-01 1",
        "push-order",
        "sync",
    ):
        assert words in result.out, words


def test_status_as_json_adds_up(varied: Shell) -> None:
    found = varied.run("status", "--json").json
    store = varied.sandbox.store
    assert set(found["states"]) == {state.value for state in State}
    assert sum(found["states"].values()) == len(store)
    assert found["states"]["delivered"] == varied.eligible - 2
    assert (found["owed"], found["possible_duplicates"]) == (1, 1)
    assert found["skipped_reasons"] == {"status Incomplete": found["states"]["skipped"]}
    assert [run["command"] for run in found["runs"]] == ["push-order", "sync"]
    sync = found["runs"][1]
    assert sync["seen"] == len(store)
    assert sync["seen"] == sum(sync[k] for k in ("delivered", "skipped", "failed", "unknown"))
    for name in ("oldest_owed_at", "last_delivered_at", "last_sync_at", "synced_until"):
        assert datetime.fromisoformat(found[name]).tzinfo is not None


def test_status_of_an_empty_ledger(shell: Shell) -> None:
    result = shell.run("status")
    assert "The ledger knows no order yet." in result.out
    assert "Owed: 0\n" in result.out
    assert "Synced until: never" in result.out
    found = shell.run("status", "--json").json
    assert (found["owed"], found["runs"], found["last_sync_at"]) == (0, [], None)


def test_status_history_and_export_call_neither_service(varied: Shell) -> None:
    varied.sandbox.reset()
    for command in (["status"], ["history", "218"], ["export"]):
        varied.run(*command)
    assert not varied.sandbox.requests
    assert not varied.sandbox.onetribe.requests


def test_status_shows_what_a_stopped_run_did_and_why_it_stopped(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@503")
    shell.run("sync", "--since", "2000-01-01").says(5)
    assert "in a row" in shell.run("status").out


# History


def test_history_shows_every_attempt(varied: Shell) -> None:
    result = varied.run("history", "218")
    assert "Order 218: failed (One Tribe responded with 422" in result.out
    assert "422" in result.out.splitlines()[-1]
    found = varied.run("history", "218", "--json").json
    assert [(one["number"], one["result"]) for one in found["history"]] == [(1, "failed")]
    assert (found["state"], found["possible_duplicates"]) == ("failed", 0)
    store = varied.sandbox.store
    skipped = next(i for i in store.ids() if store.row(i).status_id == 0)
    result = varied.run("history", str(skipped))
    assert result.out == f"Order {skipped}: skipped (status Incomplete)\n"


def test_history_of_an_unknown_order_has_a_hint(shell: Shell) -> None:
    shell.run("history", "999").says(1, "does not know order 999", "bc2ot push-order 999")
    result = shell.run("history", "999", "--json").says(1, "does not know order 999")
    assert result.json == {"order_id": 999, "state": None, "history": []}


# Export


def test_export_is_a_line_per_order_in_both_forms(varied: Shell) -> None:
    rows, lines = exported(varied), exported(varied, "--format", "jsonl")
    assert varied.run("export").out.splitlines()[0] == HEADER
    assert [int(row["order_id"]) for row in rows] == sorted(varied.sandbox.store.ids())
    assert [line["order_id"] for line in lines] == sorted(varied.sandbox.store.ids())
    for row, line in zip(rows, lines, strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in line.items()}


def test_export_proves_what_was_sent(varied: Shell) -> None:
    received = {r.order_id: r for r in varied.sandbox.onetribe.received if r.filed}
    for row in exported(varied, "--state", "delivered"):
        assert row["sha256"] == received[int(row["order_id"])].sha256
        assert row["answer_status"] == "200"
        assert row["answer"]
        assert datetime.fromisoformat(row["delivered_at"])


def test_export_takes_states(varied: Shell) -> None:
    rows = exported(varied, "--format", "jsonl", "--state", "failed", "--state", "UNKNOWN")
    assert {row["state"] for row in rows} == {"failed", "unknown"}
    varied.run("export", "--state", "nonsense").says(2, "'nonsense' is not a state", "delivered")


def test_export_status_and_history_flag_the_same_duplicates(varied: Shell) -> None:
    (flagged,) = [row["order_id"] for row in exported(varied) if row["possible_duplicates"] != "0"]
    assert flagged == str(real_ids(varied)[1])
    assert varied.run("status", "--json").json["possible_duplicates"] == 1
    assert "One Tribe may have it 2 times." in varied.run("history", flagged).out
    found = varied.run("history", flagged, "--json").json
    assert (found["possible_duplicates"], len(found["history"])) == (1, 2)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", ";", "\N{FULLWIDTH EQUALS SIGN}"])
def test_a_response_is_one_cell_that_no_spreadsheet_reads_as_a_formula(
    shell: Shell, start: str
) -> None:
    body = f'{start}HYPERLINK("http://x","y")\r\nb'.encode()
    shell.sandbox.faults.add(Fault("onetribe", "status", status=422, body=body))
    shell.run("push-order", "218").says(1)
    (row,) = exported(shell)
    assert row["answer"] == "'" + " ".join(body.decode().split())
    (line,) = exported(shell, "--format", "jsonl")
    assert line["answer"] == row["answer"][1:]


def test_two_stores_of_one_ledger_do_not_see_each_others_orders(
    varied: Shell, make_sandbox: SandboxFactory
) -> None:
    varied.set(BC2OT_STORE_HASH="another1")
    assert varied.run("status", "--json").json["owed"] == 0
    assert exported(varied) == []
    varied.run("history", "218").says(1)


def test_many_orders_are_read_page_by_page(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "ledger.db")) as database:
        ledger = make_book(database, FakeClock())
        ledger.record([Seen(make_order(i)) for i in range(1, 2_502)])
        ledger = Ledger(database, store_hash="shop", destination=DESTINATION)
        assert [entry.order_id for entry in ledger.iter_entries()] == list(range(1, 2_502))
        assert ledger.status().owed == 2_501
        assert len(ledger.entries([1, 2, 9_999])) == 2


# The bookmark


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with closing(Database(tmp_path / "ledger.db")) as database:
        yield Ledger(database, store_hash="shop", destination=DESTINATION)


def test_a_bookmark_only_moves_forward_and_its_start_only_back(ledger: Ledger) -> None:
    hour, later = timedelta(hours=1), STARTED_AT + timedelta(days=1)
    assert ledger.bookmark() is None
    first = Bookmark(STARTED_AT, STARTED_AT + hour)
    ledger.move_bookmark(first, present=later)
    ledger.move_bookmark(Bookmark(STARTED_AT + hour, STARTED_AT), present=later)
    assert ledger.bookmark() == first
    ledger.move_bookmark(Bookmark(STARTED_AT - hour, STARTED_AT + 2 * hour), present=later)
    assert ledger.bookmark() == Bookmark(STARTED_AT - hour, STARTED_AT + 2 * hour)


def test_a_bookmark_in_the_future_comes_back_to_the_present(ledger: Ledger) -> None:
    year = timedelta(days=365)
    ledger.move_bookmark(Bookmark(STARTED_AT, STARTED_AT + year), present=STARTED_AT + year)
    ledger.move_bookmark(Bookmark(STARTED_AT, STARTED_AT), present=STARTED_AT)
    assert ledger.bookmark() == Bookmark(STARTED_AT, STARTED_AT)


def test_orders_being_sent_are_owed(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "ledger.db")) as database:
        clock = FakeClock()
        ledger = make_book(database, clock)
        order = make_order(218)
        with ledger.run("sync"):
            ledger.record([Seen(order)])
            claimed = ledger.step(0, claim=order).entry
            assert claimed is not None
            status = ledger.status()
            assert (status.owed, status.states) == (1, {State.SENDING: 1})
            assert status.oldest_owed_at == clock.now()
            assert (status.runs[0].ended_at, status.runs[0].outcome) == (None, "running")
            ledger.step(0, Settlement(claimed, Outcome(State.DELIVERED, "", 200)))
        status = ledger.status()
        assert (status.owed, status.oldest_owed_at) == (0, None)
        assert status.last_sync_at == clock.now().astimezone(UTC)
        found = ledger.entry(218)
        assert found is not None
        assert len(ledger.attempts(218)) == 1


def test_a_killed_run_is_shown_as_killed_before_the_next_run_recovers_it(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(5))
    gate = Gate()
    shell.sandbox.faults.add(Fault("onetribe", "hold", gate=gate))
    process = shell.start("backfill", "--yes")
    gate.wait_arrival()
    assert shell.run("status", "--json").json["runs"][0]["outcome"] == "running"
    process.kill()
    process.wait()
    for _ in range(2):  # looking changes nothing
        run = shell.run("status", "--json").json["runs"][0]
        assert (run["outcome"], run["ended_at"]) == ("killed", None)


def test_orders_named_by_callbacks_are_counted_until_they_are_processed(shell: Shell) -> None:
    assert shell.run("sync").code == 0
    assert "callback" not in shell.run("status").out
    order_id = shell.sandbox.store.ids()[0]
    with closing(Database(shell.ledger)) as database:
        destination = fingerprint(Secret(shell.sandbox.onetribe_url))
        ledger = Ledger(database, store_hash=shell.sandbox.store_hash, destination=destination)
        ledger.inbox.put(order_id).result()
    assert "Named by callbacks, not yet processed: 1" in shell.run("status").out
    assert shell.run("status", "--json").json["callbacks_waiting"] == 1
    shell.run("sync").says(0)
    assert shell.run("status", "--json").json["callbacks_waiting"] == 0
