"""`push-order` and `backfill`: what they send, print, and end with."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import pytest

from onetribe_bc.sandbox import Fault, Sandbox
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401

INCOMPLETE = 0


def _incomplete(sandbox: Sandbox) -> int:
    return next(i for i in sandbox.store.ids() if sandbox.store.row(i).status_id == INCOMPLETE)


def _sound(sandbox: Sandbox, number: int) -> list[int]:
    """The first orders that are to be sent."""
    store = sandbox.store
    return [i for i in store.ids() if store.row(i).status_id != INCOMPLETE][:number]


# push-order


def test_ids_come_from_stdin_as_a_spreadsheet_writes_them(shell: Shell) -> None:
    first, second = _sound(shell.sandbox, 2)
    table = f"\ufeff{first}\r\n# a comment\r\n\r\n{second}\r\n".encode()
    shell.run("push-order", "-", stdin=table).says(0, "2 orders seen: 2 delivered.")
    assert shell.sandbox.onetribe.counts() == {first: 1, second: 1}


def test_a_dry_run_prints_the_bytes_that_are_sent_later(shell: Shell) -> None:
    body = shell.run("push-order", "218", "--dry-run", personal=True).says(0).stdout
    assert not shell.sandbox.onetribe.received
    assert shell.state(218) is None
    shell.run("push-order", "218").says(0, "1 delivered")
    digest = hashlib.sha256(body).hexdigest()
    assert digest == hashlib.sha256(shell.sandbox.onetribe.bodies(218)[0]).hexdigest()
    assert digest == shell.state(218)["sha256"]


def test_a_dry_run_puts_line_breaks_between_orders_and_reports_what_would_not_be_sent(
    shell: Shell,
) -> None:
    skipped = _incomplete(shell.sandbox)
    sent = [218, *_sound(shell.sandbox, 1)]
    ids = map(str, [*sent, skipped, 9999])
    result = shell.run("push-order", *ids, "--dry-run", personal=True)
    result.says(1, f"Order {skipped} skipped: status Incomplete")
    assert "Order 9999 not in the store: BigCommerce has no such order" in result.err
    bodies = [shell.sandbox.store.raw(order_id) for order_id in sorted(sent)]
    assert result.stdout == b"\n".join(bodies)


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_what_is_delivered_is_not_sent_again_and_force_is_named(
    shell: Shell, options: list[str]
) -> None:
    shell.run("push-order", "218").says(0)
    result = shell.run("push-order", "218", *options).says(0, "already delivered", "--force")
    assert not result.out
    assert shell.sandbox.onetribe.counts() == {218: 1}
    shell.run("push-order", "218", "--force").says(0, "1 delivered", "1 possible duplicate ")
    assert shell.sandbox.onetribe.counts() == {218: 2}


def test_an_incomplete_order_is_reported_with_the_reason(shell: Shell) -> None:
    skipped = _incomplete(shell.sandbox)
    shell.run("push-order", str(skipped)).says(1, f"Order {skipped} skipped: status Incomplete")
    assert not shell.sandbox.onetribe.received
    shell.sandbox.store.complete(skipped)
    shell.run("push-order", str(skipped)).says(0, "1 delivered")


def test_push_order_as_json(shell: Shell) -> None:
    found = shell.run("push-order", "218", "9999", "--json").says(1, "Check the IDs").json
    assert found["store_hash"] == "sandbox1"
    assert found["complete"] is True
    assert (found["seen"], found["delivered"], found["missing"]) == (2, 1, 1)
    assert found["problems"] == [
        {"order_id": 9999, "kind": "missing", "reason": "BigCommerce has no such order"}
    ]


# backfill


KINDS = (
    "delivered",
    "to_send",
    "already_delivered",
    "skipped",
    "failed",
    "failed_before",
    "unknown",
    "held",
    "pending",
    "claimed_by_another_run",
    "missing",
)


def _counts(found: dict[str, int]) -> int:
    return sum(found[name] for name in KINDS)


def test_a_backfill_sends_everything_once(shell: Shell) -> None:
    total, owed = len(shell.sandbox.store), shell.eligible
    result = shell.run("backfill", "--yes").says(0, f"{total} orders seen: {owed} delivered")
    assert f"{total - owed} skipped ({total - owed} status Incomplete)." in result.err
    assert not result.out
    assert set(shell.sandbox.onetribe.counts().values()) == {1}
    shell.run("backfill", "--yes").says(0, f"{owed} already delivered")
    assert len(shell.sandbox.onetribe.received) == owed


def test_the_window_is_printed_with_its_offset(shell: Shell) -> None:
    shell.configure(timezone="Europe/London")
    result = shell.run("backfill", "--since", "2025-07-01", "--until", "2026-02-20", "--dry-run")
    assert result.lines[0].startswith(
        "Store sandbox1, orders created 2025-07-01 00:00:00 +01:00 to 2026-02-20 23:59:59 +00:00:"
    )


def test_an_open_end_is_frozen_at_the_stores_time(shell: Shell) -> None:
    result = shell.run("backfill", "--since", "2026-02-10T06:00", "--by", "modified", "--dry-run")
    assert "orders modified 2026-02-10 06:00:00 +00:00 to " in result.lines[0]
    assert " to 2026-03-01 12:00:" in result.lines[0]


def test_a_backfill_as_json_adds_up(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    result = shell.run("backfill", "--yes", "--json")
    found = result.json
    assert result.code == 1
    assert found["seen"] == _counts(found) == len(shell.sandbox.store)
    assert found["failed"] == 1
    assert found["skipped_reasons"] == {"status Incomplete": found["skipped"]}
    assert found["problems"][0]["order_id"] == 218
    assert (found["complete"], found["ended_by"]) == (True, None)
    assert found["until"].endswith("+00:00")


def test_a_backfill_that_stops_early_reports_it_in_json(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@401")
    result = shell.run("backfill", "--yes", "--json").says(4, "merchant key")
    assert result.json["complete"] is False
    assert "401" in result.json["ended_by"]
    assert result.json["seen"] == _counts(result.json)


def test_a_dry_run_counts_and_lists_orders_and_sends_none(shell: Shell) -> None:
    store = shell.sandbox.store
    result = shell.run("backfill", "--dry-run").says(0, "Nothing is sent.")
    assert f"{shell.eligible} to send" in result.err
    shell.run("backfill", "--ids", result.out.strip()).says(0, f"{shell.eligible} delivered")
    assert set(shell.sandbox.onetribe.counts()) == {
        i for i in store.ids() if store.row(i).status_id != INCOMPLETE
    }


def test_a_dry_run_as_json_names_the_ids(shell: Shell) -> None:
    found = shell.run("backfill", "--dry-run", "--limit", "3", "--json").json
    assert found["dry_run"] is True
    assert found["ids"] == _sound(shell.sandbox, 3)
    assert found["seen"] == _counts(found)
    assert not shell.sandbox.onetribe.received


def test_ids_and_ranges(shell: Shell) -> None:
    ids = _sound(shell.sandbox, 4)
    asked = f"218,{ids[0]}-{ids[2]}"
    result = shell.run("backfill", "--ids", "-", stdin=asked.encode())
    result.says(0, "orders by id", "4 delivered")
    assert set(shell.sandbox.onetribe.counts()) == {218, *ids[:3]}


def test_from_and_to_id_with_a_limit(shell: Shell) -> None:
    ids = _sound(shell.sandbox, 8)
    span = ["--from-id", str(ids[1]), "--to-id", str(ids[6])]
    shell.run("backfill", *span, "--limit", "2", "--workers", "1").says(0, "2 delivered")
    assert set(shell.sandbox.onetribe.counts()) == set(ids[1:3])
    shell.run("backfill", *span, "--force").says(0, "6 delivered", "2 possible duplicates")


def test_by_one_or_several_statuses_and_by_channel(shell: Shell) -> None:
    store = shell.sandbox.store
    row = store.row(_sound(shell.sandbox, 1)[0])
    wanted = {
        i
        for i in store.ids()
        if store.row(i).status_id == row.status_id and store.row(i).channel_id == row.channel_id
    }
    status = json.loads(store.raw(row.id))["status"].upper()
    channel = ("--channel", str(row.channel_id))
    shell.run("backfill", "--yes", "--status", status, *channel).says(0, "delivered")
    assert set(shell.sandbox.onetribe.counts()) == wanted
    statuses = {store.row(i).status_id for i in store.ids()} - {INCOMPLETE}
    shell.run("backfill", "--yes", *(f"--status={each}" for each in statuses)).says(0, "delivered")
    assert len(shell.sandbox.onetribe.counts()) == shell.eligible


# before a bulk send


@pytest.mark.parametrize("options", [[], ["--status", "Shipped"], ["--limit", "1"], ["--json"]])
def test_without_dates_ids_and_a_terminal_a_backfill_requires_yes(
    shell: Shell, options: list[str]
) -> None:
    shell.run("backfill", *options).says(2, "needs a terminal", "--since 30d", "--yes")
    with shell.terminal("--no-input", "backfill", *options) as terminal:
        terminal.sees("needs a terminal").ends(2)
    assert not shell.sandbox.requests
    shell.run("backfill", "--from-id", "1", *options).says(0)


@pytest.mark.parametrize("options", [[], ["-q"], ["--json"]])
def test_a_backfill_without_dates_or_ids_counts_orders_by_status_and_asks(
    shell: Shell, options: list[str]
) -> None:
    store = shell.sandbox.store
    counts = Counter(json.loads(store.raw(i))["status"] for i in store.ids())
    skipped = counts.pop("Incomplete")
    with shell.terminal("backfill", *options, columns=200) as terminal:
        terminal.sees(f"To send: at most {shell.eligible} orders of these: ")
        terminal.sees(f"Skipped by orders.skip_statuses: {skipped} Incomplete.")
        question = f"Send up to {shell.eligible} orders to One Tribe? Each may cost you money."
        terminal.sees("add --dry-run").answers(question, "n").ends(0)
        assert all(f"{number} {status}" in terminal.shown for status, number in counts.items())
        assert ("Nothing was sent." in terminal.shown) is ("-q" not in options)
    assert len(shell.sandbox.requests) == 1
    assert not shell.sandbox.onetribe.received
    with shell.terminal("backfill", *options, columns=200) as terminal:
        terminal.answers(question, "y").ends(0)
    assert set(shell.sandbox.onetribe.counts().values()) == {1}
    assert len(shell.sandbox.onetribe.counts()) == shell.eligible


@pytest.mark.parametrize("keys", ["\x03", "\x04"])
def test_leaving_the_question_of_a_backfill_sends_nothing(shell: Shell, keys: str) -> None:
    with shell.terminal("backfill") as terminal:
        terminal.sees("Each may cost you money. [y/N]:").leaves(keys).ends(130)
    assert not shell.sandbox.onetribe.received


def test_with_yes_a_backfill_counts_its_orders_and_does_not_ask(shell: Shell) -> None:
    with shell.terminal("backfill", "--yes", columns=200) as terminal:
        terminal.sees(f"To send: at most {shell.eligible} orders").ends(0)
        assert "[y/N]" not in terminal.shown
    known = f"Not sent again: the {shell.eligible} orders of this store delivered before."
    shell.run("backfill", "--yes").says(0, known)
    assert known not in shell.run("backfill", "--yes", "--force").says(0).err


def test_more_than_a_thousand_orders_are_asked_for_with_dates_and_ids_as_well(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(1300))
    first, *_, last = shell.sandbox.store.ids()
    dates = ("backfill", "--since", "2000-01-01", "--workers", "16")
    for command, number in (
        (dates, shell.eligible),
        ((*dates, "--limit", "1001"), 1001),
        (("backfill", "--ids", f"{first}-{last}"), last - first + 1),
    ):
        with shell.terminal(*command) as terminal:
            terminal.answers(f"Send up to {number:,} orders to One Tribe?", "n").ends(0)
    assert not shell.sandbox.onetribe.received
    with shell.terminal(*dates, "--limit", "1000") as terminal:
        terminal.ends(0)
        assert "[y/N]" not in terminal.shown
    shell.run(*dates).says(0, f"To send: at most {shell.eligible:,} orders")
    assert len(shell.sandbox.onetribe.counts()) == shell.eligible


def test_a_backfill_that_cannot_count_its_orders_asks(shell: Shell) -> None:
    shell.sandbox.faults.add(
        Fault("bigcommerce", "status", status=200, path="/orders/count", body=b"[]")
    )
    with shell.terminal("backfill", "--since", "2000-01-01") as terminal:
        terminal.answers("Send up to an unknown number of orders to One Tribe?", "n").ends(0)
    assert not shell.sandbox.onetribe.received


def test_a_dry_run_counts_orders_by_month_in_the_configured_time_zone_and_by_status(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(0))
    for created in ("Fri, 30 Jan 2026", "Sat, 31 Jan 2026", "Sun, 01 Feb 2026"):
        shell.sandbox.store.add(date_created=f"{created} 23:30:00 +0000", status_id=10)
    shell.sandbox.store.add(date_created="Sun, 01 Feb 2026 12:00:00 +0000", status_id=2)
    shell.configure(timezone="Europe/Berlin")
    result = shell.run("backfill", "--dry-run")
    result.says(0, "Created 2026-01: 1 Completed\nCreated 2026-02: 2 Completed, 1 Shipped\n")
    shell.run("backfill", "--ids", result.out.split(",")[0].split("-")[0]).says(0)
    assert shell.run("backfill", "--dry-run", "--json").json["to_send_by_month"] == {
        "2026-02": {"Completed": 2, "Shipped": 1}
    }


# orders.not_before, and old orders


@pytest.mark.parametrize("command", [["sync", "--since", "2025-12-01"], ["backfill", "--yes"]])
def test_orders_created_before_the_day_not_before_are_skipped_in_its_time_zone(
    shell: Shell, make_sandbox: SandboxFactory, command: list[str]
) -> None:
    shell.use(make_sandbox(0))
    early, first = (
        shell.sandbox.store.add(date_created=f"Sat, 31 Jan 2026 {at} +0000")
        for at in ("22:59:59", "23:00:00")
    )
    shell.configure(timezone="Europe/Berlin", orders={"not_before": date(2026, 2, 1)})
    reason = "created before 2026-02-01"
    shell.run(*command).says(0, f"2 orders seen: 1 delivered, 1 skipped (1 {reason}).")
    assert shell.sandbox.onetribe.counts() == {first: 1}
    shell.run("push-order", str(early), "--force").says(1, f"Order {early} skipped: {reason}")
    shell.configure(timezone="UTC", orders={"not_before": date(2026, 1, 31)})
    shell.run("backfill", "--yes").says(0, "Orders created before 2026-01-31 are skipped")
    assert shell.sandbox.onetribe.counts() == {first: 1, early: 1}


@pytest.mark.parametrize("command", [["sync", "--since", "2025-12-01"], ["backfill", "--yes"]])
def test_only_orders_of_the_configured_channels_are_sent(
    shell: Shell, make_sandbox: SandboxFactory, command: list[str]
) -> None:
    shell.use(make_sandbox(0))
    first, second, third = (shell.sandbox.store.add(channel_id=n) for n in (1, 2, 3))
    shell.configure(orders={"channels": [1, 3]})
    shell.run(*command).says(0, "3 orders seen: 2 delivered, 1 skipped (1 channel 2).")
    assert shell.sandbox.onetribe.counts() == {first: 1, third: 1}
    shell.run("push-order", str(second), "--force").says(1, f"Order {second} skipped: channel 2")
    shell.run("backfill", "--yes", "--force").says(0, "Only orders of channel 1, 3 are sent.")
    shell.configure(orders={"channels": []})
    shell.run("reconcile").says(1, f"Order {second} missing at One Tribe")
    shell.run("backfill", "--yes").says(0, "1 delivered")


def test_an_order_without_a_channel_is_sent_whatever_channels_says(shell: Shell) -> None:
    body = shell.sandbox.store.raw(218).replace(b'"channel_id"', b'"canal_id"')
    shell.sandbox.faults.add(
        Fault("bigcommerce", "status", status=200, path="/orders/218", body=body)
    )
    shell.configure(orders={"channels": [77]})
    shell.run("push-order", "218").says(0, "1 delivered")


def test_an_order_without_a_date_of_creation_is_sent_whatever_not_before_says(
    shell: Shell,
) -> None:
    body = shell.sandbox.store.raw(218).replace(b'"date_created"', b'"date_imported"')
    shell.sandbox.faults.add(
        Fault("bigcommerce", "status", status=200, path="/orders/218", body=body)
    )
    shell.configure(orders={"not_before": date(2026, 2, 1)})
    shell.run("push-order", "218").says(0, "1 delivered")


def test_delivered_orders_created_more_than_a_year_ago_are_counted(
    shell: Shell, make_sandbox: SandboxFactory
) -> None:
    shell.use(make_sandbox(0))
    now = datetime.now(UTC)
    for days in (364, 366, 4000):
        at = format_datetime(now - timedelta(days))
        shell.sandbox.store.add(date_created=at, date_modified=at)
    result = shell.run("backfill", "--yes", "--json")
    result.says(0, "3 delivered. Created more than a year ago: 2 of the delivered.")
    assert result.json["created_over_a_year_ago"] == 2
    assert "year" not in shell.run("backfill", "--yes").says(0, "3 already delivered").err


# problems


@pytest.mark.parametrize(("orders", "named"), [(60, "them"), (1300, "the first 1,000")])
def test_problems_are_listed_up_to_a_number(
    shell: Shell, make_sandbox: SandboxFactory, orders: int, named: str
) -> None:
    shell.use(make_sandbox(orders))
    shell.sandbox.faults.add("onetribe:status@413")
    result = shell.run("backfill", "--yes", "--workers", "16").says(1, "Failed orders wait")
    assert len([line for line in result.lines if line.startswith("Order ")]) == 20
    assert f"... and {shell.eligible - 20:,} more; --json names {named}." in result.err


def test_a_second_backfill_of_the_store_is_refused(shell: Shell) -> None:
    gate = shell.sandbox.faults.hold("onetribe")
    other = shell.start("backfill", "--yes", "--workers", "2")
    gate.wait_arrival()
    shell.run("backfill", "--yes").says(
        6, "Another sync or backfill of store sandbox1 is running", "Wait"
    )
    gate.open()
    shell.finish(other).says(0, "delivered")


def test_a_held_order_waits_for_force(shell: Shell) -> None:
    shell.configure(delivery={"on_unknown": "hold", "attempts": 1})
    shell.sandbox.faults.add("onetribe:lost_reply*1#218")
    shell.run("push-order", "218").says(1, "Order 218 unknown", "may have arrived")
    shell.run("push-order", "218").says(1, "Order 218 unknown and held", "Held orders wait for you")
    assert shell.sandbox.onetribe.counts() == {218: 1}
    shell.run("push-order", "218", "--force").says(0, "1 delivered", "1 possible duplicate")


def test_notes_with_markup_emoji_and_escapes_are_printed_safely(shell: Shell) -> None:
    note = "[/x] [bold]\x1b[31m 🎂👩🏽‍🌾 \u202e\x9b2J"
    shell.sandbox.store.modify(218, staff_notes=note, customer_message=note)
    answer = f"{note} is no order".encode()
    shell.sandbox.faults.add(
        Fault("onetribe", "status", status=422, order_ids=frozenset({218}), body=answer)
    )
    result = shell.run("push-order", "218").says(1, "Order 218 failed")
    found = shell.run("push-order", "218", "--json")
    for stream in (result.stderr, result.stdout, found.stdout, found.stderr):
        assert b"\x1b" not in stream
        assert "\x9b".encode() not in stream
        assert "\u202e".encode() not in stream
    assert found.json["failed"] == 1


def test_a_bigcommerce_error_with_markup_and_escapes_is_printed_safely(shell: Shell) -> None:
    said = b'[{"status": 400, "message": "[/x] \\u001b[31m no \\ud800 \xf0\x9f\x8e\x82"}]'
    shell.sandbox.faults.add(Fault("bigcommerce", "status", status=400, body=said))
    result = shell.run("backfill", "--yes").says(2, "[/x] ", "no", "🎂")
    assert b"\x1b" not in result.stderr
