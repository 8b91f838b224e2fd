from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.errors import BadResponseError
from onetribe_bc.order import MAX_ORDER_ID, Order, UnreadableOrder, parse_order, parse_orders

SPACE = st.text(" \t\r\n", max_size=3)
LONG_NUMBERS = st.sampled_from(
    ["0.10000000000000000000000001", "1E+2", "-0.0", "123456789012345678901234567890", "1e400"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)


@st.composite
def _string(draw: st.DrawFn) -> str:
    """A JSON string, some characters of it escaped in one of the ways JSON has."""
    written = []
    for character in draw(st.text(max_size=12)):
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        surrogate = 0xD800 <= ord(character) <= 0xDFFF
        escaped = json.dumps(character)[1:-1]
        slash = "\\/" if character == "/" else plain
        written.append(escaped if surrogate else draw(st.sampled_from([plain, escaped, slash])))
    return '"' + "".join(written) + '"'


def _space_around(draw: st.DrawFn, text: str) -> str:
    return f"{draw(SPACE)}{text}{draw(SPACE)}"


@st.composite
def _object(draw: st.DrawFn, value: st.SearchStrategy[str]) -> str:
    fields = draw(st.lists(st.tuples(_string(), value), max_size=4))
    return "{" + ",".join(f"{draw(SPACE)}{k}{draw(SPACE)}:{v}" for k, v in fields) + "}"


@st.composite
def _array(draw: st.DrawFn, value: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(value, max_size=4))
    return "[" + ",".join(_space_around(draw, item) for item in items) + "]"


VALUES = st.recursive(
    st.one_of(_string(), LONG_NUMBERS, SCALARS.map(json.dumps)),
    lambda value: st.one_of(_object(value), _array(value)),
    max_leaves=8,
)


@st.composite
def _order(draw: st.DrawFn, order_id: int) -> str:
    """An order in any form that JSON allows; its last `id` counts."""
    before = draw(st.lists(st.tuples(_string(), VALUES), max_size=4))
    after = draw(st.lists(st.tuples(st.sampled_from(['"status"', '"x"']), VALUES), max_size=2))
    fields = [*before, ('"id"', str(order_id)), *after]
    pairs = (f"{_space_around(draw, name)}:{_space_around(draw, v)}" for name, v in fields)
    return "{" + ",".join(pairs) + "}"


@st.composite
def _lists(draw: st.DrawFn) -> tuple[str, list[str]]:
    ids = draw(st.lists(st.integers(1, MAX_ORDER_ID), max_size=4))
    items = [draw(_order(order_id)) for order_id in ids]
    inner = ",".join(_space_around(draw, item) for item in items) or draw(SPACE)
    return _space_around(draw, f"[{inner}]"), items


@given(_lists())
def test_each_order_of_a_list_keeps_its_own_bytes(given_list: tuple[str, list[str]]) -> None:
    """The payload is cut out, never parsed and serialized: unknown fields, escapes, long decimals
    and big integers arrive unchanged.
    """
    text, items = given_list

    orders = parse_orders(text.encode())

    assert [order.body for order in orders if isinstance(order, Order)] == [
        item.encode() for item in items
    ]
    for order in orders:
        assert isinstance(order, Order)
        assert order.sha256 == hashlib.sha256(order.body).hexdigest()
        assert parse_order(order.body) == order


@given(st.one_of(st.binary(), st.text().map(str.encode), VALUES.map(str.encode)))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"id":' + b"9" * 5_000 + b"}")
@example(b'[{"id":1}')
@example(b'[{"id":1},')
@example(b'[{"id":1},]')
@example(b'[{"id":1} {"id":2}]')
@example(b'[{"id":1}] [')
@example(b'{"id":1} {"id":2}')
@example(b'{"id":1,"total":NaN}')
@example(b'{"id":1,"total":-Infinity}')
@example(b'\xef\xbb\xbf{"id":1}')
@example(b'{"id":1,"date_created":"Mon, 01 Jan 0001 00:00:00 +2359"}')
def test_any_body_is_parsed_or_a_bad_response(body: bytes) -> None:
    for parse in (parse_order, parse_orders):
        with contextlib.suppress(BadResponseError):
            parse(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>maintenance</html>", "not a JSON list"),
        (b'{"id":1}', "not a JSON list"),
        (b'[{"id":1}', "an incomplete JSON list"),
        (b'[{"id":1},{"id":2', "not JSON, or is incomplete"),
        (b'[{"id":1}]x', "more than one JSON value"),
        (b"[7]", "something other than an order"),
        (b"[null]", "something other than an order"),
        (b'[{"status":"Pending"}]', "without a valid ID"),
        (b'[{"id":"7a"}]', "without a valid ID"),
        (b'[{"id":""}]', "without a valid ID"),
        (b'[{"id":true}]', "without a valid ID"),
        (b'[{"id":0}]', "without a valid ID"),
        (b'[{"id":-7}]', "without a valid ID"),
        (b'[{"id":7.5}]', "without a valid ID"),
        (b'[{"id":9223372036854775808}]', "without a valid ID"),
        (b'[{"id":7,"total":NaN}]', "not JSON"),
    ],
)
def test_a_broken_list_is_reported_with_the_reason(body: bytes, message: str) -> None:
    with pytest.raises(BadResponseError, match=message):
        parse_orders(body)


