"""Retry: what failed or is unknown, and nothing else."""

from __future__ import annotations

import pytest

from onetribe_bc.commands.retry import choose_orders, preview
from onetribe_bc.delivery.context import open_context
from onetribe_bc.ledger.listing import EntryFilter
from onetribe_bc.ledger.states import Disposition, Policy, State
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Sandbox
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.syncing import LONG_AGO, Station


@pytest.fixture
def troubled(shell: Shell) -> Shell:
    """218 failed, 100 is unknown and held, the rest is delivered."""
    shell.configure(delivery={"on_unknown": "hold"})
    ids = [i for i in shell.sandbox.store.ids() if shell.sandbox.store.row(i).status_id != 0]
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.sandbox.faults.add(f"onetribe:lost_reply#{ids[0]}")
    shell.run("backfill", "--yes").says(1)
    shell.sandbox.faults.clear()
    return shell


def unknown_id(shell: Shell) -> int:
    ids = [i for i in shell.sandbox.store.ids() if shell.sandbox.store.row(i).status_id != 0]
    return ids[0]


def test_failed_ones_are_sent_again_and_the_others_left_alone(troubled: Shell) -> None:
    before = len(troubled.sandbox.onetribe.received)
    troubled.run("retry", "--failed").says(0, "1 order seen: 1 delivered.")
    assert len(troubled.sandbox.onetribe.received) == before + 1
    assert troubled.states()["unknown"] == 1
    assert troubled.sandbox.onetribe.counts()[218] == 1


def test_unknown_ones_are_sent_again_also_when_held_and_flagged(troubled: Shell) -> None:
    troubled.run("backfill", "--yes").says(1, "unknown and held")
    told = troubled.run("retry", "--unknown")
    told.says(0, "1 order seen: 1 delivered.", "1 possible duplicate at One Tribe.")
    assert troubled.sandbox.onetribe.counts()[unknown_id(troubled)] == 2
    assert set(troubled.states()) == {"delivered", "skipped"}


def test_failed_and_unknown_together_leave_nothing_to_retry(troubled: Shell) -> None:
    told = troubled.run("retry", "--failed", "--unknown", "--json")
    assert (told.code, told.json["delivered"], told.json["complete"]) == (0, 2, True)
    asked = len(troubled.sandbox.requests)
    troubled.run("retry", "--failed", "--unknown").says(0, "0 orders seen.")
    assert len(troubled.sandbox.requests) == asked


def test_single_orders_by_id_and_the_delivered_among_them_left_alone(troubled: Shell) -> None:
    other = next(
        i for i in troubled.sandbox.onetribe.counts() if i not in (218, unknown_id(troubled))
    )
    troubled.run("retry", "218", str(other), "218").says(0, "1 delivered", "1 already delivered")
    assert troubled.sandbox.onetribe.counts()[other] == 1
    assert troubled.sandbox.onetribe.counts()[218] == 1


def test_an_id_that_is_not_in_the_ledger_is_refused_with_a_hint(troubled: Shell) -> None:
    before = len(troubled.sandbox.requests)
    troubled.run("retry", "218", "999").says(
        2, "Order 999 is not in the ledger", "bc2ot push-order 999"
    )
    assert len(troubled.sandbox.requests) == before


@pytest.mark.parametrize(
    "arguments",
    [(), ("218", "--failed"), ("0",), ("x",), ("218", "--since", "1d"), ("218", "--reason", "x")],
)
def test_it_needs_either_ids_or_states(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.run("retry", *arguments).says(2, "Usage:")


def test_it_fails_again_where_it_is_refused_again(troubled: Shell) -> None:
    troubled.sandbox.faults.add("onetribe:status@422#218")
    troubled.run("retry", "218").says(1, "Order 218 failed", "422")
    troubled.run("-q", "retry", "--failed").says(1)
    assert troubled.state(218)["attempts"] == 3


def test_an_order_that_the_store_no_longer_has_is_reported_and_gone(troubled: Shell) -> None:
    troubled.sandbox.store.remove(218)
    troubled.run("retry", "--failed").says(1, "1 not in the store")
    assert troubled.state(218)["state"] == "gone"


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        (["--since", "1h"], 1),
        (["--until", "1h"], 0),
        (["--reason", "REFUSES this"], 1),
        (["--reason", "timeout"], 0),
        (["--since", "1h", "--reason", "timeout"], 0),
    ],
)
def test_dates_and_reason_narrow_what_is_sent(
    troubled: Shell, filters: list[str], number: int
) -> None:
    before = len(troubled.sandbox.onetribe.received)
    words = f"{number} order{'' if number == 1 else 's'} seen"
    troubled.run("retry", "--failed", *filters, "--dry-run").says(0, "Nothing is sent.", words)
    troubled.run("retry", "--failed", *filters).says(0, words)
    assert len(troubled.sandbox.onetribe.received) == before + number


def test_a_window_that_ends_before_it_starts_is_refused(troubled: Shell) -> None:
    window = ("--since", "today", "--until", "yesterday")
    troubled.run("retry", "--failed", *window).says(2, "before it starts")


def test_a_dry_run_shows_what_would_be_sent_and_changes_nothing(
    sandbox: Sandbox, location: Location
) -> None:
    station = Station(sandbox, location)
    refused = next(i for i in sandbox.store.ids() if i != 218 and sandbox.store.row(i).status_id)
    sandbox.faults.add(f"onetribe:status@422#{refused}")
    station.sync(LONG_AGO)
    sandbox.faults.clear()
    before, received = station.rows(), len(sandbox.onetribe.received)
    with open_context(station.settings(), station.clock, Policy()) as context:
        chosen = choose_orders(context.ledger, (), [State.FAILED], EntryFilter(reason="REFUSES"))
        previews = [report for report, _ in preview(context, chosen)]
    assert [(one.order_id, one.disposition) for one in previews] == [(refused, Disposition.TO_SEND)]
    assert (station.rows(), len(sandbox.onetribe.received)) == (before, received)


def test_a_dry_run_prints_the_ids_that_the_retry_then_sends(troubled: Shell) -> None:
    everything = ("retry", "--failed", "--unknown")
    wanted = sorted([218, unknown_id(troubled)])
    told = troubled.run(*everything, "--dry-run", "--json")
    assert (told.code, told.json["ids"], told.json["dry_run"]) == (0, wanted, True)
    assert troubled.run("retry", "218", "--dry-run").says(0).out == "218\n"
    assert troubled.run(*everything, "--json").json["delivered"] == 2
