"""HTTP to one host: a request goes out, an answer or one of our errors comes back.

No redirect is followed, no cookie kept, no credential taken from a `.netrc`, and nothing is
retried: whoever knows what a request means decides on that.
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
"""More than any page of 250 orders; beyond it an answer is broken."""

_CHUNK_BYTES = 256 * 1024
_CONNECTING = "while connecting"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each piece of an answer."""

    connect_s: float = 5.0
    read_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered. `headers` ignores case; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text, for messages only."""
        return self.body.decode("utf-8", "replace")


class HttpClient:
    """One host, one pool of connections, used by all threads.

    `label` is the path prefix shown in logs instead of `base_url`'s own, which may be a secret.
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
        # For messages: on a machine with several services, the port tells which.
        self._peer = address.netloc.rpartition("@")[2]
        # What a session adds on top of its adapter is just what must not happen here: it follows
        # redirects, keeps cookies, reads .netrc, and asks the environment anew each time.
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=connections)
        with requests.Session() as session:
            # Proxies and certificates come from the environment, as everywhere.
            settings = session.merge_environment_settings(base_url, {}, None, None, None)
        # What is on this machine is not reached by way of another.
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
        self._discretion = _RedactingFilter(base_url, label)
        for name in _URLLIB3_LOGS:
            logging.getLogger(name).addFilter(self._discretion)

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

        With `keep_bytes`, that much of the body is kept and a body that breaks off is no error:
        for requests whose status says it all, as that of an error does anyway. Raises
        NoConnectionError when the request certainly never left, NoResponseError when it may have
        arrived, BadResponseError when the body could not be read, ConfigurationError when
        address or headers cannot travel in HTTP.
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
            if kept.broken and keep_bytes is None and response.status_code < 400:
                self._log(method, path, f"{response.status_code}, body broken", started)
                raise BadResponseError(f"The answer of {self._peer} {kept.broken}.")
        finally:
            response.close()
        self._log(method, path, str(response.status_code), started)
        return Response(response.status_code, response.headers, kept.body)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()
        for name in _URLLIB3_LOGS:
            logging.getLogger(name).removeFilter(self._discretion)

    def _prepare(
        self, method: str, path: str, query: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """A request without its body; the same one again costs less than the first."""
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
            # Its text quotes the address or the header, which may be a secret.
            raise ConfigurationError(
                f"The address of {self._host or 'a service'} or a credential for it cannot "
                "travel in HTTP.",
                hint="Check both for line breaks, spaces and other odd characters.",
            ) from None
        if not query and not path:
            self._prepared[method, path] = request
        return request.copy()

    def _read(self, response: requests.Response, limit: int) -> _Body:
        """At most `limit` bytes; a server that drips them is cut off like one that hangs."""
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
                    return _Body(b"".join(chunks), "comes too slowly")
        except (urllib3.exceptions.HTTPError, OSError):
            return _Body(b"".join(chunks), "was cut off on the way")
        return _Body(b"".join(chunks), "")

    def _log(self, method: str, path: str, outcome: str, started: float) -> None:
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("%s %s%s %s %.0f ms", method, self._label, path, outcome, elapsed_ms)


class _Connection(HTTPSConnection):
    """Marks what fails while it connects: a request follows its handshake, never precedes it."""

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
    broken: str


class _RedactingFilter(logging.Filter):
    """Masks our address in what urllib3 logs: it names paths, and one of them is a secret."""

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
    """Names the tool and its version, as BigCommerce asks of integrations."""
    return f"bc2ot/{__version__} (Python {platform.python_version()})"


def _explain(error: Exception, peer: str) -> Exception:
    if isinstance(error, OSError) and not isinstance(error, requests.exceptions.RequestException):
        return NoConnectionError(
            f"No connection to {peer}: the CA certificates could not be read.",
            hint="Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
        )
    if not _never_left(error):
        return NoResponseError(f"{peer} took the request and gave no answer.")
    if isinstance(error, requests.exceptions.SSLError):
        return NoConnectionError(
            f"No secure connection to {peer}: TLS or its certificate was not accepted.",
            hint="Check the address, this machine's clock, and its CA certificates.",
        )
    return NoConnectionError(
        f"No connection to {peer}.", hint="Check the address, the network, and the firewall."
    )


def _never_left(error: BaseException) -> bool:
    """Whether the failure came before the first byte of the request was sent."""
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
