"""The WSGI application (PEP 3333) that BigCommerce posts callbacks to.

It checks path and method, size, content type, authenticity and content, in this order, and then
records the order in the ledger. It responds with 2xx only after that commit, and neither fetches
nor sends anything before. Unauthenticated requests get a status code only.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from onetribe_bc.api.webhook import (
    MAX_CALLBACK_BYTES,
    SECRET_HEADER,
    SIGNATURE_HEADERS,
    Callback,
    Verifier,
    parse_callback,
)
from onetribe_bc.commands.monitor import metrics as exposition
from onetribe_bc.commands.monitor import status_samples
from onetribe_bc.commands.receiver import Receiver
from onetribe_bc.errors import Bc2otError, InputError, NotAuthenticError
from onetribe_bc.ledger.ledger import Status
from onetribe_bc.secret import Secret, host_in, is_loopback
from onetribe_bc.web.access_log import AccessLog
from onetribe_bc.web.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
OWN_PATHS = (HEALTH, READY, METRICS)
"""The monitoring paths; callbacks need a different one."""

LEDGER_TIMEOUT_S = 5.0
"""How long a request waits for the ledger. After a 503, BigCommerce sends the callback again, even
if it was recorded later.
"""

STATUS_AGE = timedelta(seconds=30)
"""How long `/metrics` repeats the ledger's figures, however often it is asked."""

_HEADERS = {
    f"HTTP_{name.upper().replace('-', '_')}": name for name in (*SIGNATURE_HEADERS, SECRET_HEADER)
}
"""WSGI's names of the headers that authenticate a callback."""

_FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)
"""With any of these headers, a proxy on this machine forwards a request from elsewhere."""


class Response(NamedTuple):
    """A status, mostly without a body."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class RefusalError(Exception):
    """A refused request. `reason` (one of a fixed set) and `cause` are logged, never sent."""

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        *,
        cause: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(f"{reason}: {cause}" if cause else reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Application:
    """Accepts the callbacks of one store. Thread-safe, and never raises."""

    def __init__(
        self,
        receiver: Receiver,
        verifier: Verifier | None,
        *,
        store_hash: str,
        path: str,
        token: Secret | None,
        metrics: Metrics,
        access_log: AccessLog,
        now: Callable[[], datetime],
    ) -> None:
        """`verifier` is None to accept any callback from this machine, and no others."""
        self._receiver = receiver
        self._verifier = verifier
        self._store_hash = store_hash
        self._path = plain_path(path)
        self._token = token.reveal().encode() if token else None
        self._metrics = metrics
        self._access_log = access_log
        self._now = now
        self._status: tuple[datetime, Status] | None = None
        self._status_lock = threading.Lock()
        self.status_age = STATUS_AGE
        self.ledger_timeout_s = LEDGER_TIMEOUT_S
        self.draining = False
        """Whether callbacks get 503 because the receiver is shutting down."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond to one request."""
        try:
            response = self._respond(environ)
        except RefusalError as refusal:
            self._refuse(refusal.status, refusal.reason, str(refusal))
            response = Response(refusal.status, headers=refusal.headers)
        except Exception as error:  # noqa: BLE001 - an unexpected error's text may quote anything
            self._refuse(503, "bug", f"bug: {type(error).__name__}")
            response = Response(HTTPStatus.SERVICE_UNAVAILABLE)
        start_response(
            f"{response.status.value} {response.status.phrase}",
            [("Content-Length", str(len(response.body))), *response.headers],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _refuse(self, status: int, reason: str, logged: str) -> None:
        self._metrics.refuse(reason)
        self._access_log.refuse(status, logged)

    def _respond(self, environ: WSGIEnvironment) -> Response:
        path, method = plain_path(environ.get("PATH_INFO", "")), environ["REQUEST_METHOD"]
        if path == self._path:
            if method != "POST":
                raise _wrong_method("POST")
            return self._receive(environ)
        if path == HEALTH or (path in OWN_PATHS and self._may_monitor(environ)):
            if method not in ("GET", "HEAD"):
                raise _wrong_method("GET, HEAD")
            return self._monitor(path)
        raise RefusalError(HTTPStatus.NOT_FOUND, "unknown path")

    # Callbacks

    def _receive(self, environ: WSGIEnvironment) -> Response:
        body = _read(environ)
        if not _is_json(environ.get("CONTENT_TYPE", "")):
            raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type")
        self._authenticate(environ, body)
        callback = self._parse(body)
        if callback.order_id is None:
            self._metrics.ignore(callback.ignored)
            self._access_log.ignore(callback)
        else:
            self._record(callback.order_id)
            self._metrics.accept()
            self._access_log.accept(callback)
        return Response(HTTPStatus.OK)

    def _authenticate(self, environ: WSGIEnvironment, body: bytes) -> None:
        if self._verifier is None:
            if not _is_local(environ):
                raise RefusalError(HTTPStatus.UNAUTHORIZED, "not from this machine")
            return
        headers = {name: environ[key] for key, name in _HEADERS.items() if key in environ}
        try:
            self._verifier.check(headers, body)
        except NotAuthenticError as error:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, error.reason) from None

    def _parse(self, body: bytes) -> Callback:
        try:
            callback = parse_callback(body)
        except InputError:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "malformed") from None
        if not callback.is_of(self._store_hash):
            raise RefusalError(HTTPStatus.FORBIDDEN, "another store's")
        return callback

    def _record(self, order_id: int) -> None:
        """Return once the order is durable in the ledger."""
        if self.draining:
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        try:
            self._receiver.accept(order_id).result(self.ledger_timeout_s)
        except TimeoutError:
            raise _no_ledger("it did not respond in time") from None
        except Bc2otError as error:
            raise _no_ledger(str(error)) from None

    # Monitoring

    def _may_monitor(self, environ: WSGIEnvironment) -> bool:
        """Whether the request has the token or, if none is set, comes from this machine."""
        if self._token is None:
            return _is_local(environ)
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        token = credentials.strip().encode("utf-8", "surrogatepass")
        return scheme.lower() == "bearer" and hmac.compare_digest(token, self._token)

    def _monitor(self, path: str) -> Response:
        if path == HEALTH:
            return _text(HTTPStatus.OK, "alive\n")
        if path == METRICS:
            return _text(HTTPStatus.OK, self._all_metrics(), "; version=0.0.4")
        problem = "it is shutting down"
        if not self.draining:
            problem = self._receiver.problem(self.ledger_timeout_s)
        if problem:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{problem}\n")
        return _text(HTTPStatus.OK, "ready\n")

    def _all_metrics(self) -> str:
        """Return the metrics; without the ledger's while it cannot be read."""
        try:
            status = self._recent_status()
        except Bc2otError:
            return self._metrics.text()
        samples = status_samples(self._store_hash, status, self._now())
        return self._metrics.text(status.callbacks_waiting) + exposition(samples)

    def _recent_status(self) -> Status:
        """Return the ledger's status, at most `status_age` old. Raises Bc2otError."""
        with self._status_lock:
            now = self._now()
            if self._status is None or not timedelta() <= now - self._status[0] < self.status_age:
                self._status = now, self._receiver.status(self.ledger_timeout_s)
            return self._status[1]


