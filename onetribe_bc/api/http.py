"""HTTP to one host: send a request, and return the response or raise one of bc2ot's errors.

Redirects are not followed, cookies not kept, and `.netrc` is not read. Nothing is retried: only
the caller knows whether a request may be repeated.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.utils import select_proxy
from urllib3.util import parse_url

from onetribe_bc.api.connection import Adapter, Exchange, begin_exchange
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
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each part of a response."""

    connect_s: float = 5.0
    read_s: float = 30.0

    @property
    def exchange_s(self) -> float:
        """The most that a request and its whole response may take."""
        return self.connect_s + 2 * self.read_s


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `headers` ignores case; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


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
        # For messages, with the port: it distinguishes several services on one machine.
        self._peer = address.netloc.rpartition("@")[2]
        # A session on top of the adapter would follow redirects, keep cookies, read .netrc, and
        # read the environment for each request.
        self._adapter = Adapter(pool_connections=1, pool_maxsize=connections)
        with requests.Session() as session:
            # Proxies and CA certificates come from the environment, as usual.
            settings = session.merge_environment_settings(base_url, {}, None, None, None)
        # Do not reach this machine through a proxy.
        self._proxies = {} if is_loopback(address.hostname or "") else dict(settings["proxies"])
        self._proxy = find_proxy(base_url)
        self._route = self._peer
        if self._proxy:
            self._route += f" through the proxy {self._proxy}"
        self._verify = True if settings["verify"] is None else settings["verify"]
        if address.scheme == "https":
            _check_files(self._verify)
        # Preparing a request takes longer than copying one.
        self._prepared = _prepare(
            base_url,
            {
                # BigCommerce asks integrations for their name and version.
                "User-Agent": f"bc2ot/{__version__} (Python {platform.python_version()})",
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                **headers,
            },
        )
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

        With `keep_bytes`, return that much of the body, and ignore errors while reading it: the
        status is enough, as it always is for an error.

        Raises NoConnectionError (the request certainly never left), NoResponseError (it may have
        arrived) and BadResponseError (the body could not be read).
        """
        request = self._prepared.copy()
        request.method = method
        if path or query:
            request.prepare_url(self._base_url + path, dict(query) if query else None)
        request.headers.update(headers or {})
        request.prepare_body(body, None)
        started = time.perf_counter()
        exchange = begin_exchange(time.monotonic() + self._timeouts.exchange_s)
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
            raise self._explain(error, exchange) from None
        try:
            limit = MAX_BODY_BYTES if keep_bytes is None else keep_bytes
            content, problem = _read(response, limit, exchange)
            if problem and keep_bytes is None and response.status_code < 400:
                self._log(method, path, f"{response.status_code}, body incomplete", started)
                raise BadResponseError(f"The response of {self._peer} {problem}.")
        finally:
            response.close()
        self._log(method, path, str(response.status_code), started)
        return Response(response.status_code, response.headers, content)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()
        for name in _URLLIB3_LOGS:
            logging.getLogger(name).removeFilter(self._redacting_filter)

    def _explain(self, error: Exception, exchange: Exchange) -> Exception:
        """Return bc2ot's error for one of requests or urllib3."""
        if exchange.sent:
            return NoResponseError(f"Sent the request to {self._route} but got no response.")
        causes = list(_causes(error))
        refusal = next(filter(None, map(_PROXY_STATUS.search, map(str, causes))), None)
        if self._proxy and refusal:
            return NoConnectionError(
                f"No connection to {self._peer}: the proxy {self._proxy} responded with "
                f"{refusal[1]}.",
                hint=f"Check the user and password in {self._proxy.variable}."
                if refusal[1] == "407"
                else f"Check what the proxy allows, and {self._proxy.variable}.",
            )
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return NoConnectionError(
                f"No secure connection to {self._route}: TLS failed or its "
                f"certificate was not accepted{_reason(causes)}.",
                hint="Check the URL, this machine's clock, and its CA certificates.",
            )
        hint = "Check the URL, the network, and the firewall."
        if self._proxy:
            hint = f"Check {self._proxy.variable} (NO_PROXY excludes hosts) and the network."
        return NoConnectionError(f"No connection to {self._route}{_reason(causes)}.", hint=hint)

    def _log(self, method: str, path: str, outcome: str, started: float) -> None:
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("%s %s%s %s %.0f ms", method, self._label, path, outcome, elapsed_ms)


