"""Callbacks from BigCommerce's webhooks: parse them and verify where they come from."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from standardwebhooks import Webhook

from onetribe_bc.dates import from_timestamp
from onetribe_bc.errors import InputError, NotAuthenticError
from onetribe_bc.order import MAX_ORDER_ID
from onetribe_bc.secret import Secret
from onetribe_bc.text import decode_utf8, excerpt

MAX_CALLBACK_BYTES = 64 * 1024
"""Callbacks have about 250 bytes; larger bodies are refused."""

SECRET_HEADER = "X-Bc2ot-Secret"  # noqa: S105 - a header's name
"""The header with the shared secret of a webhook created by `hooks create --receiver`."""

SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""The most that a signature's time may differ from this machine's (Standard Webhooks)."""

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""The lower-case headers of a signature, the signature itself last."""

ORDER_SCOPE = re.compile(r"store/(?:channel/(?P<channel>[0-9]+)/)?order/(?P<event>.+)")
"""A scope for orders; each channel has scopes of its own."""

_HEADERS = (*SIGNATURE_HEADERS, SECRET_HEADER.lower())
_QUOTED_CHARACTERS = 60
_SCOPE = re.compile(r"store(?:/[A-Za-z0-9_*.-]{1,64}){1,8}/?")
_PRODUCER = re.compile(r"stores/([A-Za-z0-9]{1,64})")
_HASH = re.compile(r"[A-Za-z0-9]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,19}")
_NOT_SENT = ("message/", "metafield/")
"""Order events about what an order's JSON does not contain, so nothing changes for One Tribe."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback, safe to log.

    `order_id` is the order to fetch; if it is None, `ignored` has the reason, and `store_hash` may
    be empty. `hash` identifies the event, and may be empty. `created_at` is aware UTC.
    """

    scope: str
    store_hash: str
    order_id: int | None
    store_id: int | None = None
    created_at: datetime | None = None
    hash: str = ""

    @property
    def is_about_orders(self) -> bool:
        """Whether the event is about an order."""
        return ORDER_SCOPE.fullmatch(self.scope) is not None

    @property
    def ignored(self) -> str:
        """Why the callback is ignored, in a few words; empty if it is not."""
        if self.order_id is not None:
            return ""
        if self.is_about_orders:
            return "messages and metafields of orders are not sent to One Tribe"
        return "it is not about orders"

    def is_of(self, store_hash: str) -> bool:
        """Whether the callback is about that store, if it is about orders at all."""
        return not self.is_about_orders or self.store_hash.lower() == store_hash.lower()


def parse_callback(body: bytes) -> Callback:
    """Return the callback in a request body. Raises InputError, quoting at most 60 characters."""
    return _callback(_object(body))


def parse_message(body: bytes) -> Callback:
    """Return the callback in a message from a queue, which may have wrapped it.

    EventBridge puts the callback into `detail`, Pub/Sub in base64 into `message.data`. Raises
    InputError.
    """
    document = _object(body)
    if "scope" in document:
        return _callback(document)
    if isinstance(detail := document.get("detail"), dict):
        return _callback(detail)
    message = document.get("message")
    if isinstance(message, dict) and isinstance(data := message.get("data"), str):
        try:
            inner = base64.b64decode(data, validate=True)
        except ValueError:
            raise InputError("The Pub/Sub message's data is not base64.") from None
        return parse_callback(inner)
    return _callback(document)


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_CALLBACK_BYTES:
        raise InputError(f"The callback is larger than {MAX_CALLBACK_BYTES:,} bytes.")
    try:
        text = decode_utf8(body)
    except ValueError as problem:
        raise InputError(f"The callback {problem}.") from None
    try:
        document = json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InputError("The callback is not JSON.") from None
    if not isinstance(document, dict):
        raise InputError("The callback is not a JSON object.")
    return document


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated keys: two parsers could read two different orders."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError("The callback has a repeated key.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _callback(document: Mapping[str, Any]) -> Callback:
    scope = document.get("scope")
    if scope is None:
        raise InputError("The callback has no scope.")
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        raise InputError(f"The callback's scope is invalid: {_quoted(scope)}.")
    producer = document.get("producer")
    produced_by = _PRODUCER.fullmatch(producer) if isinstance(producer, str) else None
    if produced_by is None and ORDER_SCOPE.fullmatch(scope):
        raise InputError("The callback does not name its store (producer: stores/HASH).")
    event_hash = document.get("hash")
    return Callback(
        scope=scope,
        store_hash=produced_by[1] if produced_by else "",
        order_id=_order_id(scope, document.get("data")),
        store_id=_number(document.get("store_id")),
        created_at=from_timestamp(_number(document.get("created_at"))),
        hash=event_hash if isinstance(event_hash, str) and _HASH.fullmatch(event_hash) else "",
    )


def _order_id(scope: str, data: object) -> int | None:
    found = ORDER_SCOPE.fullmatch(scope)
    if found is None or found["event"].startswith(_NOT_SENT):
        return None
    if not isinstance(data, dict):
        raise InputError("The callback has no data, so it names no order.")
    is_transaction = found["event"].startswith("transaction/")
    kind, key = ("transaction", "order_id") if is_transaction else ("order", "id")
    if data.get("type") != kind:
        raise InputError(f"The callback's data is not about an order: {_quoted(data.get('type'))}.")
    order_id = _number(data.get(key))
    if order_id is None:
        raise InputError(f"The callback names no order: {_quoted(data.get(key))} is not an id.")
    return order_id


def _number(value: object) -> int | None:
    """Return a positive integer, which BigCommerce may send as a string of digits."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MAX_ORDER_ID else None


