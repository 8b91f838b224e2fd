"""Callbacks as BigCommerce posts them, signed independently, and clients that post them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.config.settings import ReceiverSettings, Settings
from onetribe_bc.sandbox.sandbox import CLIENT_SECRET, STORE_HASH
from onetribe_bc.secret import Secret
from onetribe_bc.web.app import Application
from onetribe_bc.web.service import Service, open_service
from tests.delivering import Desk

SHARED_SECRET = "shared-secret-of-tests-0123456789"
CREATED = "store/order/created"
UPDATED = "store/order/updated"
STATUS_UPDATED = "store/order/statusUpdated"


def callback(order_id: object, scope: str = CREATED, **fields: object) -> bytes:
    """Return the body of a callback; `fields` replace or add members."""
    document = {
        "scope": scope,
        "store_id": "1025646",
        "data": {"type": "order", "id": order_id},
        "hash": "dd70c0976e06b67aaf671e73f49dcb79230ebf9d",
        "created_at": 1561479335,
        "producer": f"stores/{STORE_HASH}",
    }
    return json.dumps(document | fields).encode()


def signature(key: bytes, message_id: str, timestamp: int | str, body: bytes) -> str:
    """Sign as the Standard Webhooks specification says, without its library."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed(
    body: bytes, *, secret: str = CLIENT_SECRET, message_id: str = "msg_1", age_s: float = 0
) -> dict[str, str]:
    """Return the headers that BigCommerce signs a body with."""
    timestamp = int(time.time() - age_s)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret.encode(), message_id, timestamp, body),
    }


def with_secret(secret: str = SHARED_SECRET) -> dict[str, str]:
    """Return the header that a webhook of `hooks create --receiver` carries."""
    return {"X-Bc2ot-Secret": secret}


# In this process


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def environ_of(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = "/",
    content_type: str | None = "application/json",
    **more: object,
) -> dict[str, Any]:
    """Return a request's WSGI environment; None leaves a variable out."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
        "REMOTE_ADDR": "203.0.113.9",
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in (headers or {}).items():
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    environ.update({name.replace("wsgi_", "wsgi."): value for name, value in more.items()})
    return {name: value for name, value in environ.items() if value is not None}


def ask(application: Application, environ: dict[str, Any]) -> Reply:
    """Call the application with one request."""
    told: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _info: Any = None) -> Any:
        told.append((status, headers))

    body = b"".join(application(environ, start_response))
    (status, headers), *others = told
    assert not others
    return Reply(int(status[:3]), dict(headers), body)


def post(
    application: Application, body: bytes, headers: Mapping[str, str] | None = None, **more: Any
) -> Reply:
    """Post a callback, by default with the shared secret."""
    given = with_secret() if headers is None else headers
    return ask(application, environ_of(body, given, **more))


@dataclass
class Site(Desk):
    """A store whose orders a receiver delivers."""

    sync_every: timedelta = timedelta(0)
    shared_secret: str | None = SHARED_SECRET
    client_secret: str | None = CLIENT_SECRET
    token: str | None = None
    path: str = "/"
    verify: bool = True
    system_clock: SystemClock = field(default_factory=SystemClock)

    def settings(self, **delivery: Any) -> Settings:
        settings = super().settings(**delivery)
        return replace(
            settings,
            bigcommerce=replace(settings.bigcommerce, client_secret=_secret(self.client_secret)),
            receiver=ReceiverSettings(
                _secret(self.shared_secret), _secret(self.token), self.sync_every
            ),
        )

    @contextmanager
    def serving(self, clock: Clock | None = None) -> Iterator[Service]:
        """Run the receiver, by default on the real clock."""
        clock = clock or SystemClock()
        settings = self.settings()
        with open_service(settings, clock, path=self.path, verify=self.verify) as service:
            try:
                yield service
            finally:
                clock.stop()
                assert service.finish(30)

    def inbox(self) -> dict[int, int]:
        """Return the number of callbacks of each order in the inbox."""
        return dict(self.query("SELECT order_id, received FROM callbacks"))


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(text)


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until `condition` returns something true, and return it."""
    ends_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends_at, "timed out"
        time.sleep(0.01)
    return found


# Over a socket


def request(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = "/",
    content_type: str = "application/json",
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    given = with_secret() if headers is None else headers
    lines += [f"{name}: {value}" for name, value in given.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Client:
    """A persistent connection to a receiver on loopback."""

    def __init__(self, port: int, timeout_s: float = 30) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def post(self, body: bytes, headers: Mapping[str, str] | None = None, **more: str) -> Reply:
        """Post a callback, by default with the shared secret."""
        self.socket.sendall(request(body, headers, **more))
        return self.answer()

    def answer(self) -> Reply:
        """Read the next response. Raises ConnectionError when the connection closes instead."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self.socket.recv(65_536)
            if not piece:
                raise ConnectionError("closed")
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("Content-Length", 0)):
            body += self.socket.recv(65_536)
        return Reply(int(first.split()[1]), headers, body)

    def is_closed(self) -> bool:
        """Wait until the server closes, or sends something; whether it closed."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
