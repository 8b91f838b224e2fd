"""HTTP to one host: send a request, return the response or raise one of our errors.

Redirects are not followed, cookies not kept, `.netrc` not read, and nothing is retried: that is
up to the caller, who knows what a request does.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection

from onetribe_bc.errors import (
    BadResponseError,
    ConfigurationError,
    NoConnectionError,
    NoResponseError,
)
from onetribe_bc.secret import is_loopback
from onetribe_bc.version import __version__

_log = logging.getLogger(__name__)
_URLLIB3_LOGS = ("urllib3.connection", "urllib3.connectionpool")

MAX_BODY_BYTES = 64 * 1024 * 1024
"""More than any page of 250 orders; a larger response is an error."""

_CHUNK_BYTES = 256 * 1024
_CONNECTING = "while connecting"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each part of a response."""

    connect_s: float = 5.0
    read_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Response:
    """A server's response. `headers` ignores case; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text, for messages only."""
        return self.body.decode("utf-8", "replace")


class HttpClient:
    """An HTTP client for one host, with a connection pool shared by all threads.

    `label` replaces the path of `base_url`, which may be a secret, in logs.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        connections: int,
        label: str,
    ) -> None:
        self._base_url = base_url
        self._label = label
        self._timeouts = timeouts
        address = urlsplit(base_url)
        self._host = address.hostname or ""
        # For messages, with the port: it distinguishes several services on one machine.
        self._peer = address.netloc.rpartition("@")[2]
        # A session on top of the adapter would follow redirects, keep cookies, read .netrc, and
        # read the environment for each request.
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=connections)
        with requests.Session() as session:
            # Proxies and CA certificates come from the environment, as usual.
            settings = session.merge_environment_settings(base_url, {}, None, None, None)
        # Do not reach this machine through a proxy.
        self._proxies = {} if is_loopback(self._host) else dict(settings["proxies"])
        verify = settings["verify"]
        self._verify = True if verify is None else verify
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
        self._headers = {
            "User-Agent": user_agent(),
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            **headers,
        }
        self._redacting_filter = _RedactingFilter(base_url, label)
        for name in _URLLIB3_LOGS:
            logging.getLogger(name).addFilter(self._redacting_filter)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        keep_bytes: int | None = None,
    ) -> Response:
        """Send one request to `base_url + path`.

        With `keep_bytes`, return that much of the body, and ignore errors while reading it: for
        requests whose status is enough, as an error's always is.

        Raises NoConnectionError (the request certainly never left), NoResponseError (it may have
        arrived), BadResponseError (the body could not be read), and ConfigurationError (the URL
        or a header is not valid in HTTP).
        """
        request = self._prepare(method, path, query)
        request.headers.update(headers or {})
        request.prepare_body(body, None)
        started = time.perf_counter()
        try:
            response = self._adapter.send(
                request,
                timeout=(self._timeouts.connect_s, self._timeouts.read_s),
                proxies=self._proxies,
                verify=self._verify,
                stream=True,
            )
        except (OSError, urllib3.exceptions.HTTPError) as error:  # OSError: requests' own, too
            self._log(method, path, type(error).__name__, started)
            raise _explain(error, self._peer) from None
        try:
            kept = self._read(response, MAX_BODY_BYTES if keep_bytes is None else keep_bytes)
            if kept.problem and keep_bytes is None and response.status_code < 400:
                self._log(method, path, f"{response.status_code}, body incomplete", started)
                raise BadResponseError(f"The response of {self._peer} {kept.problem}.")
        finally:
            response.close()
        self._log(method, path, str(response.status_code), started)
        return Response(response.status_code, response.headers, kept.body)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()
        for name in _URLLIB3_LOGS:
            logging.getLogger(name).removeFilter(self._redacting_filter)

    def _prepare(
        self, method: str, path: str, query: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """Return a request without its body, a copy if it was prepared before."""
        known = None if query else self._prepared.get((method, path))
        if known is not None:
            return known.copy()
        request = requests.PreparedRequest()
        try:
            request.prepare(
                method=method,
                url=self._base_url + path,
                params=dict(query) if query else None,
                headers=self._headers,
            )
            for value in self._headers.values():
                value.encode("latin-1")
            if not self._host:
                raise ValueError("no host")
        except (requests.exceptions.RequestException, ValueError):
            # The error quotes the URL or the header, which may be a secret.
            raise ConfigurationError(
                f"The URL of {self._host or 'a service'} or a credential for it is not valid in "
                "HTTP.",
                hint="Check both for line breaks, spaces and special characters.",
            ) from None
        if not query and not path:
            self._prepared[method, path] = request
        return request.copy()

    def _read(self, response: requests.Response, limit: int) -> _Body:
        """Read at most `limit` bytes, for at most four times the read timeout."""
        chunks: list[bytes] = []
        size = 0
        give_up_at = time.monotonic() + 4 * self._timeouts.read_s
        try:
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    return _Body(b"".join(chunks)[:limit], "is too large")
                if time.monotonic() > give_up_at:
                    return _Body(b"".join(chunks), "is too slow")
        except (urllib3.exceptions.HTTPError, OSError):
            return _Body(b"".join(chunks), "is incomplete")
        return _Body(b"".join(chunks), "")

    def _log(self, method: str, path: str, outcome: str, started: float) -> None:
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("%s %s%s %s %.0f ms", method, self._label, path, outcome, elapsed_ms)


class _Connection(HTTPSConnection):
    """Adds a note to errors while connecting, before the first byte of a request is sent."""

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            error.add_note(_CONNECTING)
            raise


class _ConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _mark_connecting(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        _mark_connecting(manager)
        return manager


def _mark_connecting(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {
        **manager.pool_classes_by_scheme,
        "https": _ConnectionPool,
    }


@dataclass(frozen=True, slots=True)
class _Body:
    body: bytes
    problem: str


class _RedactingFilter(logging.Filter):
    """Masks the URL's path in urllib3's log records, because it may be a secret."""

    def __init__(self, base_url: str, label: str) -> None:
        super().__init__()
        self._path = urlsplit(base_url).path
        self._label = label

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if self._path != self._label and self._path in message:
            record.msg, record.args = message.replace(self._path, self._label), ()
        return True


def user_agent() -> str:
    """Return the tool's name and version, as BigCommerce asks of integrations."""
    return f"bc2ot/{__version__} (Python {platform.python_version()})"


def _explain(error: Exception, peer: str) -> Exception:
    """Return our error for one of requests or urllib3."""
    if isinstance(error, OSError) and not isinstance(error, requests.exceptions.RequestException):
        return NoConnectionError(
            f"No connection to {peer}: the CA certificates could not be read.",
            hint="Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
        )
    if not _never_left(error):
        return NoResponseError(f"Sent the request to {peer} but got no response.")
    if isinstance(error, requests.exceptions.SSLError):
        return NoConnectionError(
            f"No secure connection to {peer}: TLS failed or its certificate was not accepted.",
            hint="Check the URL, this machine's clock, and its CA certificates.",
        )
    return NoConnectionError(
        f"No connection to {peer}.", hint="Check the URL, the network, and the firewall."
    )


def _never_left(error: BaseException) -> bool:
    """Return whether the failure happened before the first byte of the request was sent."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(
            item,
            (
                requests.exceptions.ConnectTimeout,
                requests.exceptions.InvalidURL,
                urllib3.exceptions.NewConnectionError,
                urllib3.exceptions.ConnectTimeoutError,
                urllib3.exceptions.LocationValueError,
            ),
        ):
            return True
        if _CONNECTING in getattr(item, "__notes__", ()):
            return True
        queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return False