class _RedactingFilter(logging.Filter):
    """Masks the path of a URL, which may be a secret, in urllib3's log records."""

    def __init__(self, base_url: str, label: str) -> None:
        super().__init__()
        self._path = urlsplit(base_url).path
        self._label = label

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if len(self._path) > 1 and self._path != self._label and self._path in message:
            record.msg, record.args = message.replace(self._path, self._label), ()
        return True


def _prepare(url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    try:
        request.prepare(method="GET", url=url, headers=dict(headers))
        for value in headers.values():
            value.encode("latin-1")
        if not urlsplit(url).hostname:
            raise ValueError("no host")
    except (requests.exceptions.RequestException, ValueError):
        # The error quotes the URL or the header, which may be a secret.
        raise ConfigurationError(
            f"The URL of {urlsplit(url).hostname or 'a service'} or a credential for it is not "
            "valid in HTTP.",
            hint="Check both for line breaks, spaces and special characters.",
        ) from None
    return request


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's host and port, and the environment variable that sets it."""

    address: str
    variable: str

    def __str__(self) -> str:
        return f"{self.address} ({self.variable})"


def find_proxy(url: str) -> Proxy | None:
    """Return the proxy for requests to a URL, or None.

    Raises ConfigurationError for an unusable one, without quoting its password.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    proxies = requests.utils.get_environ_proxies(url)
    proxy = select_proxy(url, proxies)
    if not proxy:
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    variables = (n for n in os.environ if n.lower() in names and os.environ[n] == proxy)
    variable = next(variables, "the system's settings")
    try:
        parsed = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        urlsplit(proxy)
        if not parsed.host or not (parsed.scheme or "").startswith(("http", "socks")):
            raise ValueError("no proxy")
    except (ValueError, urllib3.exceptions.HTTPError):
        raise ConfigurationError(
            f"The proxy in {variable} is not a valid URL.",
            hint="Write http://USER:PASSWORD@HOST:PORT, with special characters in the user and "
            "password percent-encoded: [ as %5B, @ as %40, / as %2F.",
        ) from None
    address = f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host
    if (parsed.scheme or "").startswith("socks") and importlib.util.find_spec("socks") is None:
        raise ConfigurationError(
            f"The proxy {address} ({variable}) is a SOCKS proxy, for which a package is missing.",
            hint="Install PySocks into bc2ot's environment, or use an HTTP proxy.",
        )
    return Proxy(address, variable)


def _check_files(verify: object) -> None:
    """Raise ConfigurationError for a file in an environment variable that TLS cannot use."""
    variable, path = "SSLKEYLOGFILE", os.environ.get("SSLKEYLOGFILE", "")
    try:
        if path:
            with open(path, "ab"):  # noqa: PTH123 - as the ssl module does
                pass
        if isinstance(verify, str):
            variable = next((name for name in _CA_VARIABLES if os.environ.get(name)), "")
            path = verify
            if not os.path.isdir(path):  # noqa: PTH112 - may be any text
                ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        reason = "it has no certificate in PEM form"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a path"
    else:
        return
    use = "for the keys of TLS" if variable == "SSLKEYLOGFILE" else "with CA certificates"
    raise ConfigurationError(
        f"The file {use} in {variable} cannot be used: {path}: {reason}.",
        hint=f"Correct {variable}, or unset it.",
    )


def _read(response: requests.Response, limit: int, exchange: Exchange) -> tuple[bytes, str]:
    """Read at most `limit` bytes, until the exchange's deadline. Return them, and any problem."""
    if exchange.cut:
        return b"", "is incomplete"
    if "," in response.headers.get("Content-Encoding", ""):
        # Each layer can multiply the size by a thousand.
        return b"", "is compressed more than once"
    content = bytearray()
    try:
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            content += chunk
            if len(content) > limit:
                return bytes(content[:limit]), "is too large"
    except (urllib3.exceptions.HTTPError, OSError):
        is_late = time.monotonic() >= exchange.give_up_at
        return bytes(content), "is too slow" if is_late else "is incomplete"
    return bytes(content), ""


_PROXY_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, which requests and urllib3 wrap in several ways."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop()
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]


def _reason(causes: list[BaseException]) -> str:
    """Return the system's reason for a failure after a colon, or an empty text."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": {cause.verify_message}"
        if isinstance(cause, socket.gaierror):
            return ": its name cannot be resolved"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            return f": {os.strerror(cause.errno)}"
    timeouts = (urllib3.exceptions.TimeoutError, TimeoutError)
    return ": no response in time" if any(isinstance(c, timeouts) for c in causes) else ""
