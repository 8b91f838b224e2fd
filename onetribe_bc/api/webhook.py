"""Callbacks from BigCommerce: parse them and verify where they come from."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from onetribe_bc.errors import InputError, NotAuthenticError
from onetribe_bc.order import MAX_ORDER_ID
from onetribe_bc.secret import Secret

MAX_CALLBACK_BYTES = 64 * 1024
"""What is larger is no callback: BigCommerce's have some 250 bytes."""

QUOTED_CHARACTERS = 60
"""How much of a callback an error quotes, at the most."""

ORDER_SCOPE = re.compile(r"store/(?:channel/(?P<channel>[0-9]+)/)?order/(?P<event>.+)")
"""A scope of orders. BigCommerce tells of a channel's orders by scopes of their own."""

_SCOPE = re.compile(r"store(?:/[A-Za-z0-9_*-]{1,64}){1,8}/?")
_PRODUCER = re.compile(r"stores/([A-Za-z0-9]{1,64})")
_HASH = re.compile(r"[A-Za-z0-9]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,19}")
_NOT_SENT = ("message/", "metafield/")
"""Events that change nothing of what One Tribe is sent: an order holds neither."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback. Everything in it is safe to be logged.

    `order_id` is the order to look at; None where there is none, and then `ignored` says why.
    `hash` is BigCommerce's name of the event (empty where it gives none), `created_at` is aware
    UTC.
    """

    scope: str
    store_hash: str
    order_id: int | None
    store_id: int | None = None
    created_at: datetime | None = None
    hash: str = ""

    @property
    def is_about_orders(self) -> bool:
        """Whether its scope is one of orders."""
        return ORDER_SCOPE.fullmatch(self.scope) is not None

    @property
    def ignored(self) -> str:
        """Why there is nothing to do, in a few words; empty where there is."""
        if self.order_id is not None:
            return ""
        if self.is_about_orders:
            return "One Tribe is sent neither messages nor metafields of orders"
        return "it is not about orders"

    def is_of(self, store_hash: str) -> bool:
        """Whether it is about that store."""
        return self.store_hash.lower() == store_hash.lower()


def parse_callback(body: bytes) -> Callback:
    """The callback in a request's body. Raises InputError, which quotes at most 60 characters."""
    return _callback(_object(body))


def parse_message(body: bytes) -> Callback:
    """The same from a queue, which may have wrapped it: an EventBridge event, whose `detail` is
    the callback, or a Pub/Sub push request, whose `message.data` is, in base64.
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
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise InputError("The callback is not JSON.") from None
    if not isinstance(document, dict):
        raise InputError("The callback is not a JSON object.")
    return document


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is there twice, two readers may see two values, and so two orders."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError("The callback has a key twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _callback(document: Mapping[str, Any]) -> Callback:
    scope = document.get("scope")
    if scope is None:
        raise InputError("The callback has no scope.")
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        raise InputError(f"The callback's scope is not one of a webhook: {_quoted(scope)}.")
    producer = document.get("producer")
    produced_by = _PRODUCER.fullmatch(producer) if isinstance(producer, str) else None
    if produced_by is None:
        raise InputError("The callback does not name its store (producer: stores/HASH).")
    event_hash = document.get("hash")
    return Callback(
        scope=scope,
        store_hash=produced_by[1],
        order_id=_order_id(scope, document.get("data")),
        store_id=_number(document.get("store_id")),
        created_at=_moment(document.get("created_at")),
        hash=event_hash if isinstance(event_hash, str) and _HASH.fullmatch(event_hash) else "",
    )


def _order_id(scope: str, data: object) -> int | None:
    found = ORDER_SCOPE.fullmatch(scope)
    if found is None or found["event"].startswith(_NOT_SENT):
        return None
    if not isinstance(data, dict):
        raise InputError("The callback has no data, so it names no order.")
    kind, key = ("order", "id")
    if found["event"].startswith("transaction/"):
        kind, key = ("transaction", "order_id")
    if data.get("type") != kind:
        raise InputError(f"The callback's data is not about an order: {_quoted(data.get('type'))}.")
    order_id = _number(data.get(key))
    if order_id is None:
        raise InputError(f"The callback names no order: {_quoted(data.get(key))} is not an id.")
    return order_id


def _number(value: object) -> int | None:
    """A positive number that BigCommerce gives as such or as a string of digits."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= MAX_ORDER_ID else None


