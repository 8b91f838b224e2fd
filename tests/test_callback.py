"""Callbacks: BigCommerce's published ones, and whatever a stranger makes of them."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.api.webhook import (
    MAX_CALLBACK_BYTES,
    QUOTED_CHARACTERS,
    parse_callback,
    parse_message,
)
from onetribe_bc.errors import InputError
from onetribe_bc.order import MAX_ORDER_ID

CREATED: dict[str, Any] = {
    "scope": "store/order/created",
    "store_id": "1025646",
    "data": {"type": "order", "id": 250},
    "hash": "dd70c0976e06b67aaf671e73f49dcb79230ebf9d",
    "created_at": 1561479335,
    "producer": "stores/abc123",
}
TRANSACTION = {"type": "transaction", "order_id": 250, "transaction_id": "176342342"}
METAFIELD = {"metafield_id": 14, "resource_id": "270"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KEYS = st.sampled_from([*CREATED, "id", "type", "detail", "message", "order_id"])


def body(**changes: Any) -> bytes:
    """The published example, changed; a value of ... leaves its key out."""
    document = {**CREATED, **changes}
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse_callback(content)
    return str(caught.value)


@pytest.mark.parametrize("name", ["created", "updated", "archived", "statusUpdated"])
def test_bigcommerces_examples_name_their_order(data: Path, name: str) -> None:
    callback = parse_callback((data / f"callback_{name}.json").read_bytes())
    assert callback.scope == f"store/order/{name}"
    assert (callback.order_id, callback.store_hash, callback.store_id) == (250, "abc123", 1025646)
    assert callback.created_at == datetime(2019, 6, 25, 16, 15, 35, tzinfo=UTC)
    assert len(callback.hash) == 40
    assert callback.ignored == ""


def test_a_refund_names_the_order_that_it_changes(data: Path) -> None:
    callback = parse_callback((data / "callback_refund_created.json").read_bytes())
    assert (callback.order_id, callback.ignored) == (250, "")


@pytest.mark.parametrize("event", ["created", "updated"])
def test_a_transaction_names_its_order_under_another_key(event: str) -> None:
    callback = parse_callback(body(scope=f"store/order/transaction/{event}", data=TRANSACTION))
    assert callback.order_id == 250


def test_a_channels_orders_are_orders() -> None:
    assert parse_callback(body(scope="store/channel/12/order/updated")).order_id == 250


def test_an_event_of_orders_that_is_new_to_us_is_acted_on() -> None:
    assert parse_callback(body(scope="store/order/shipped")).order_id == 250


def test_messages_and_metafields_change_nothing_that_is_sent(data: Path) -> None:
    message = parse_callback((data / "callback_message_created.json").read_bytes())
    metafield = parse_callback(body(scope="store/order/metafield/updated", data=METAFIELD))
    for callback in (message, metafield):
        assert callback.order_id is None
        assert "neither messages nor metafields" in callback.ignored


@pytest.mark.parametrize(
    "scope",
    [
        "store/product/updated",
        "store/priceList/updated/",
        "store/hook/deliveryException",
        "store/cart/lineItem/created",
        "store/orders/created",
    ],
)
def test_other_things_than_orders_are_ignored_whatever_their_data(scope: str) -> None:
    for content in (body(scope=scope, data=[1]), body(scope=scope, data=...)):
        callback = parse_callback(content)
        assert (callback.order_id, callback.ignored) == (None, "it is not about orders")


@pytest.mark.parametrize("store_id", [1025646, "1025646"])
def test_the_store_id_is_a_number_or_a_string(store_id: object) -> None:
    assert parse_callback(body(store_id=store_id)).store_id == 1025646


@pytest.mark.parametrize("store_id", [None, True, "x", -1, 1.5, {}, ...])
def test_a_store_id_that_is_none_does_no_harm(store_id: object) -> None:
    assert parse_callback(body(store_id=store_id)).store_id is None


def test_the_order_id_may_be_a_string_of_digits() -> None:
    assert parse_callback(body(data={"type": "order", "id": "250"})).order_id == 250


def test_fields_that_are_new_or_missing_do_no_harm() -> None:
    callback = parse_callback(
        body(hash=..., created_at=..., store_id=..., channel_id=None, new={"a": [1, {"b": 2}]})
    )
    assert (callback.order_id, callback.hash, callback.created_at) == (250, "", None)


@pytest.mark.parametrize("created_at", ["x", 10**18, -5, False, [], 1e300])
def test_a_time_that_is_none_does_no_harm(created_at: object) -> None:
    assert parse_callback(body(created_at=created_at)).created_at is None


def test_a_hash_that_could_forge_a_log_is_dropped() -> None:
    assert parse_callback(body(hash="abc\ndef")).hash == ""


def test_stores_are_told_apart_whatever_their_case() -> None:
    callback = parse_callback(body(producer="stores/ABC123"))
    assert callback.is_of("abc123")
    assert not callback.is_of("abc1234")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'"scope"', "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", "no scope"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"a":' * 10_000, "not JSON"),
        (b'{"scope": NaN}', "not JSON"),
        (b'{"data": {"id": Infinity}}', "not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (MAX_CALLBACK_BYTES + 1), "larger than 65,536 bytes"),
        (b'{"scope": "a", "scope": "a"}', "a key twice"),
        (b'{"data": {"id": 1, "id": 2}}', "a key twice"),
        (body(scope=7), 'not one of a webhook: "7"'),
        (body(scope="store/order/created\n"), "not one of a webhook"),
        (body(scope="order/created"), "not one of a webhook"),
        (body(scope=["store/order/created"]), 'not one of a webhook: "list"'),
        (body(scope=None), "no scope"),
        (body(producer=...), "does not name its store"),
        (body(producer="stores/abc123/"), "does not name its store"),
        (body(producer=5), "does not name its store"),
        (body(data=...), "no data"),
        (body(data=[250]), "no data"),
        (body(data={"id": 250}), 'not about an order: "None"'),
        (body(data={"type": "cart", "id": 250}), 'not about an order: "cart"'),
        (body(data=TRANSACTION), 'not about an order: "transaction"'),
        (body(scope="store/order/transaction/created"), 'not about an order: "order"'),
        *(
            (body(data={"type": "order", "id": bad}), "is not an id")
            for bad in (None, True, 0, -1, 1.0, "", "x", "-1", "1.0", "²", [1], {"a": 1},
                        MAX_ORDER_ID + 1, "9" * 20, 10**40)
        ),
    ],
)  # fmt: skip
def test_what_is_no_callback_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


def test_the_greatest_id_is_taken() -> None:
    assert parse_callback(body(data={"type": "order", "id": MAX_ORDER_ID})).order_id == MAX_ORDER_ID


@given(st.text(min_size=1))
@example("\x1b[31m" * 50)
@example("\ud800" * 100)
@example("[/x]" * 40)
def test_a_reason_quotes_little_and_nothing_that_moves_a_cursor(text: str) -> None:
    told = refusal(body(scope=f"/{text}"))
    quoted = told.split('"', 1)[1].rpartition('"')[0]
    assert len(quoted) <= QUOTED_CHARACTERS
    assert told.isprintable()


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_bring_it_down(content: bytes) -> None:
    for parse in (parse_callback, parse_message):
        with suppress(InputError):
            parse(content)


@given(st.dictionaries(KEYS, JSON), st.dictionaries(KEYS, JSON))
def test_whatever_its_fields_hold_it_is_refused_or_safe_to_act_on(
    changes: dict[str, Any], data: dict[str, Any]
) -> None:
    try:
        callback = parse_message(body(**{"data": {"type": "order", "id": 7, **data}, **changes}))
    except InputError:
        return
    assert callback.order_id is None or 0 < callback.order_id <= MAX_ORDER_ID
    assert (callback.order_id is None) == bool(callback.ignored)
    for text in (callback.scope, callback.store_hash, callback.hash):
        assert text.isascii()
        assert text.isprintable()


@given(st.integers(1, MAX_ORDER_ID), st.booleans(), st.integers(1, 2**40), st.booleans())
def test_every_id_comes_back_as_it_was_sent(
    order_id: int, as_text: bool, store_id: int, store_as_text: bool
) -> None:
    data = {"type": "order", "id": str(order_id) if as_text else order_id}
    callback = parse_callback(
        body(data=data, store_id=str(store_id) if store_as_text else store_id)
    )
    assert (callback.order_id, callback.store_id) == (order_id, store_id)


# As queues wrap them


def event(detail: object) -> bytes:
    document = {"version": "0", "detail-type": "bigCommerceWebhook", "detail": detail}
    return json.dumps(document).encode()


def push(data: object) -> bytes:
    message = {"data": data, "messageId": "1", "attributes": {}}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


def test_a_callback_is_found_in_what_queues_wrap_it_in() -> None:
    bare = parse_callback(body())
    assert parse_message(body()) == bare
    assert parse_message(event(CREATED)) == bare
    assert parse_message(push(base64.b64encode(body()).decode())) == bare


def test_only_queues_wrap_callbacks() -> None:
    assert "no scope" in refusal(event(CREATED))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (event({}), "no scope"),
        (event("x"), "no scope"),
        (push("not base64!"), "not base64"),
        (push("²"), "not base64"),
        (push(base64.b64encode(b"hi").decode()), "not JSON"),
        (push(base64.b64encode(push("e30=")).decode()), "no scope"),
        (push(None), "no scope"),
        (b'{"message": "hi"}', "no scope"),
    ],
)
def test_an_envelope_with_something_else_in_it_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_message(content)
