"""HTTP requests and responses, and how a response may break on its way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from onetribe_bc.sandbox.fault import FaultKind

REASONS = {status.value: status.phrase for status in HTTPStatus}
NEVER_SENT = (FaultKind.RESET, FaultKind.LOST_REPLY, FaultKind.CONTINUE_FOREVER)
"""The deliveries of which no response is sent."""
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

    `headers` are case-insensitive, as `http.server` has them. In a record, `body` is empty, and
    `status` is that of the response, or None if none was sent.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes
    at: datetime
    status: int | None = None

    def params(self) -> dict[str, str]:
        """The query, decoded once, as a server does; the last of a repeated parameter counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def record(self, response: Response) -> Request:
        status = None if response.delivery in NEVER_SENT else response.status
        return replace(self, body=b"", status=status)


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `headers` add to Content-Type, Content-Length and Date, or replace them.

    `delivery` is a fault of its bytes, with the time `delay_s`. `hides_quota`: BigCommerce adds no
    quota headers.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    delivery: FaultKind | None = None
    delay_s: float = 0.0
    hides_quota: bool = False

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same response with more headers. Its own win."""
        return replace(self, headers=headers + self.headers)


def json_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for anything else."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("Expected a JSON object.")
    return value


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