def plain_path(path: str) -> str:
    """Return `path` without a slash at its end."""
    return path.rstrip("/") or "/"


def _no_ledger(cause: str) -> RefusalError:
    return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "ledger", cause=cause.rstrip("."))


def _wrong_method(allowed: str) -> RefusalError:
    return RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "method", headers=(("Allow", allowed),))


def _text(status: HTTPStatus, text: str, parameters: str = "; charset=utf-8") -> Response:
    headers = (("Content-Type", f"text/plain{parameters}"), ("Cache-Control", "no-store"))
    return Response(status, text.encode(), headers)


def _read(environ: WSGIEnvironment) -> bytes:
    """Read the body. Raises RefusalError if it is too large, cut off or of unknown length."""
    length = _body_length(environ)
    if length > MAX_CALLBACK_BYTES:
        raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    try:
        body: bytes = environ["wsgi.input"].read(MAX_CALLBACK_BYTES + 1 if length < 0 else length)
    except Exception:  # noqa: BLE001 - each server has its own errors for a client that left
        raise RefusalError(HTTPStatus.BAD_REQUEST, "cut off") from None
    if len(body) > MAX_CALLBACK_BYTES:
        raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    if len(body) < length:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "cut off")
    return body


def _body_length(environ: WSGIEnvironment) -> int:
    """Return Content-Length, or -1 for a chunked body whose end the server detects."""
    text = environ.get("CONTENT_LENGTH", "")
    if not text and environ.get("wsgi.input_terminated"):
        return -1
    if not text:
        raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "length missing")
    if not (text.isascii() and text.isdigit()):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "length malformed")
    # int() takes quadratic time, and raises ValueError from 4,300 digits on.
    return int(text.lstrip("0")[:9] or "0")


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _is_local(environ: Mapping[str, Any]) -> bool:
    """Whether a process on this machine sent the request itself, not on behalf of a web page.

    A web page in a local browser can also send requests; the browser then adds Origin or
    Sec-Fetch-Site. A page whose DNS name now resolves to loopback (DNS rebinding) is recognized by
    its Host header.
    """
    if any(name in environ for name in (*_FORWARDED, "HTTP_ORIGIN")):
        return False
    if environ.get("HTTP_SEC_FETCH_SITE", "none") != "none":
        return False
    host = environ.get("HTTP_HOST", "localhost")
    return is_loopback(environ.get("REMOTE_ADDR", "")) and is_loopback(host_in(host))
