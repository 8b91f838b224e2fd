"""The One Tribe API: send one order at a time, and what each response means."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit

from onetribe_bc.api.http import HttpClient, Response, Timeouts
from onetribe_bc.api.quoting import error_text, kept_ids
from onetribe_bc.api.rate_limit import ImposedWait, parse_retry_after
from onetribe_bc.clock import Clock
from onetribe_bc.errors import Bc2otError, OneTribeUrlError, OrderRefusedError, RetryLaterError
from onetribe_bc.order import Order
from onetribe_bc.secret import Secret, mask_url

_PATH = "/direct/webhook/big-commerce/order/"
_KEPT_BYTES = 64 * 1024
_URL_HINT = (
    "Compare onetribe.url, merchant key included, with the URL on One Tribe's integration page. "
    "Undelivered orders stay owed."
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A 2xx from One Tribe: the status, and the IDs in the response as JSON."""

    status: int
    text: str


class OneTribeClient:
    """A client for one merchant's One Tribe URL, shared by all threads of a run."""

    def __init__(
        self, url: Secret, *, clock: Clock, timeouts: Timeouts | None = None, connections: int = 8
    ) -> None:
        self.imposed = ImposedWait(clock)
        self._clock = clock
        self._url = url
        key = urlsplit(url.reveal()).path.rstrip("/").rpartition("/")[2]
        self._keys = [Secret(key), Secret(unquote(key))]
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

    def send(self, order: Order, *, idempotency_key: str) -> Receipt:
        """POST one order once, byte for byte, with at most `connections` requests in flight.

        `idempotency_key` is the same for all attempts of one delivery; One Tribe documents no such
        header.

        Raises OneTribeUrlError (the URL is wrong: stop), RetryLaterError (408, 425, 429, 5xx),
        OrderRefusedError (any other 4xx), NoConnectionError (the request certainly never left)
        and NoResponseError (it may have arrived).
        """
        with self._slots:
            response = self._http.request(
                "POST",
                body=order.body,
                headers={"Idempotency-Key": idempotency_key},
                keep_bytes=_KEPT_BYTES,
            )
        if 200 <= response.status < 300:
            return Receipt(response.status, kept_ids(response.body, order.body))
        secrets = [key.reveal() for key in self._keys]
        text = error_text(response.body, secrets=secrets, order=order.body)
        raise _error(response, text=text, now=self._clock.now())


def looks_like_onetribe(url: Secret) -> bool:
    """Return whether the URL has the path shown on One Tribe's integration page."""
    return _PATH in urlsplit(url.reveal()).path


def fingerprint(url: Secret) -> str:
    """Return 16 hex digits of a SHA-256 that identify a destination without revealing it.

    Spellings of one URL have one fingerprint, or an added slash would send every order again.
    """
    parts = urlsplit(url.reveal())
    port = "" if parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme)) else parts.port
    canonical = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _error(response: Response, *, text: str, now: datetime) -> Bc2otError:
    """Return the error for a response to one order that is not 2xx."""
    status = response.status
    message = f"One Tribe responded with {status}"
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
        f"One Tribe responded with {status}, a redirect: the URL is wrong. Redirects are never "
        "followed, because that would deliver nothing.",
        hint=_URL_HINT,
    )
