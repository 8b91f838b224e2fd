"""The One Tribe API: send one order at a time, and what each response means."""

from __future__ import annotations

import hashlib
import html
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit

from onetribe_bc.api.http import HttpClient, Response, Timeouts
from onetribe_bc.api.rate_limit import parse_retry_after
from onetribe_bc.clock import Clock
from onetribe_bc.errors import Bc2otError, OneTribeUrlError, OrderRefusedError, RetryLaterError
from onetribe_bc.order import Order
from onetribe_bc.secret import MASK, Secret, mask_url
from onetribe_bc.text import excerpt

_PATH = "/direct/webhook/big-commerce/order/"
_KEPT_BYTES = 64 * 1024
# Starts at a word's start, or a long word without @ would be searched once per letter.
_EMAIL = re.compile(r"(?<![^\s\"'<>@:,;])[^\s\"'<>@:,;%]+(?:@|%40)[^\s\"'<>@:,;]+")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]")
_SHORT = 4
_PERSONAL_FIELDS = (
    "billing_address",
    "staff_notes",
    "customer_message",
    "ip_address",
    "ip_address_v6",
)
_URL_HINT = (
    "Compare onetribe.url, merchant key included, with the URL on One Tribe's integration page. "
    "Undelivered orders stay owed."
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One Tribe's 2xx for one order: the status and at most 200 characters of the response."""

    status: int
    text: str


class OneTribeClient:
    """A client for one merchant's One Tribe URL, shared by all threads of a run."""

    def __init__(
        self, url: Secret, *, clock: Clock, timeouts: Timeouts | None = None, connections: int = 8
    ) -> None:
        self._clock = clock
        self._url = url
        self._slots = threading.BoundedSemaphore(connections)
        self.destination = fingerprint(url)
        self.masked_url = mask_url(url.reveal())
        self._http = HttpClient(
            url.reveal(),
            headers={"Content-Type": "application/json"},
            timeouts=timeouts or Timeouts(),
            connections=connections,
            label=urlsplit(self.masked_url).path,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def probe(self) -> int:
        """Send a HEAD request, which creates no order, and return the status.

        One Tribe documents no response to it, so most statuses only show that the host is up.
        Raises OneTribeUrlError for a redirect, and UnreachableError.
        """
        status = self._http.request("HEAD", keep_bytes=0).status
        if 300 <= status < 400:
            raise _redirect(status)
        return status

    def send(
        self, order: Order, *, idempotency_key: str, on_send: Callable[[], None] | None = None
    ) -> Receipt:
        """POST one order once, byte for byte, with at most `connections` requests in flight.

        `idempotency_key` is the same for all attempts of one delivery; One Tribe documents no such
        header. `on_send` is called just before the request.

        Raises OneTribeUrlError (the URL is wrong: stop), RetryLaterError (408, 425, 429, 5xx),
        OrderRefusedError (any other 4xx), NoConnectionError (the request certainly never left)
        and NoResponseError (it may have arrived).
        """
        with self._slots:
            if on_send is not None:
                on_send()
            response = self._http.request(
                "POST",
                body=order.body,
                headers={"Idempotency-Key": idempotency_key},
                keep_bytes=_KEPT_BYTES,
            )
        text = self._masked_excerpt(response, order)
        error = _error(response, text=text, now=self._clock.now())
        if error is not None:
            raise error
        return Receipt(response.status, text)

    def _masked_excerpt(self, response: Response, order: Order) -> str:
        """Return what may be stored of a response: no merchant key and no customer data."""
        if not response.body:
            return ""
        try:
            text = response.body.decode()
        except UnicodeDecodeError:
            return "(not UTF-8 text)"  # which cannot be searched for the customer's name
        key = urlsplit(self._url.reveal()).path.rstrip("/").rpartition("/")[2]
        secrets = {(secret, False) for secret in (key, unquote(key)) if secret}
        # Names may be escaped as in JSON or HTML. Without any, show the text as it came.
        plain = " ".join(_unescape(text).split())
        masked = _mask(plain, secrets | _personal_values(order))
        return excerpt(text if masked == plain else masked)


def looks_like_onetribe(url: Secret) -> bool:
    """Return whether the URL has the path shown on One Tribe's integration page."""
    return _PATH in urlsplit(url.reveal()).path


def fingerprint(url: Secret) -> str:
    """Return a name for a destination that does not reveal it: 16 hex digits of a SHA-256.

    Two spellings of a URL are one destination; otherwise a slash would send every order again.
    """
    parts = urlsplit(url.reveal())
    port = "" if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme)) else parts.port
    canonical = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _error(response: Response, *, text: str, now: datetime) -> Bc2otError | None:
    """Return the error for a response to one order; None for 2xx: delivered."""
    status = response.status
    if 200 <= status < 300:
        return None
    message = f"One Tribe answered {status}"
    if 300 <= status < 400:
        return _redirect(status)
    if status in (401, 403, 404, 405, 410):
        return OneTribeUrlError(f"{message}: the URL or the merchant key is wrong.", hint=_URL_HINT)
    if status in (408, 425, 429) or status >= 500:
        retry_after = parse_retry_after(response.headers.get("Retry-After"), now)
        return RetryLaterError(message, status=status, text=text, retry_after_s=retry_after)
    return OrderRefusedError(f"{message}: it refuses this order", status=status, text=text)


def _redirect(status: int) -> OneTribeUrlError:
    return OneTribeUrlError(
        f"One Tribe answered {status}, a redirect: the URL is wrong. Redirects are never "
        "followed, because that would deliver nothing.",
        hint=_URL_HINT,
    )


def _unescape(text: str) -> str:
    """Return the text that a reader of JSON or HTML sees."""

    def replacement(match: re.Match[str]) -> str:
        decoded = str(json.loads(f'"{match[0]}"'))
        return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return html.unescape(_ESCAPED.sub(replacement, text))


def _mask(text: str, values: Iterable[tuple[str, bool]]) -> str:
    """Mask values in any case; short ones only as whole words in their own case."""
    lowered = text.lower()
    found = [(value, short) for value, short in values if value.lower() in lowered]
    for value, short in sorted(found, key=lambda item: -len(item[0])):
        pattern = rf"(?<!\w){re.escape(value)}(?!\w)" if short else re.escape(value)
        text = re.sub(pattern, MASK, text, flags=0 if short else re.IGNORECASE)
    return _EMAIL.sub(MASK, text)


def _personal_values(order: Order) -> set[tuple[str, bool]]:
    """Return the customer's data in an order, each with whether it is short.

    A short value is also part of other words: two Latin letters, but not two Chinese ones.
    """
    found: set[tuple[str, bool]] = set()
    row = json.loads(order.body)
    queue: list[object] = [row.get(name) for name in _PERSONAL_FIELDS]
    while queue:
        item = queue.pop()
        if isinstance(item, dict):
            queue += item.values()
        elif isinstance(item, list):
            queue += item
        elif isinstance(item, str | int) and not isinstance(item, bool):
            value = " ".join(str(item).split())
            if len(value) > 1:
                found.add((value, value.isascii() and len(value) < _SHORT))
    return found
