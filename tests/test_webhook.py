"""Callbacks: BigCommerce's published examples, malformed ones, and forged ones."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from onetribe_bc.api.webhook import (
    MAX_CALLBACK_BYTES,
    SECRET_HEADER,
    SIGNATURE_HEADERS,
    Verifier,
    parse_callback,
    parse_message,
)
from onetribe_bc.errors import InputError, NotAuthenticError
from onetribe_bc.order import MAX_ORDER_ID
from onetribe_bc.secret import Secret
from tests import callbacks

# Parsing

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
FIELDS = st.sampled_from([*CREATED, "id", "type", "detail", "message", "order_id"])


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


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "store/order/refund/created"},
        {"scope": "store/order/transaction/created", "data": TRANSACTION},
        {"scope": "store/order/transaction/updated", "data": TRANSACTION},
        {"scope": "store/channel/12/order/updated"},
        {"scope": "store/order/unknown"},
        {"data": {"type": "order", "id": "250"}},
    ],
)
def test_an_order_is_named_by_any_event_about_its_content(changes: dict[str, Any]) -> None:
    callback = parse_callback(body(**changes))
    assert (callback.order_id, callback.ignored) == (250, "")


def test_messages_and_metafields_are_ignored(data: Path) -> None:
    message = parse_callback((data / "callback_message_created.json").read_bytes())
    metafield = parse_callback(body(scope="store/order/metafield/updated", data=METAFIELD))
    for callback in (message, metafield):
        assert callback.order_id is None
        assert "messages and metafields" in callback.ignored


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
def test_events_about_other_things_are_ignored_whatever_their_data(scope: str) -> None:
    for content in (body(scope=scope, data=[1]), body(scope=scope, data=...)):
        callback = parse_callback(content)
        assert (callback.order_id, callback.ignored) == (None, "it is not about orders")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("store_id", [None, True, "x", -1, 1.5, {}, ...]),
        ("created_at", ["x", 10**18, -5, False, [], 1e300]),
    ],
)
def test_an_invalid_store_id_or_time_is_ignored(field: str, values: list[object]) -> None:
    for value in values:
        assert getattr(parse_callback(body(**{field: value})), field) is None
    assert parse_callback(body(hash="could forge\na log")).hash == ""


def test_new_and_missing_fields_are_tolerated() -> None:
    callback = parse_callback(
        body(hash=..., created_at=..., store_id=..., channel_id=None, new={"a": [1, {"b": 2}]})
    )
    assert (callback.order_id, callback.hash, callback.created_at) == (250, "", None)


def test_store_hashes_compare_without_case() -> None:
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
        (b"\xff\xfe{}", "UTF-16, not UTF-8"),
        ('{"scope": 1}'.encode("utf-16-le"), "UTF-16, not UTF-8"),
        (b"{\xe9}", "not UTF-8"),
        (b"[" * 60_000, "not JSON"),
        (b'{"a":' * 10_000, "not JSON"),
        (b'{"scope": NaN}', "not JSON"),
        (b'{"data": {"id": Infinity}}', "not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON"),
        (b" " * (MAX_CALLBACK_BYTES + 1), "larger than 65,536 bytes"),
        (b'{"scope": "a", "scope": "a"}', "a repeated key"),
        (b'{"data": {"id": 1, "id": 2}}', "a repeated key"),
        (body(scope=7), 'scope is invalid: "7"'),
        (body(scope="store/order/created\n"), "scope is invalid"),
        (body(scope="order/created"), "scope is invalid"),
        (body(scope=["store/order/created"]), 'scope is invalid: "list"'),
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
def test_an_invalid_callback_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


@given(st.text(min_size=1))
@example("\x1b[31m" * 50)
@example("\ud800" * 100)
@example("[/x]" * 40)
def test_a_reason_quotes_at_most_60_printable_characters(text: str) -> None:
    message = refusal(body(scope=f"/{text}"))
    quoted = message.split('"', 1)[1].rpartition('"')[0]
    assert len(quoted) <= 60
    assert message.isprintable()


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_callback_or_an_input_error(content: bytes) -> None:
    for parse in (parse_callback, parse_message):
        with suppress(InputError):
            parse(content)


@given(st.dictionaries(FIELDS, JSON), st.dictionaries(FIELDS, JSON))
def test_any_fields_are_refused_or_safe_to_use(
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


@given(
    st.integers(1, MAX_ORDER_ID) | st.just(MAX_ORDER_ID),
    st.booleans(),
    st.integers(1, 2**40),
    st.booleans(),
)
def test_ids_are_read_as_they_were_sent(
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


def test_a_callback_is_found_in_a_queues_envelope() -> None:
    bare = parse_callback(body())
    assert parse_message(body()) == bare
    assert parse_message(event(CREATED)) == bare
    assert parse_message(push(base64.b64encode(body()).decode())) == bare
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
def test_an_envelope_without_a_callback_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_message(content)


# Verification

CLIENT = "client-secret-of-the-api-account"
SHARED = "shared-secret-of-the-hook"
BODY = b'{"scope": "store/order/created", "note": "\xc3\xa9"}'
HEADER_TEXT = st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))


def verifier(*, client: str | None = CLIENT, shared: str | None = SHARED) -> Verifier:
    return Verifier(
        client_secret=Secret(client) if client else None,
        shared_secret=Secret(shared) if shared else None,
    )


def signed(body: bytes = BODY, *, secret: str = CLIENT, **given: Any) -> dict[str, str]:
    return callbacks.signed(body, secret=secret, **given)


def with_secret(value: str = SHARED) -> dict[str, str]:
    return callbacks.with_secret(value)


def reason(headers: object, body: bytes = BODY, by: Verifier | None = None) -> str:
    with pytest.raises(NotAuthenticError) as caught:
        (by or verifier()).check(headers, body)  # type: ignore[arg-type]
    assert str(caught.value) == "The callback is not authentic."
    assert caught.value.hint == ""
    return caught.value.reason


# The published vector


class FrozenDatetime(datetime):
    """The library's clock, at the time of the published example."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(1614265330, UTC)


KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def published_verifier() -> Verifier:
    return verifier(client=base64.b64decode(KEY).decode("utf-8", "surrogateescape"), shared=None)


def test_the_published_example_is_authentic_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", FrozenDatetime)
    published_verifier().check(PUBLISHED, b'{"test": 2432232314}')
    reason(PUBLISHED, b'{"test": 2432232315}', published_verifier())


def test_the_published_example_is_too_old_today() -> None:
    assert reason(PUBLISHED, b'{"test": 2432232314}', published_verifier()) == "timestamp"


# Signatures


@pytest.mark.parametrize("age_s", [0, 290, -290, 310, -310, 10**6])
def test_a_signature_is_valid_for_five_minutes_both_ways(age_s: int) -> None:
    if abs(age_s) < 300:
        verifier(shared=None).check(signed(age_s=age_s), BODY)
    else:
        assert reason(signed(age_s=age_s)) == "timestamp"


def test_one_of_several_signatures_is_enough() -> None:
    # As while a secret is changed: the sender signs with the old and the new one.
    headers = signed()
    other = signed(secret="the-secret-before")["webhook-signature"]
    for line in (f"{other} {headers['webhook-signature']}", f"v2,AAAA v1a,x= {headers['webhook-signature']} {other}"):  # fmt: skip  # noqa: E501
        verifier().check({**headers, "webhook-signature": line}, BODY)
    assert reason({**headers, "webhook-signature": f"{other} {other}"}) == "signature wrong"
    assert reason(signed(b"\xff"), b"\xff") == "signature wrong"


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp"])
def test_no_part_of_a_signature_can_be_changed_or_left_out(part: str) -> None:
    headers = signed()
    other = str(int(headers[part]) + 1) if part == "webhook-timestamp" else "msg_2"
    assert reason({**headers, part: other}) == "signature wrong"
    assert reason({**headers, part: ""}) == "signature missing"
    del headers[part]
    assert reason(headers) == "signature missing"


@pytest.mark.parametrize(
    "line",
    ["v1", "v1,", "v1,=", "v1,é", "v1,a,b", ",", " ", "\udcff", "v1,A", "v2,AAAA", "x" * 9999],
)
def test_a_malformed_signature_is_wrong(line: str) -> None:
    assert reason({**signed(), "webhook-signature": line}) == "signature wrong"


