"""HTTP requests and responses, and how a response may break on its way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import Message
from enum import Enum
from http import HTTPStatus
from urllib.parse import parse_qsl

REASONS = {status.value: status.phrase for status in HTTPStatus}
KEEP_REQUESTS = 10_000
"""How many of its last requests a service remembers."""
_API_MESSAGES = {
    401: "Unauthorized - the Auth client ID or token in the request are not a valid combination "
    "for this store.",
    403: "You don't have a required scope to access the endpoint",
    404: "The requested resource was not found.",
    405: "The requested resource does not support this method.",
    429: "Too many requests.",
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read to its end. `query` is raw, without the question mark; `at` is aware UTC.

    `headers` are case-insensitive, as `http.server` has them.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes
    at: datetime

    def params(self) -> dict[str, str]:
        """The query, decoded once, as a server does; the last of a repeated parameter counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def record(self, response: Response) -> RequestRecord:
        unanswered = response.delivery in (Delivery.RESET, Delivery.CONTINUE_FOREVER)
        status = None if unanswered else response.status
        return RequestRecord(self.method, self.path, self.query, status, self.headers, self.at)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that was carried out. `status` is None if no response was sent."""

    method: str
    path: str
    query: str
    status: int | None
    headers: Message
    at: datetime


class Delivery(Enum):
    """How the bytes of a response go out. Times are `Response.delay_s`."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    """Half of the body, though Content-Length promises all of it; then the connection closes."""
    DRIP = "drip"
    """The body a byte at a time."""
    DRIP_HEAD = "drip_head"
    """Headers and body a byte at a time."""
    INTERIM = "interim"
    """After interim responses and a pause."""
    CONTINUE_FOREVER = "continue_forever"
    """Never: interim responses until the client leaves."""
    RESET = "reset"
    """Never: the connection is reset (RST)."""
    IDLE_RESET = "idle_reset"
    """Whole; a request that comes after so long an idle time is not read but reset."""
    IDLE_SILENCE = "idle_silence"
    """Whole; a request that comes after so long an idle time gets no response."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `headers` add to Content-Type, Content-Length and Date, or replace them.

    `hides_quota`: BigCommerce adds no quota headers.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    delivery: Delivery = Delivery.WHOLE
    delay_s: float = 0.0
    hides_quota: bool = False

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same response with more headers. Its own win."""
        return replace(self, headers=headers + self.headers)


def json_response(status: int, value: object) -> Response:
    """A response with `value` as compact JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode())


def api_error(
    version: str, status: int, message: str = "", errors: Mapping[str, object] | None = None
) -> Response:
    """An error in BigCommerce's form: an object in v3, a list in v2."""
    message = message or _API_MESSAGES.get(status) or REASONS.get(status, "Error")
    if version != "v3":
        return json_response(status, [{"status": status, "message": message}])
    return json_response(
        status,
        {
            "status": status,
            "title": message,
            "type": "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes",
            "errors": dict(errors or {}),
        },
    )
