from __future__ import annotations

import json
from typing import Any

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.conftest import NOW


def order(sandbox: Sandbox, order_id: int) -> Any:
    return json.loads(sandbox.store.raw(order_id))


def incomplete(sandbox: Sandbox) -> int:
    return sandbox.store.add(status_id=0)


def test_an_added_order_comes_last_and_is_new(sandbox: Sandbox) -> None:
    before = sandbox.store.ids()
    order_id = sandbox.store.add(customer_message="Bitte klingeln")

    assert sandbox.store.ids() == (*before, order_id)
    assert order_id == before[-1] + 1
    assert order(sandbox, order_id)["customer_message"] == "Bitte klingeln"
    assert order(sandbox, order_id)["date_created"].startswith("Sun, 01 Mar 2026 12:")


def test_an_order_can_be_added_with_a_given_id(sandbox: Sandbox) -> None:
    assert sandbox.store.add(id=50) == 50
    assert sandbox.store.ids()[0] == 50


@pytest.mark.parametrize("order_id", [218, "219", None])
def test_an_existing_or_invalid_id_is_refused(sandbox: Sandbox, order_id: object) -> None:
    with pytest.raises(ValueError, match=r"exists|integer id"):
        sandbox.store.add(id=order_id)


def test_a_refused_order_leaves_nothing_behind(sandbox: Sandbox) -> None:
    before = sandbox.store.ids()
    with pytest.raises(ValueError, match="no order status 77"):
        sandbox.store.add(status_id=77)

    assert sandbox.store.ids() == before


def test_a_raw_order_is_served_byte_for_byte(sandbox: Sandbox) -> None:
    raw = (
        b'{ "id" : 7,\t"ratio": 1.000, "date_created":"Sun, 01 Feb 2026 10:00:00 +0000",'
        b'"date_modified":"Sun, 01 Feb 2026 10:00:00 +0000" }'
    )
    assert sandbox.store.add(raw) == 7
    assert sandbox.store.raw(7) == raw
    assert sandbox.store.row(7).channel_id == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "JSON object"),
        (b"{", "Expecting"),
        (b'{"id": true}', "integer id"),
        (b'{"id": 7, "date_created": "yesterday"}', "needs date_created as RFC 2822"),
    ],
)
def test_a_malformed_raw_order_is_refused(sandbox: Sandbox, raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sandbox.store.add(raw)


def test_a_change_updates_date_modified_and_keeps_the_rest(sandbox: Sandbox) -> None:
    order_id = sandbox.store.ids()[3]
    before = order(sandbox, order_id)
    sandbox.store.modify(order_id, staff_notes="packed")
    after = order(sandbox, order_id)

    assert after["date_modified"].startswith("Sun, 01 Mar 2026 12:")
    assert sandbox.store.row(order_id).date_modified >= NOW.timestamp()
    assert before | {"staff_notes": "packed", "date_modified": after["date_modified"]} == after


def test_changes_add_up(sandbox: Sandbox) -> None:
    date = "Mon, 02 Feb 2026 00:00:00 +0000"
    sandbox.store.modify(218, staff_notes="a")
    sandbox.store.modify(218, status_id=2, date_modified=date)
    after = order(sandbox, 218)

    assert (after["staff_notes"], after["date_modified"]) == ("a", date)
    assert (after["status_id"], after["status"]) == (2, "Shipped")
    assert sandbox.store.row(218).status_id == 2


@pytest.mark.parametrize("fields", [{"id": 219}, {"status_id": "2"}, {"date_created": "now"}])
def test_an_invalid_change_is_refused(sandbox: Sandbox, fields: dict[str, object]) -> None:
    before = sandbox.store.raw(218)
    with pytest.raises(ValueError, match=r"id|status|RFC 2822"):
        sandbox.store.modify(218, **fields)

    assert sandbox.store.raw(218) == before


def test_checkout_turns_an_incomplete_order_into_a_real_one_with_the_same_id(
    sandbox: Sandbox,
) -> None:
    order_id = incomplete(sandbox)
    assert order(sandbox, order_id)["custom_status"] == "Incomplete - Testing"
    sandbox.store.complete(order_id)

    assert order(sandbox, order_id)["status"] == "Awaiting Fulfillment"
    with pytest.raises(ValueError, match="not Incomplete"):
        sandbox.store.complete(order_id)


def test_a_removed_order_is_gone_and_its_id_is_not_used_again(sandbox: Sandbox) -> None:
    order_id = sandbox.store.add()
    sandbox.store.remove(order_id)

    assert order_id not in sandbox.store
    assert sandbox.store.add() == order_id + 1
    with pytest.raises(KeyError):
        sandbox.store.raw(order_id)


def test_an_unknown_order_cannot_be_changed(sandbox: Sandbox) -> None:
    with pytest.raises(KeyError):
        sandbox.store.modify(1)
    with pytest.raises(KeyError):
        sandbox.store.complete(1)
    with pytest.raises(KeyError):
        sandbox.store.remove(1)
