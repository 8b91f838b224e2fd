"""What travels: requests and responses, and how a response may be broken on its way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl

REASONS = {status.value: status.phrase for status in HTTPStatus}


class Headers(Mapping[str, str]):
    """HTTP headers: found in any case, listed as they came; of a repeated one the last counts."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = {name.lower(): (name, value) for name, value in (items or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. `query` is raw, without question mark; `at` is aware UTC."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    at: datetime

    def params(self) -> dict[str, str]:
        """The query, decoded once, as a server does; of a repeated parameter the last counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


class Delivery(Enum):
    """How the bytes of a response go out."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    """Half of the body, though Content-Length promises all of it; then the connection closes."""
    DRIP = "drip"
    """The body a byte at a time."""
    RESET = "reset"
    """Nothing at all: the connection is reset (RST)."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `headers` add to Content-Type, Content-Length and Date, or replace them."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    delivery: Delivery = Delivery.WHOLE
    drip_s: float = 0.0

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same response with these headers beneath its own: its own win."""
        return replace(self, headers=headers + self.headers)


def json_response(status: int, value: object) -> Response:
    """A response with `value` as compact JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode())


def header_value(name: str, value: str) -> str:
    """`value`, if it fits into a header. Raises ValueError on a line break: it would end it."""
    if "\r" in value or "\n" in value:
        raise ValueError(f"The header {name} holds a line break.")
    return value
