"""The WSGI application (PEP 3333) that callbacks are posted to.

The order of work: path and method, size, content type, authenticity, meaning, and then the
ledger. Only what is durable there is answered 2xx, and nothing is fetched or sent before that.
Whoever cannot show that a callback is BigCommerce's learns a status and nothing else.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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
from onetribe_bc.secret import Secret, is_loopback
from onetribe_bc.web.journal import Journal
from onetribe_bc.web.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ALIVE, READY, METRICS = "/healthz", "/readyz", "/metrics"
OWN_PATHS = (ALIVE, READY, METRICS)
"""The paths that tell how the receiver is; callbacks need another."""

_HEADERS = {
    f"HTTP_{name.upper().replace('-', '_')}": name for name in (*SIGNATURE_HEADERS, SECRET_HEADER)
}
"""The headers that authenticity is told by, as WSGI has them."""

_FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)
"""With any of these, a proxy on this machine speaks for someone elsewhere."""


class Answer(NamedTuple):
    """What is answered: a status, and mostly nothing else."""

    status: HTTPStatus
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Later(NamedTuple):
    """An answer that takes its time. `answer` gives it after so many seconds at the most, or
    raises RefusalError; it does not wait once `written` is done, if there is one.
    """

    answer: Callable[[float], Answer]
    written: Future[None] | None = None


BEGUN = "bc2ot.begun"
"""Where the environment of a request that was begun may have its answer."""

TAKE_IN_S = 5.0
"""How long a callback may wait for the ledger. Whoever posts it tries again later; it may be
taken in all the same.
"""

T = TypeVar("T")


class RefusalError(Exception):
    """A request that is not taken in. `reason`, one of a few, and `cause`, what is behind it, are
    for us, not for whoever sent it.
    """

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        *,
        cause: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.cause = cause
        self.headers = headers


class Application:
    """Takes callbacks in for one store. Thread-safe, and never raises."""

    def __init__(
        self,
        receiver: Receiver,
        verifier: Verifier | None,
        *,
        store_hash: str,
        path: str,
        token: Secret | None,
        metrics: Metrics,
        journal: Journal,
        now: Callable[[], datetime],
    ) -> None:
        """`verifier` is None where anyone on this machine may post callbacks, and nobody else."""
        self._receiver = receiver
        self._verifier = verifier
        self._store_hash = store_hash
        self._path = path
        self._token = token.reveal().encode() if token else None
        self._metrics = metrics
        self._journal = journal
        self._now = now
        self.draining = False
        """Whether callbacks are to come again later, since the receiver is about to end."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request, from its beginning or from where `begin` has left it."""
        begun = environ.pop(BEGUN, None) or self.begin(environ)
        answer = begun if isinstance(begun, Answer) else self.finish(begun, TAKE_IN_S)
        start_response(
            f"{answer.status.value} {answer.status.phrase}",
            [("Content-Length", str(len(answer.body))), *answer.headers],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" or not answer.body else [answer.body]

    def refuse(self, status: int, reason: str, cause: str = "") -> None:
        """Take note of a request that was refused, maybe by the server itself."""
        self._metrics.refuse(reason)
        self._journal.refuse(status, f"{reason}: {cause}" if cause else reason)

    def begin(self, environ: WSGIEnvironment) -> Answer | Later:
        """All of it that needs no waiting. A server that does not want a thread to wait for each
        callback may call `finish` when the time has come, put the answer into the environment as
        `BEGUN`, and call the application then.
        """
        return self._guarded(partial(self._answer, environ))

    def finish(self, later: Later, wait_s: float) -> Answer:
        """The answer to what was begun, after waiting for the ledger so long at the most."""
        return self._guarded(partial(later.answer, wait_s))

    def _guarded(self, work: Callable[[], T]) -> T | Answer:
        try:
            return work()
        except RefusalError as refusal:
            self.refuse(refusal.status, refusal.reason, refusal.cause)
            return Answer(refusal.status, headers=refusal.headers)
        except Exception as error:  # noqa: BLE001 - a stranger must see none of it
            self.refuse(503, "bug", type(error).__name__)
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE)

    def _answer(self, environ: WSGIEnvironment) -> Answer | Later:
        path, method = environ.get("PATH_INFO") or "/", environ["REQUEST_METHOD"]
        if path == self._path:
            if method != "POST":
                raise _wrong_method("POST")
            return self._take(environ)
        if path == ALIVE or (path in OWN_PATHS and self._may_look(environ)):
            if method not in ("GET", "HEAD"):
                raise _wrong_method("GET, HEAD")
            if path == ALIVE:
                return _text(HTTPStatus.OK, "alive\n")
            return Later(partial(self._tell, path))
        raise RefusalError(HTTPStatus.NOT_FOUND, "unknown path")

    # Callbacks

    def _take(self, environ: WSGIEnvironment) -> Answer | Later:
        body = _read(environ)
        if not _is_json(environ.get("CONTENT_TYPE", "")):
            raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content type")
        self._authenticate(environ, body)
        callback = self._understand(body)
        if callback.order_id is None:
            self._metrics.ignore(callback.ignored)
            self._journal.ignore(callback)
            return Answer(HTTPStatus.OK)
        return self._store(callback, callback.order_id)

    def _authenticate(self, environ: WSGIEnvironment, body: bytes) -> None:
        if self._verifier is None:
            if not _is_local(environ):
                raise RefusalError(HTTPStatus.UNAUTHORIZED, "not from this machine")
            return
        given = {name: environ[key] for key, name in _HEADERS.items() if key in environ}
        try:
            self._verifier.check(given, body)
        except NotAuthenticError as error:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, error.reason) from None

    def _understand(self, body: bytes) -> Callback:
        try:
            callback = parse_callback(body)
        except InputError:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "malformed") from None
        if not callback.is_of(self._store_hash):
            raise RefusalError(HTTPStatus.FORBIDDEN, "another store's")
        if not callback.is_about_orders:
            raise RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, "not about orders")
        return callback

    def _store(self, callback: Callback, order_id: int) -> Later:
        if self.draining:
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        try:
            written = self._receiver.accept(order_id)
        except Bc2otError as error:
            raise _no_ledger(str(error)) from None
        return Later(partial(self._confirm, callback, written), written)

    def _confirm(self, callback: Callback, written: Future[None], wait_s: float) -> Answer:
        try:
            written.result(wait_s)
        except TimeoutError:
            raise _no_ledger("it did not answer in time") from None
        except Bc2otError as error:
            raise _no_ledger(str(error)) from None
        self._metrics.accept()
        self._journal.accept(callback)
        return Answer(HTTPStatus.OK)

    # How the receiver is

    def _may_look(self, environ: WSGIEnvironment) -> bool:
        """Whether this is someone on this machine, or who has the token."""
        if self._token is not None:
            scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
            if scheme.lower() == "bearer":
                told = given.strip().encode("utf-8", "surrogatepass")
                return hmac.compare_digest(told, self._token)
        return _is_local(environ)

    def _tell(self, path: str, wait_s: float) -> Answer:
        if path == METRICS:
            return _text(HTTPStatus.OK, self._all_metrics(wait_s), "; version=0.0.4")
        problem = "it is about to end" if self.draining else self._receiver.problem(wait_s)
        if problem:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"{problem}\n")
        return _text(HTTPStatus.OK, "ready\n")

    def _all_metrics(self, wait_s: float) -> str:
        """What the ledger cannot tell at the moment is left out."""
        try:
            status = self._receiver.status(wait_s)
        except Bc2otError:
            return self._metrics.text()
        samples = status_samples(self._store_hash, status, self._now())
        return self._metrics.text(status.callbacks_waiting) + exposition(samples)


