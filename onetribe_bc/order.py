"""A BigCommerce order: the fields that bc2ot uses, and its bytes as BigCommerce sent them.

One Tribe gets these bytes. They are never parsed and serialized again: a JSON library would change
escapes, long decimals and big integers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from onetribe_bc.dates import parse_api_date
from onetribe_bc.errors import BadResponseError
from onetribe_bc.statuses import find_status_id

MAX_ORDER_ID = 2**63 - 1
"""The greatest ID that fits the ledger's 64-bit column."""

_BOM = b"\xef\xbb\xbf"
_DIGITS = re.compile(r"[0-9]{1,19}")
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Order:
    """A fetched order. `body` is its JSON, byte for byte; times are aware UTC."""

    id: int
    body: bytes = field(repr=False)
    sha256: str
    status_id: int | None = None
    status: str = ""
    channel_id: int | None = None
    date_created: datetime | None = None
    date_modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadableOrder:
    """A row of a list that cannot be sent as it is, with the reason."""

    id: int
    reason: str


def parse_order(body: bytes) -> Order:
    """Return the order in a response to `GET v2/orders/{id}`. Raises BadResponseError."""
    body = body.removeprefix(_BOM)
    text = body.decode("latin-1")
    start = _skip_space(text, 0)
    row, end = _value(text, start)
    if _skip_space(text, end) != len(text):
        raise BadResponseError("BigCommerce's response has more than one JSON value.")
    order = _order(row, body)
    if isinstance(order, UnreadableOrder):
        raise BadResponseError(f"BigCommerce's response {order.reason}.")
    return order


def parse_orders(body: bytes) -> list[Order | UnreadableOrder]:
    """Return the orders in a response to `GET v2/orders`, each with its bytes cut out of the list.

    An empty body is an empty list, which BigCommerce sends with a 204. Raises BadResponseError.
    """
    if not body:
        return []
    body = body.removeprefix(_BOM)
    # One character per byte: a row that is not UTF-8 does not spoil the others.
    text = body.decode("latin-1")
    return [_order(row, body[start:end]) for row, start, end in _iter_items(text)]


def _iter_items(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield each item of the JSON list `text` with its start and end."""
    position = _skip_space(text, 0)
    if text[position : position + 1] != "[":
        raise BadResponseError("BigCommerce's response is not a JSON list.")
    position = _skip_space(text, position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        row, end = _value(text, position)
        yield row, position, end
        position = _skip_space(text, end)
        separator = text[position : position + 1]
        if separator not in (",", "]"):
            raise BadResponseError("BigCommerce's response is an incomplete JSON list.")
        closed = separator == "]"
        position = position if closed else _skip_space(text, position + 1)
    if _skip_space(text, position + 1) != len(text):
        raise BadResponseError("BigCommerce's response has more than one JSON value.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _value(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        raise BadResponseError("BigCommerce's response is not JSON, or is incomplete.") from None


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _order(row: object, body: bytes) -> Order | UnreadableOrder:
    if not isinstance(row, dict):
        raise BadResponseError("BigCommerce's response contains something other than an order.")
    order_id = parse_integer(row.get("id"))
    if order_id is None or not 0 < order_id <= MAX_ORDER_ID:
        raise BadResponseError("BigCommerce's response has an order without a valid ID.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return UnreadableOrder(order_id, "is not UTF-8 text")
    status = row.get("status")
    if isinstance(status, str) and not status.isascii():
        status = json.loads(text)["status"]
    return Order(
        id=order_id,
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        status_id=find_status_id(parse_integer(row.get("status_id")), status),
        status=status if isinstance(status, str) else "",
        channel_id=parse_integer(row.get("channel_id")),
        # A malformed date is None, which is inside any window, so that the order is not lost.
        date_created=parse_api_date(row.get("date_created")),
        date_modified=parse_api_date(row.get("date_modified")),
    )


def parse_integer(value: object) -> int | None:
    """Return an integer, which BigCommerce may send as a text of digits; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
