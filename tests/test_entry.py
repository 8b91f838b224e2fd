"""The life of one order: what may become of it, as properties over every history."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.ledger.states import (
    ABANDONED,
    DELETED,
    OWED,
    RELEASED,
    RESEND_AFTER,
    Disposition,
    Entry,
    Gap,
    Outcome,
    Policy,
    State,
    claim,
    decide,
    mark_gone,
    record,
    settle,
    settle_late,
)
from onetribe_bc.order import Order

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PLAIN = Policy()
KEPT = (State.SENDING, State.DELIVERED)
"""States that tell what One Tribe has or may have."""

policies = st.builds(
    Policy,
    force=st.booleans(),
    on_change=st.booleans(),
    resend_unknown=st.booleans(),
    retry_failed=st.booleans(),
    max_copies=st.none() | st.integers(1, 4),
    at_intervals=st.booleans(),
)
outcomes = st.sampled_from([None, *OWED[::2], State.DELIVERED, State.FAILED])


@st.composite
def entries(draw: st.DrawFn, state: State | None = None) -> Entry:
    deliveries = draw(st.integers(0, 3))
    return Entry(
        order_id=218,
        sent_at=draw(st.sampled_from([None, NOW, LATER])),
        state=state or draw(st.sampled_from(State)),
        first_seen_at=NOW,
        updated_at=NOW,
        reason=draw(st.sampled_from(["", "before"])),
        sha256=draw(st.sampled_from([None, "a" * 64, "b" * 64])),
        modified_at=draw(st.sampled_from([None, NOW])),
        attempts=draw(st.integers(1, 5)),
        arrivals=deliveries + draw(st.integers(0, 3)),
        deliveries=deliveries,
        run_id="dead",
    )


def order(sha256: str = "a" * 64, **fields: Any) -> Order:
    return Order(218, b"{}", sha256, **fields)


orders = st.sampled_from([order(), order("b" * 64), order(date_modified=LATER)])


def test_an_order_never_seen_before_becomes_owed_and_is_to_be_sent() -> None:
    entry, decision = record(None, order(date_modified=NOW), "", PLAIN, LATER)
    assert decision is Disposition.TO_SEND
    assert entry == Entry(218, State.PENDING, LATER, LATER, modified_at=NOW)
    assert entry.state in OWED


@given(st.none() | entries(), orders, policies)
def test_an_order_that_is_not_eligible_is_never_sent(
    before: Entry | None, seen: Order, policy: Policy
) -> None:
    after, decision = record(before, seen, "status Incomplete", policy, LATER)
    assert decision is not Disposition.TO_SEND
    if before is None or before.state not in KEPT:
        assert (after.state, after.reason) == (State.SKIPPED, "status Incomplete")
        assert decision is Disposition.SKIPPED
    else:
        assert after.state is before.state


@pytest.mark.parametrize(
    ("state", "policy", "decision"),
    [
        (State.SENDING, PLAIN, Disposition.CLAIMED),
        (State.DELIVERED, PLAIN, Disposition.ALREADY_DELIVERED),
        (State.DELIVERED, Policy(force=True), Disposition.SKIPPED),
        (State.DELIVERED, Policy(on_change=True), Disposition.SKIPPED),
    ],
)
def test_arrivals_are_kept_when_an_order_stops_being_eligible(
    state: State, policy: Policy, decision: Disposition
) -> None:
    before = Entry(218, state, NOW, NOW, sha256="b" * 64, arrivals=1)
    assert record(before, order(), "status Cancelled", policy, LATER) == (before, decision)


def test_an_unknown_order_that_is_no_longer_eligible_is_skipped_and_stays_flagged() -> None:
    before = Entry(218, State.UNKNOWN, NOW, NOW, sha256="b" * 64, arrivals=2)
    after, decision = record(before, order(), "status Cancelled", PLAIN, LATER)
    assert (after.state, decision) == (State.SKIPPED, Disposition.SKIPPED)
    assert after.possible_duplicates == 1


@pytest.mark.parametrize("state", [State.DELIVERED, State.UNKNOWN, State.FAILED, State.PENDING])
def test_a_released_claim_leaves_the_order_unchanged(state: State) -> None:
    before = Entry(218, state, NOW, NOW, sha256="b" * 64, attempts=1, arrivals=1, sent_at=NOW)
    claimed, decision = claim(before, order(), Policy(force=True), "mine", 0, LATER)
    assert decision is Disposition.TO_SEND
    after = settle(claimed, RELEASED, LATER)
    assert (after.state, after.sha256, after.attempts) == (state, "b" * 64, 1)
    assert (after.arrivals, after.state_before, after.run_id) == (1, None, None)


def test_an_older_version_is_not_sent_over_a_newer_one() -> None:
    newer = Entry(218, State.DELIVERED, NOW, NOW, sha256="b" * 64, modified_at=LATER)
    older = replace(order(), date_modified=NOW)
    assert decide(newer, older, Policy(on_change=True), LATER) is Disposition.ALREADY_DELIVERED


@given(entries(), orders, policies)
def test_recording_an_order_again_loses_nothing(before: Entry, seen: Order, policy: Policy) -> None:
    after, _ = record(before, seen, "", policy, LATER)
    assert (after.arrivals, after.deliveries, after.attempts, after.sha256) == (
        before.arrivals,
        before.deliveries,
        before.attempts,
        before.sha256,
    )
    assert after.first_seen_at == before.first_seen_at
    assert after.modified_at == (seen.date_modified or before.modified_at)


@given(entries(), orders, policies)
def test_orders_to_send_are_owed_or_still_delivered(
    before: Entry, seen: Order, policy: Policy
) -> None:
    after, decision = record(before, seen, "", policy, LATER)
    if decision is Disposition.TO_SEND:
        assert after.state in OWED or (after.state is State.DELIVERED and policy.force)
    elif decision is Disposition.HELD:
        assert after.state is State.UNKNOWN
        assert not policy.resend_unknown or before.unacknowledged >= (policy.max_copies or 99)
    else:
        assert after.state is before.state


@given(entries(State.DELIVERED), orders, policies)
def test_a_delivered_order_is_sent_again_only_by_force_or_when_it_changed(
    before: Entry, seen: Order, policy: Policy
) -> None:
    wanted = policy.force or (policy.on_change and seen.sha256 != before.sha256)
    if not before.deliveries:
        before = before._replace(deliveries=1, arrivals=max(1, before.arrivals))
    decision = decide(before, seen, policy, LATER)
    assert decision is (Disposition.TO_SEND if wanted else Disposition.ALREADY_DELIVERED)
    after, _ = record(before, seen, "", policy, LATER)
    if not wanted or policy.force:
        assert after.state is State.DELIVERED
    else:
        assert (after.state, after.reason) == (State.PENDING, "changed since it was delivered")


@given(entries(State.UNKNOWN), orders, policies)
def test_an_unknown_order_is_sent_again_or_held_by_policy(
    before: Entry, seen: Order, policy: Policy
) -> None:
    after, decision = record(before, seen, "", policy, LATER)
    copies = before.arrivals - before.deliveries
    if policy.force:
        expected = Disposition.TO_SEND
    elif not policy.resend_unknown or copies >= (policy.max_copies or 99):
        expected = Disposition.HELD
    elif policy.at_intervals and before.resend_at > LATER:
        expected = Disposition.PENDING
    else:
        expected = Disposition.TO_SEND
    assert decision is expected
    assert after.state is State.UNKNOWN


@pytest.mark.parametrize(
    ("copies", "hours"), [(0, 0), (1, 0), (2, 1), (3, 4), (4, 12), (5, 24), (6, 24)]
)
def test_copies_of_an_unknown_order_go_out_at_growing_intervals(copies: int, hours: int) -> None:
    entry = Entry(218, State.UNKNOWN, NOW, NOW, arrivals=copies, sent_at=NOW)
    due, policy = NOW + timedelta(hours=hours), Policy(at_intervals=True)
    assert decide(entry, order(), policy, due) is Disposition.TO_SEND
    if hours:
        early = due - timedelta(seconds=1)
        assert decide(entry, order(), policy, early) is Disposition.PENDING
        assert decide(entry, order(), Policy(), early) is Disposition.TO_SEND
        assert decide(entry, order(), Policy(at_intervals=True, force=True), early) is (
            Disposition.TO_SEND
        )


def test_a_refused_copy_is_followed_by_the_longest_interval() -> None:
    entry = Entry(218, State.UNKNOWN, NOW, NOW, arrivals=1, sent_at=NOW, answer_status=409)
    policy = Policy(at_intervals=True)
    assert decide(entry, order(), policy, LATER) is Disposition.PENDING
    assert decide(entry, order(), policy, NOW + RESEND_AFTER[-1]) is Disposition.TO_SEND


def test_an_order_that_was_sent_in_the_future_is_due() -> None:
    sent_at = NOW + timedelta(days=300)
    entry = Entry(218, State.UNKNOWN, NOW, NOW, arrivals=2, sent_at=sent_at)
    assert decide(entry, order(), Policy(at_intervals=True), NOW) is Disposition.TO_SEND


@pytest.mark.parametrize("state", [State.PENDING, State.FAILED, State.SKIPPED, State.GONE])
def test_an_order_that_may_have_arrived_max_copies_times_is_held_from_any_state(
    state: State,
) -> None:
    before = Entry(218, state, NOW, NOW, arrivals=3)
    after, decision = record(before, order(), "", Policy(max_copies=3), LATER)
    assert (after.state, decision) == (State.UNKNOWN, Disposition.HELD)
    assert claim(before, order(), Policy(max_copies=3), "mine", 0, LATER)[1] is Disposition.HELD
    assert decide(before, order(), Policy(max_copies=4), LATER) is Disposition.TO_SEND


def test_copies_before_a_delivery_do_not_hold_a_later_change() -> None:
    before = Entry(218, State.DELIVERED, NOW, NOW, sha256="b" * 64, arrivals=4, deliveries=1)
    policy = Policy(on_change=True, max_copies=3)
    changed, decision = record(before, order(), "", policy, LATER)
    assert (changed.state, decision) == (State.PENDING, Disposition.TO_SEND)
    assert decide(changed, order(), policy, LATER) is Disposition.TO_SEND


@given(entries(State.FAILED), orders, policies)
def test_a_failed_order_is_tried_again_when_asked_for_or_when_it_changed(
    before: Entry, seen: Order, policy: Policy
) -> None:
    wanted = policy.force or policy.retry_failed or seen.sha256 != before.sha256
    policy = replace(policy, max_copies=None)
    after, decision = record(before, seen, "", policy, LATER)
    assert decision is (Disposition.TO_SEND if wanted else Disposition.FAILED_BEFORE)
    assert after.state is (State.PENDING if wanted else State.FAILED)


@given(st.sampled_from([State.SKIPPED, State.GONE]), policies, st.data())
def test_a_skipped_or_gone_order_is_checked_again(
    state: State, policy: Policy, data: st.DataObject
) -> None:
    policy = replace(policy, max_copies=None)
    after, decision = record(data.draw(entries(state)), order(), "", policy, LATER)
    assert decision is Disposition.TO_SEND
    assert (after.state, after.reason) == (State.PENDING, "")


@given(entries(), orders, policies)
def test_a_claim_is_taken_exactly_when_the_order_is_to_be_sent(
    before: Entry, seen: Order, policy: Policy
) -> None:
    after, decision = claim(before, seen, policy, "mine", 0, LATER)
    assert decision is decide(before, seen, policy, LATER)
    if decision is not Disposition.TO_SEND:
        assert after is before
        return
    assert (after.state, after.run_id, after.sha256) == (State.SENDING, "mine", seen.sha256)
    assert (after.sent_at, after.attempts) == (LATER, before.attempts + 1)
    assert (after.arrivals, after.deliveries) == (before.arrivals, before.deliveries)


@given(entries(), orders, policies)
def test_no_run_claims_an_order_that_another_run_has_claimed(
    before: Entry, seen: Order, policy: Policy
) -> None:
    claimed, decision = claim(before, seen, policy, "mine", 0, LATER)
    if decision is Disposition.TO_SEND:
        assert claim(claimed, seen, policy, "other", 0, LATER) == (claimed, Disposition.CLAIMED)
        assert claim(claimed, seen, policy, "mine", 0, LATER) == (claimed, Disposition.TO_SEND)


@given(entries(State.SENDING), outcomes)
def test_arrivals_and_deliveries_add_up(before: Entry, state: State | None) -> None:
    after = settle(before, Outcome(state, "why", 200, "said"), LATER)
    assert after.state is (state or State.PENDING)
    assert after.arrivals == before.arrivals + (state in (State.DELIVERED, State.UNKNOWN))
    assert after.deliveries == before.deliveries + (state is State.DELIVERED)
    assert after.attempts == before.attempts - (state is None)
    assert after.possible_duplicates == max(0, after.arrivals - 1)
    assert (after.run_id, after.worker) == (None, None)
    assert after.reason == ("why" if state else "")
    assert (after.delivered_at == LATER) is (state is State.DELIVERED)


@given(entries(), outcomes)
def test_a_late_outcome_counts_its_arrival_and_leaves_a_newer_claim_alone(
    before: Entry, state: State | None
) -> None:
    after = settle_late(before, Outcome(state, "why", 200, "said"), LATER)
    assert after.arrivals == before.arrivals + (state in (State.DELIVERED, State.UNKNOWN))
    if before.state is State.SENDING or state is not State.DELIVERED:
        assert (after.state, after.run_id) == (before.state, before.run_id)
    else:
        assert after.state is State.DELIVERED


@pytest.mark.parametrize(
    ("created", "before", "arrivals"),
    [
        (NOW, None, 1),
        (None, None, 1),
        (LATER, None, 0),
        (NOW, Entry(218, State.PENDING, LATER, LATER), 1),
        (NOW, Entry(218, State.PENDING, NOW, NOW), 0),
        (NOW, Entry(218, State.DELIVERED, LATER, LATER, arrivals=1), 1),
    ],
)
def test_an_order_that_may_have_been_sent_in_a_missing_period_counts_as_arrived(
    created: datetime | None, before: Entry | None, arrivals: int
) -> None:
    gap = Gap(accepted_at=NOW + timedelta(minutes=30), until=NOW + timedelta(minutes=10))
    entry, _ = record(before, order(date_created=created), "", PLAIN, LATER, gap)
    assert entry.arrivals == arrivals
    assert record(entry, order(date_created=created), "", PLAIN, LATER, gap)[0] == entry


@pytest.mark.parametrize("state", [state for state in State if state is not State.SENDING])
def test_an_order_that_is_not_being_sent_cannot_be_settled(state: State) -> None:
    with pytest.raises(ValueError, match=f"order 218 is {state}, not sending"):
        settle(Entry(218, state, NOW, NOW), Outcome(State.DELIVERED), LATER)


@given(entries())
def test_an_order_that_bigcommerce_lost_is_gone_unless_one_tribe_has_it(
    before: Entry,
) -> None:
    after = mark_gone(before, LATER)
    if before.state in KEPT:
        assert after.state is before.state
        assert (after.status == DELETED) is (before.state is State.DELIVERED)
    else:
        assert (after.state, after.reason) == (State.GONE, "BigCommerce no longer has it")


steps = st.one_of(
    st.tuples(st.just("record"), st.sampled_from(["", "status Incomplete"]), policies, orders),
    st.tuples(st.just("claim"), policies, orders),
    st.tuples(st.just("settle"), outcomes),
    st.tuples(st.just("crash")),
    st.tuples(st.just("lose")),
)


@given(st.lists(steps, max_size=30))
def test_over_every_history_copies_beyond_the_first_are_possible_duplicates(
    history: list[tuple[Any, ...]],
) -> None:
    entry: Entry | None = None
    may_have_arrived = acknowledged = 0
    for name, *details in history:
        if name == "record":
            skip, policy, seen = details
            entry, _ = record(entry, seen, skip, policy, LATER)
        elif entry is None:
            continue
        elif name == "claim":
            policy, seen = details
            entry, _ = claim(entry, seen, policy, "mine", 0, LATER)
        elif name == "lose":
            entry = mark_gone(entry, LATER)
        elif entry.state is State.SENDING:
            outcome = Outcome(details[0]) if name == "settle" else ABANDONED
            entry = settle(entry, outcome, LATER)
            may_have_arrived += outcome.state in (State.DELIVERED, State.UNKNOWN)
            acknowledged += outcome.state is State.DELIVERED
    if entry is not None:
        assert (entry.arrivals, entry.deliveries) == (may_have_arrived, acknowledged)
        assert entry.possible_duplicates == max(0, may_have_arrived - 1)
        assert entry.attempts >= 0
