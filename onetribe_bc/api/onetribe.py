"""One Tribe's API: it takes one order at a time."""

from __future__ import annotations

import hashlib
import html
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from onetribe_bc.api.answers import onetribe_error, redirect_error
from onetribe_bc.api.http import HttpClient, Response, Timeouts
from onetribe_bc.clock import Clock
from onetribe_bc.order import Order
from onetribe_bc.secret import MASK, Secret, mask_url
from onetribe_bc.text import EXCERPT_CHARACTERS, excerpt

_PATH = "/direct/webhook/big-commerce/order/"
_KEPT_BYTES = 64 * 1024
# Begins where a word does, or a long word without @ would be looked through once per letter.
_EMAIL = re.compile(r"(?<![^\s\"'<>@:,;])[^\s\"'<>@:,;%]+(?:@|%40)[^\s\"'<>@:,;]+")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]")
_TELLING_CHARACTERS = 4
_WORD = re.compile(r"\w+")
_HARMLESS_WORDS = frozenset(
    {
        "accepted",
        "bigcommerce",
        "code",
        "created",
        "data",
        "error",
        "errors",
        "false",
        "id",
        "message",
        "null",
        "ok",
        "order",
        "order_id",
        "processed",
        "received",
        "result",
        "status",
        "stored",
        "success",
        "successful",
        "successfully",
        "true",
    }
)
_PERSONAL_FIELDS = (
    "billing_address",
    "staff_notes",
    "customer_message",
    "ip_address",
    "ip_address_v6",
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One Tribe's 2xx for one order: the status and at most 200 characters of the answer."""

    status: int
    text: str


class OneTribeClient:
    """One Tribe's address of one merchant, for all threads of a run."""

    def __init__(
        self, url: Secret, *, clock: Clock, timeouts: Timeouts | None = None, connections: int = 8
    ) -> None:
        self._clock = clock
        self._url = url
        self._turns = threading.BoundedSemaphore(connections)
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

    def reach(self) -> int:
        """Ask for the address by HEAD, which files nothing, and return the status.

        One Tribe documents no answer to it, so that most say only that the host is there. Raises
        OneTribeUrlError for a redirect, and UnreachableError.
        """
        status = self._http.request("HEAD", keep_bytes=0).status
        if 300 <= status < 400:
            raise redirect_error(status)
        return status

    def send(
        self, order: Order, *, idempotency_key: str, on_send: Callable[[], None] | None = None
    ) -> Receipt:
        """POST one order, once, as BigCommerce sent it; `connections` of them at a time.

        Raises OneTribeUrlError (stop: the address is wrong), RetryLaterError (408, 425, 429, 5xx),
        OrderRefusedError (any other 4xx), NoConnectionError (it never left) and NoResponseError
        (it may have arrived). `idempotency_key` is the same for each try of one delivery; One
        Tribe documents no such header, and it does no harm. `on_send` is called when the
        request is about to leave.
        """
        with self._turns:
            if on_send is not None:
                on_send()
            answer = self._http.request(
                "POST",
                body=order.body,
                headers={"Idempotency-Key": idempotency_key},
                keep_bytes=_KEPT_BYTES,
            )
        text = self._excerpt(answer, order)
        error = onetribe_error(answer, text=text, now=self._clock.now())
        if error is not None:
            raise error
        return Receipt(answer.status, text)

    def _excerpt(self, answer: Response, order: Order) -> str:
        """What may be kept of an answer: no merchant key, and nothing about the customer."""
        if not answer.body:
            return ""
        try:
            answer.body.decode()
        except UnicodeDecodeError:
            # What cannot be read cannot be searched for the customer's name, either.
            return "(not UTF-8 text)"
        if _tells_nothing(answer.text, order.id):
            return excerpt(answer.text)
        key = urlsplit(self._url.reveal()).path.rstrip("/").rpartition("/")[2]
        secrets = [(secret, False) for secret in (key, unquote(key)) if secret]
        personal = _personal_values(order)
        text = answer.text
        # An answer may spell a name as JSON or HTML does; it is shown as it came if it has none.
        plain = " ".join(_unescaped(text).split())
        masked = _masked(plain, [*secrets, *personal])
        return excerpt(text if masked == plain else masked)


def looks_like_onetribe(url: Secret) -> bool:
    """Whether the address has the path that One Tribe's page shows."""
    return _PATH in urlsplit(url.reveal()).path


def fingerprint(url: Secret) -> str:
    """Names a destination in the ledger without telling it: 16 hex digits of a SHA-256.

    Two spellings of one address are one destination, or a slash would send every order again.
    """
    parts = urlsplit(url.reveal())
    port = "" if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme)) else parts.port
    canonical = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _tells_nothing(text: str, order_id: int) -> bool:
    """Whether an answer is made of words that can name nobody: most are, and the full check
    costs a parse of the order.
    """
    if len(text) > EXCERPT_CHARACTERS or "\\" in text or "&" in text:
        return False
    words = set(_WORD.findall(text.lower()))
    words.discard(str(order_id))
    return words <= _HARMLESS_WORDS


def _unescaped(text: str) -> str:
    """What a reader of JSON or HTML sees."""

    def read(match: re.Match[str]) -> str:
        spelt = str(json.loads(f'"{match[0]}"'))
        return spelt.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return html.unescape(_ESCAPED.sub(read, text))


def _masked(text: str, values: Iterable[tuple[str, bool]]) -> str:
    """`text` without these values, in any case; short ones as they are, and as whole words."""
    lowered = text.lower()
    found = [(value, short) for value, short in values if value.lower() in lowered]
    for value, short in sorted(found, key=lambda item: -len(item[0])):
        pattern = rf"(?<!\w){re.escape(value)}(?!\w)" if short else re.escape(value)
        text = re.sub(pattern, MASK, text, flags=0 if short else re.IGNORECASE)
    return _EMAIL.sub(MASK, text)


def _personal_values(order: Order) -> set[tuple[str, bool]]:
    """The customer's data in an order, each with whether it is so short that parts of other
    words look like it: two letters of Latin, say, but not of Chinese.
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
                found.add((value, value.isascii() and len(value) < _TELLING_CHARACTERS))
    return found
