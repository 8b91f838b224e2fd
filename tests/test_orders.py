"""Orders: the ledger's list of orders, and its filters, which retry and export have, too."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.commands.follow import LONGEST_S, POLL_S, follow
from onetribe_bc.errors import InterruptedRunError
from onetribe_bc.ledger.ledger import Ledger, Seen, Settlement
from onetribe_bc.ledger.listing import EntryFilter
from onetribe_bc.ledger.states import Outcome, State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.location import Location
from tests.clocks import STARTED_AT, FakeClock
from tests.delivering import make_book, make_order
from tests.shell import Shell, shell_fixture  # noqa: F401

SINCE = ("--since", "2000-01-01")
SECOND = timedelta(seconds=1)
DELIVERED = Outcome(State.DELIVERED, "", 200)


# Filters of the ledger


@pytest.fixture
def ledger(location: Location, clock: FakeClock) -> Iterator[Ledger]:
    with closing(Database(location)) as database:
        yield make_book(database, clock)


def ids(ledger: Ledger, *states: State, **filters: Any) -> list[int]:
    return [entry.order_id for entry in ledger.iter_entries(states, EntryFilter(**filters))]


def send(ledger: Ledger, order_id: int, outcome: Outcome = DELIVERED) -> None:
    claimed = ledger.step(0, claim=make_order(order_id)).entry
    assert claimed is not None
    ledger.step(0, Settlement(claimed, outcome))


def test_a_window_of_last_changes_includes_both_ends_to_the_second(
    ledger: Ledger, clock: FakeClock
) -> None:
    for order_id in range(1, 5):  # at 0, 0.9, 1.8 and 2.7 seconds
        ledger.record([Seen(make_order(order_id))])
        clock.advance(0.9)
    assert ids(ledger, since=STARTED_AT + SECOND) == [3, 4]
    assert ids(ledger, until=STARTED_AT + SECOND) == [1, 2, 3]
    assert ids(ledger, since=STARTED_AT + SECOND, until=STARTED_AT + SECOND) == [3]
    clock.advance(60)
    with ledger.run("sync"):
        send(ledger, 1)
    assert ids(ledger, since=STARTED_AT + 60 * SECOND) == [1]


@pytest.mark.parametrize("text", ["größe", "GRÖSSE", "100%", "status"])
def test_a_reason_is_found_by_a_part_of_it_in_upper_or_lower_case(
    ledger: Ledger, text: str
) -> None:
    orders = [Seen(make_order(1), "Status Größe 100%"), Seen(make_order(2), "100 of")]
    ledger.record([*orders, Seen(make_order(3))])
    assert ids(ledger, reason=text) == [1]


def test_orders_that_may_have_arrived_twice_are_found(ledger: Ledger) -> None:
    ledger.record([Seen(make_order(i)) for i in (1, 2, 3)])
    with ledger.run("sync"):
        for order_id in (1, 2):
            send(ledger, order_id, Outcome(State.UNKNOWN, "no response"))
        send(ledger, 2)
    assert ids(ledger, duplicates=True) == [2]
    assert ids(ledger, State.UNKNOWN, duplicates=True) == []


def test_orders_of_a_run_are_found_also_if_a_later_run_sent_them_again(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.record([Seen(make_order(i)) for i in (1, 2, 3)])
    with ledger.run("first"):
        send(ledger, 1, Outcome(State.UNKNOWN, "no response"))
        send(ledger, 1, Outcome(State.UNKNOWN, "no response"))
    clock.advance(1)
    with ledger.run("second"):
        send(ledger, 1)
        ledger.step(0, claim=make_order(2))
        second, first = (run.id for run in ledger.status().runs)
        assert ids(ledger, run_id=first) == [1]
        assert ids(ledger, run_id=second) == [1, 2]
        assert ids(ledger, State.SENDING, run_id=second) == [2]
    assert ids(ledger, run_id="other") == []


def test_a_filter_finds_orders_beyond_the_first_page(ledger: Ledger, clock: FakeClock) -> None:
    ledger.record([Seen(make_order(i), "old") for i in range(1, 2_101)])
    clock.advance(1)
    ledger.record([Seen(make_order(i), "new") for i in (5, 1_500, 2_100)])
    assert ids(ledger, since=STARTED_AT + SECOND) == [5, 1_500, 2_100]
    assert ids(ledger, State.SKIPPED, State.FAILED, reason="NEW") == [5, 1_500, 2_100]
    assert ids(ledger, State.FAILED, reason="new") == []


# The command


@pytest.fixture
def listed(shell: Shell, location: Location) -> Shell:
    """218 failed, one is held as unknown, one was sent twice, the rest delivered or skipped."""
    shell.set(BC2OT_LEDGER=str(location) if isinstance(location, Path) else location.url.reveal())
    shell.configure(delivery={"on_unknown": "hold"}, timezone="Europe/Berlin")
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.sandbox.faults.add(f"onetribe:lost_reply#{eligible(shell)[0]}")
    shell.run("sync", *SINCE).says(1)
    shell.sandbox.faults.clear()
    shell.run("push-order", str(eligible(shell)[1]), "--force").says(0)
    return shell


def eligible(shell: Shell) -> list[int]:
    store = shell.sandbox.store
    return [i for i in store.ids() if store.row(i).status_id != 0]


def listing(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    result = shell.run("orders", "--json", *arguments).says(0)
    return [json.loads(line) for line in result.out.splitlines()]


def listed_ids(shell: Shell, *arguments: str) -> list[int]:
    return [row["order_id"] for row in listing(shell, *arguments)]


def test_a_table_has_a_line_per_order_with_sent_attempts_and_reason(listed: Shell) -> None:
    header, *lines = listed.run("orders").says(0).out.splitlines()
    assert header.split() == ["store", "order", "state", "sent", "attempts", "reason"]
    assert len(lines) == len(listed.sandbox.store)
    by_id = {int(line.split()[1]): line for line in lines}
    refused = by_id[218].split(maxsplit=7)
    assert refused[:3] == ["sandbox1", "218", "failed"]
    assert refused[5] in ("+01:00", "+02:00")
    assert (refused[6], "422" in refused[7]) == ("1", True)
    skipped = next(i for i in by_id if i not in eligible(listed))
    assert by_id[skipped].split()[2:5] == ["skipped", "-", "0"]
    assert "(One Tribe may have it 2 times)" in by_id[eligible(listed)[1]]


def test_json_is_one_object_a_line_that_agrees_with_history(listed: Shell) -> None:
    rows = {row["order_id"]: row for row in listing(listed)}
    assert list(rows) == sorted(listed.sandbox.store.ids())
    assert (rows[218]["store"], rows[218]["store_hash"]) == (None, "sandbox1")
    history = listed.run("history", "218", "--json").json
    shared = {name: value for name, value in rows[218].items() if name in history}
    assert {"state", "reason", "attempts", "sent_at", "updated_at", "status"} < set(shared)
    assert shared == {name: history[name] for name in shared}


def test_filters_are_combined(listed: Shell) -> None:
    unknown, twice, *_ = eligible(listed)
    assert listed_ids(listed, "--state", "FAILED", "--state", "unknown") == sorted([218, unknown])
    assert listed_ids(listed, "--reason", "STATUS incomplete", "--state", "failed") == []
    assert listed_ids(listed, "--reason", "STATUS incomplete", "--since", "1d")
    assert listed_ids(listed, "--since", "1d", "--state", "failed") == [218]
    assert listed_ids(listed, "--until", "2020-01-01") == []
    assert listed_ids(listed, "--duplicates") == [twice]
    assert listed_ids(listed, "--limit", "2") == sorted(listed.sandbox.store.ids())[:2]
    runs = {run["command"]: run["id"] for run in listed.run("status", "--json").json["runs"]}
    assert listed_ids(listed, "--run", runs["push-order"]) == [twice]
    assert listed_ids(listed, "--run", runs["sync"]) == sorted(eligible(listed))


def test_an_unknown_reason_or_run_lists_nothing(shell: Shell) -> None:
    shell.run("push-order", "218").says(0)
    for arguments in (["--reason", "no such reason"], ["--run", "0123456789abcdef"]):
        result = shell.run("orders", *arguments).says(0, "No orders.")
        assert len(result.out.splitlines()) == 1
        assert shell.run("-q", "orders", "--json", *arguments).stdout == b""


@pytest.mark.parametrize("command", ["orders", "export"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--state", "delivred"], ["'delivred' is not a state", "Did you mean 'delivered'?"]),
        (["--state", "x"], ["The states are: pending, sending, delivered"]),
        (["--since", "today", "--until", "yesterday"], ["ends", "before it starts"]),
        (["--since", "tomorow"], ["tomorow", "not a valid date"]),
    ],
)
def test_wrong_usage_is_refused(
    shell: Shell, command: str, arguments: list[str], words: list[str]
) -> None:
    assert shell.run(command, *arguments).says(2, *words).out == ""
    assert not shell.ledger.exists()


def test_the_window_is_said_in_the_configured_time_zone(shell: Shell) -> None:
    shell.configure(timezone="Europe/Berlin")
    result = shell.run("orders", "--since", "2026-01-01", "--until", "2026-07-01")
    result.says(0, "last changed 2026-01-01 00:00:00 +01:00 to 2026-07-01 23:59:59 +02:00.")


def test_a_closed_pipe_ends_the_list_silently(shell: Shell) -> None:
    shell.run("backfill", "--yes").says(0)
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    for arguments in (["orders"], ["orders", "--json"], ["export"]):
        result = shell.pipe(script, *arguments)
        assert (result.code, result.err, len(result.out.splitlines())) == (0, "", 1)


# Following


def test_following_yields_each_change_once(ledger: Ledger, clock: FakeClock) -> None:
    ledger.record([Seen(make_order(i)) for i in (1, 2, 3)])
    clock.advance(3600)
    found = follow(ledger, (State.PENDING, State.DELIVERED), EntryFilter(), clock)

    def until_idle() -> list[tuple[int, State]]:
        return [(each.order_id, each.state) for each in iter(lambda: next(found), None)]

    assert until_idle() == [(i, State.PENDING) for i in (1, 2, 3)]
    with ledger.run("sync"):
        send(ledger, 2)
        assert until_idle() == [(2, State.DELIVERED)]
        assert until_idle() == []
        send(ledger, 3, Outcome(State.FAILED, "refused"))
        assert until_idle() == []
        clock.advance(3600)
        send(ledger, 3)
        assert until_idle() == [(3, State.DELIVERED)]
    clock.stop()
    with pytest.raises(InterruptedRunError):
        next(found)
    assert (clock.slept[0], max(clock.slept)) == (POLL_S, LONGEST_S)


def test_a_change_that_is_visible_late_is_not_missed(
    ledger: Ledger, location: Location, clock: FakeClock
) -> None:
    slow = FakeClock(STARTED_AT - timedelta(seconds=30))
    found = follow(ledger, (), EntryFilter(), clock)
    assert next(found) is None
    with closing(Database(location)) as database:
        make_book(database, slow).record([Seen(make_order(1))])
    entry = next(found)
    assert entry is not None
    assert entry.order_id == 1


@pytest.mark.parametrize("arguments", [["--until", "today"], ["--all-stores"]])
def test_following_has_no_end_and_one_store(shell: Shell, arguments: list[str]) -> None:
    shell.run("orders", "--follow", *arguments).says(2, "--follow contradicts")


def test_following_shows_orders_as_they_are_sent_until_ctrl_c(shell: Shell) -> None:
    process = shell.start("orders", "--follow", "--json")
    assert process.stdout is not None
    shell.run("push-order", "218").says(0)
    assert json.loads(process.stdout.readline())["order_id"] == 218
    process.send_signal(signal.SIGINT)
    assert shell.finish(process).code == 130


def test_following_ends_silently_with_its_reader(shell: Shell) -> None:
    shell.run("push-order", "218").says(0)
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    result = shell.pipe(script, "orders", "--follow", "--json")
    assert (result.code, result.err, len(result.out.splitlines())) == (0, "", 1)


def test_following_ends_at_the_limit(shell: Shell) -> None:
    shell.run("push-order", "218").says(0)
    assert len(shell.spawn("orders", "--follow", "--limit", "1").says(0).out.splitlines()) == 2
