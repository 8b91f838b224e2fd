"""Errors as BigCommerce words them: a list in v2, an object in v3."""

from __future__ import annotations

from collections.abc import Mapping

from onetribe_bc.sandbox.messages import REASONS, Response, json_response

_TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
_MESSAGES = {
    401: "Unauthorized - the Auth client ID or token in the request are not a valid combination "
    "for this store.",
    403: "You don't have a required scope to access the endpoint",
    404: "The requested resource was not found.",
    405: "The requested resource does not support this method.",
    429: "Too many requests.",
}


def v2_error(status: int, message: str = "") -> Response:
    """`[{"status": 404, "message": "…"}]`"""
    return json_response(status, [{"status": status, "message": message or _message(status)}])


def v3_error(status: int, title: str = "", errors: Mapping[str, object] | None = None) -> Response:
    """`{"status": 422, "title": "…", "type": "…", "errors": {"field": "…"}}`"""
    return json_response(
        status,
        {
            "status": status,
            "title": title or _message(status),
            "type": _TYPE,
            "errors": dict(errors or {}),
        },
    )


def _message(status: int) -> str:
    return _MESSAGES.get(status, REASONS.get(status, "Error"))