def _moment(value: object) -> datetime | None:
    seconds = _number(value)
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _quoted(value: object) -> str:
    """What stands there, for a person: short, without control characters, never a structure."""
    shown = type(value).__name__ if isinstance(value, dict | list) else str(value)
    characters = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return f'"{"".join(characters)[:QUOTED_CHARACTERS]}"'


if TYPE_CHECKING:
    from standardwebhooks import Webhook

SECRET_HEADER = "X-Bc2ot-Secret"  # noqa: S105 - a header's name
"""The header in which a hook made by `hooks create --receiver` carries its secret."""

SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""How far a signature's time may be from this machine's: Standard Webhooks' own limit."""

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""The headers of a signature, in lower case; the last is what makes it one."""

_HEADERS = (*SIGNATURE_HEADERS, SECRET_HEADER.lower())


class Verifier:
    """Tells BigCommerce's callbacks from a stranger's, by whichever of the two is given.

    Thread-safe.
    """

    def __init__(self, *, client_secret: Secret | None, shared_secret: Secret | None) -> None:
        self._webhook = _webhook(client_secret) if client_secret else None
        self._secret = shared_secret.reveal().encode() if shared_secret else None

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to check by; if not, `check` refuses every callback."""
        return self._webhook is not None or self._secret is not None

    def check(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> None:
        """Raise NotAuthenticError unless these headers came with this very body from BigCommerce.

        Of the two ways, those that are configured and in the headers must all be right, and one
        must be there: leaving a header out helps nobody who has not the other secret. A signature
        holds for `SIGNATURE_TOLERANCE` before and after its time.
        """
        given = _lowered(headers)
        signed = self._webhook is not None and SIGNATURE_HEADERS[-1] in given
        told = self._secret is not None and SECRET_HEADER.lower() in given
        if not (signed or told):
            raise NotAuthenticError(
                "secret missing" if self._webhook is None else "signature missing"
            )
        if told:
            self._check_secret(given[SECRET_HEADER.lower()])
        if signed:
            self._check_signature(given, body)

    def _check_secret(self, value: str) -> None:
        # As bytes, since text outside ASCII is refused by compare_digest.
        given = value.encode("utf-8", "surrogatepass")
        if self._secret is None or not hmac.compare_digest(given, self._secret):
            raise NotAuthenticError("secret wrong")

    def _check_signature(self, given: Mapping[str, str], body: bytes) -> None:
        if self._webhook is None or not all(given.get(name) for name in SIGNATURE_HEADERS):
            raise NotAuthenticError("signature missing")
        try:
            self._webhook.verify(
                body, {name: given[name] for name in SIGNATURE_HEADERS}, json_parse=False
            )
        except Exception as error:  # noqa: BLE001 - it raises all kinds on malformed input
            off = "timestamp too" in str(error)  # old, or new
            raise NotAuthenticError("timestamp" if off else "signature wrong") from None


def _webhook(client_secret: Secret) -> Webhook:
    from standardwebhooks import Webhook  # here, since most commands need no signature

    key = client_secret.reveal().encode("utf-8", "surrogateescape")
    return Webhook(base64.b64encode(key).decode())


def _lowered(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that matter, by their names in lower case; given twice, they must agree."""
    given: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lowered = name.lower()
        if lowered in _HEADERS and given.setdefault(lowered, value) != value:
            raise NotAuthenticError("header given twice")
    return given