def test_a_response_for_one_order_contains_nothing_else() -> None:
    with pytest.raises(BadResponseError, match="more than one JSON value"):
        parse_order(b'{"id":1} {"id":2}')


def test_an_empty_page_is_an_empty_list() -> None:
    assert parse_orders(b"") == parse_orders(b"[]") == parse_orders(b" [ \n] ") == []


def published(data: Path, order_id: int) -> tuple[bytes, dict[str, Any]]:
    body = (data / f"order_{order_id}.json").read_bytes()
    return body, json.loads(body)


@pytest.mark.parametrize("order_id", [100, 218, 247])
def test_bigcommerces_published_orders_are_read(data: Path, order_id: int) -> None:
    body, fields = published(data, order_id)

    order = parse_order(body)

    assert order.id == order_id
    assert order.body == body
    assert order.status_id == fields["status_id"]
    assert order.status == fields["status"]
    assert order.channel_id == 1
    assert order.date_created is not None
    assert order.date_created.strftime("%a, %d %b %Y %H:%M:%S +0000") == fields["date_created"]


def test_dates_are_moments_whatever_their_form() -> None:
    """RFC 2822 and ISO dates are never compared as text."""
    rfc = parse_order(b'{"id":1,"date_modified":"Tue, 05 Mar 2019 21:40:11 +0100"}')
    iso = parse_order(b'{"id":1,"date_modified":"2019-03-05T20:40:11Z"}')

    assert rfc.date_modified == iso.date_modified == datetime(2019, 3, 5, 20, 40, 11, tzinfo=UTC)


def test_what_else_is_malformed_in_an_order_does_not_lose_it() -> None:
    order = parse_order(
        b'{"id":7,"status":null,"status_id":"x","channel_id":true,"date_created":"","x":1}'
    )
    assert order == Order(id=7, body=order.body, sha256=order.sha256)


def test_an_orders_repr_shows_nothing_of_the_customer(data: Path) -> None:
    body, _ = published(data, 218)
    assert "Jane" not in repr(parse_order(body))


@pytest.mark.parametrize(
    ("fields", "status_id"),
    [
        ('"status_id":0,"status":"Renamed"', 0),
        ('"status_id":"0"', 0),
        ('"status_id":" 11 "', 11),
        ('"status_id":0.0', 0),
        ('"status_id":null,"status":"Incomplete"', 0),
        ('"status":" incomplete "', 0),
        ('"status_id":"","status":"AWAITING  payment"', 7),
        ('"status_id":99,"status":"Incomplete"', 0),
        ('"status_id":[0],"status":"Declined"', 6),
        ('"status_id":null,"status":"Mine"', None),
        ('"status_id":true,"status":null', None),
    ],
)
def test_a_status_is_a_number_a_text_of_digits_or_a_name(
    fields: str, status_id: int | None
) -> None:
    assert parse_order(f'{{"id":7,{fields}}}'.encode()).status_id == status_id


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"J\xe4ne", b"\xf4\x90\x80\x80"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_that_is_not_utf8_does_not_spoil_its_page(bad: bytes, place: int) -> None:
    rows = [b'{"id":%d,"name":"Zo\xc3\xab"}' % i for i in (5, 6, 7)]
    rows[place] = rows[place].replace(b"Zo", bad)
    found = parse_orders(b"[" + b", ".join(rows) + b"]")
    assert [row.id for row in found] == [5, 6, 7]
    assert [isinstance(row, UnreadableOrder) for row in found] == [i == place for i in range(3)]
    good = [row.body for row in found if isinstance(row, Order)]
    assert good == [row for i, row in enumerate(rows) if i != place]


def test_an_id_may_be_digits_in_quotes_and_the_body_stays_as_it_is() -> None:
    (order,) = parse_orders(b'[{"id":"218"}]')
    assert isinstance(order, Order)
    assert (order.id, order.body) == (218, b'{"id":"218"}')


def test_a_byte_order_mark_before_an_order_is_not_part_of_it() -> None:
    assert parse_order(b'\xef\xbb\xbf{"id":1}').body == b'{"id":1}'
    assert [row.id for row in parse_orders(b'\xef\xbb\xbf[{"id":1}]')] == [1]