def _no_ledger(cause: str) -> RefusalError:
    return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "ledger", cause=cause.rstrip("."))


def _wrong_method(allowed: str) -> RefusalError:
    return RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "method", headers=(("Allow", allowed),))


def _text(status: HTTPStatus, text: str, parameters: str = "; charset=utf-8") -> Answer:
    headers = (("Content-Type", f"text/plain{parameters}"), ("Cache-Control", "no-store"))
    return Answer(status, text.encode(), headers)


def _read(environ: WSGIEnvironment) -> bytes:
    """The body, if it is not too large. One without a length ends where the server says so."""
    told = environ.get("CONTENT_LENGTH", "")
    if told:
        if not (told.isascii() and told.isdigit()):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "length malformed")
        # More digits than any length has would take long to be understood.
        length = MAX_CALLBACK_BYTES + 1 if len(told.lstrip("0")) > 9 else int(told)
    elif environ.get("wsgi.input_terminated"):
        length = -1
    else:
        raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "length missing")
    if length > MAX_CALLBACK_BYTES:
        raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    try:
        body: bytes = environ["wsgi.input"].read(MAX_CALLBACK_BYTES + 1 if length < 0 else length)
    except Exception:  # noqa: BLE001 - of any server: the client left, or its chunks are none
        raise RefusalError(HTTPStatus.BAD_REQUEST, "cut off") from None
    if len(body) > MAX_CALLBACK_BYTES:
        raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
    if len(body) < length:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "cut off")
    return body


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _is_local(environ: Mapping[str, Any]) -> bool:
    """Whether a process of this machine asks for itself."""
    if any(name in environ for name in _FORWARDED):
        return False
    return is_loopback(environ.get("REMOTE_ADDR", ""))