def _quoted(value: object) -> str:
    """Return a short printable quotation; of a structure, only its type."""
    shown = type(value).__name__ if isinstance(value, dict | list) else str(value)
    return f'"{excerpt(shown, _QUOTED_CHARACTERS)}"'


class Verifier:
    """Verifies that callbacks are from BigCommerce, by their signature, a shared secret or both.

    Thread-safe.
    """

    def __init__(self, *, client_secret: Secret | None, shared_secret: Secret | None) -> None:
        self._webhook = (
            Webhook(client_secret.reveal().encode("utf-8", "surrogateescape"))
            if client_secret
            else None
        )
        self._secret = shared_secret.reveal().encode() if shared_secret else None

    @property
    def is_configured(self) -> bool:
        """Whether there is a secret to verify with; if not, `check` refuses every callback."""
        return self._webhook is not None or self._secret is not None

    def check(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> None:
        """Raise NotAuthenticError unless a callback with these headers and body is authentic.

        It must carry a signature or the shared secret, of those configured, and each one that it
        carries must be valid: leaving one out does not help a sender who lacks the other.
        """
        relevant = _relevant(headers)
        secret = relevant.get(SECRET_HEADER.lower())
        is_authentic = False
        if self._secret is not None and secret is not None:
            # As bytes, because compare_digest refuses text outside ASCII.
            if not hmac.compare_digest(secret.encode("utf-8", "surrogatepass"), self._secret):
                raise NotAuthenticError("secret wrong")
            is_authentic = True
        if self._webhook is not None and SIGNATURE_HEADERS[-1] in relevant:
            _check_signature(self._webhook, relevant, body)
            is_authentic = True
        if not is_authentic:
            raise NotAuthenticError(
                "secret missing" if self._webhook is None else "signature missing"
            )


def _check_signature(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> None:
    if not all(headers.get(name) for name in SIGNATURE_HEADERS):
        raise NotAuthenticError("signature missing")
    try:
        webhook.verify(body, dict(headers), json_parse=False)
    except Exception:  # noqa: BLE001 - the library lets all kinds out for malformed input
        stale = _is_stale(headers["webhook-timestamp"])
        raise NotAuthenticError("timestamp" if stale else "signature wrong") from None


def _is_stale(timestamp: str) -> bool:
    """Whether a signature is outside the tolerance: a clock is wrong, or a callback replayed."""
    try:
        signed_at = datetime.fromtimestamp(float(timestamp), UTC)
    except (ValueError, OverflowError, OSError):
        return False
    return abs(datetime.now(UTC) - signed_at) > SIGNATURE_TOLERANCE


def _relevant(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers to verify by lower-case name. Repeated ones must be equal."""
    found: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lowered = name.lower()
        if lowered in _HEADERS and found.setdefault(lowered, value) != value:
            raise NotAuthenticError("header given twice")
    return found