@pytest.mark.parametrize("at", ["x", "nan", "inf", "1e400", "-1e30", "\ud800", "0x10", "9" * 400])
def test_a_malformed_timestamp_is_refused(at: str) -> None:
    assert reason({**signed(), "webhook-timestamp": at}) in ("signature wrong", "timestamp")


def test_header_names_ignore_case() -> None:
    verifier().check({name.title(): value for name, value in signed().items()}, BODY)
    verifier().check({SECRET_HEADER.upper(): SHARED}, BODY)


# The shared secret


@pytest.mark.parametrize(
    "value", ["", SHARED[:-1], f"{SHARED}x", SHARED.upper(), "é", "\udcff", "\0"]
)
def test_a_different_secret_is_wrong(value: str) -> None:
    assert reason(with_secret(value), by=verifier(client=None)) == "secret wrong"


# Both


def test_a_signature_or_a_secret_is_enough() -> None:
    verifier().check(with_secret(), BODY)
    verifier().check(signed(), BODY)
    verifier().check(signed() | with_secret(), BODY)


def test_each_one_that_is_present_must_be_valid() -> None:
    assert reason(signed() | with_secret("wrong")) == "secret wrong"
    assert reason(signed(secret="wrong") | with_secret()) == "signature wrong"


def test_a_callback_without_either_is_refused() -> None:
    assert reason({}) == "signature missing"
    assert reason({}, by=verifier(shared=None)) == "signature missing"
    assert reason({}, by=verifier(client=None)) == "secret missing"


def test_what_is_not_configured_does_not_count() -> None:
    assert reason(signed(), by=verifier(client=None)) == "secret missing"
    assert reason(with_secret(), by=verifier(shared=None)) == "signature missing"
    verifier(client=None).check(signed(secret="wrong") | with_secret(), BODY)


def test_without_configuration_every_callback_is_refused() -> None:
    nothing = Verifier(client_secret=Secret(""), shared_secret=None)
    assert not nothing.is_configured
    assert reason(signed() | with_secret(""), by=nothing) == "secret missing"
    assert verifier(client=None).is_configured
    assert verifier(shared=None).is_configured


def test_repeated_headers_must_be_equal() -> None:
    verifier().check([*with_secret().items(), *with_secret().items()], BODY)
    verifier().check([*with_secret().items(), ("Accept", "a"), ("accept", "b")], BODY)
    assert reason([*with_secret().items(), (SECRET_HEADER, "x")]) == "header given twice"
    assert reason({SECRET_HEADER: SHARED, SECRET_HEADER.lower(): "x"}) == "header given twice"


# Unauthenticated clients


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*SIGNATURE_HEADERS, SECRET_HEADER, "Webhook-Id", "accept"]), HEADER_TEXT
    ),
    st.binary(max_size=100),
)
def test_any_unauthenticated_request_is_refused_without_a_crash(
    headers: dict[str, str], body: bytes
) -> None:
    for by in (verifier(), verifier(client=None), verifier(shared=None)):
        reason(headers, body, by)


@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_a_signed_callback_that_was_changed_is_refused(data: st.DataObject) -> None:
    headers = signed()
    part = data.draw(st.sampled_from(["body", *SIGNATURE_HEADERS]))
    if part == "body":
        body = data.draw(st.binary(max_size=80).filter(lambda raw: raw != BODY))
        reason(headers, body, verifier(shared=None))
        return
    value = headers[part]
    place = data.draw(st.integers(0, len(value) - 1))
    character = data.draw(st.characters().filter(lambda c: c != value[place]))
    changed = value[:place] + character + value[place + 1 :]
    try:
        verifier(shared=None).check({**headers, part: changed}, BODY)
    except NotAuthenticError:
        return
    # Some spellings stand for the same bytes in base64, or for the same number.
    assert part != "webhook-id"
    assert meaning(part, changed) == meaning(part, value)


def meaning(part: str, value: str) -> object:
    if part == "webhook-timestamp":
        return int(float(value))
    return [
        base64.b64decode(one.split(",")[1]) for one in value.split(" ") if one.startswith("v1,")
    ]
