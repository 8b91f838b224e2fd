"""HTTP to one host: a request goes out, an answer or one of our errors comes back.

No redirect is followed, no cookie kept, no credential taken from a `.netrc`, and nothing is
retried: whoever knows what a request means decides on that.
"""

from __future__ import annotations

import logging
import platform
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from onetribe_bc.errors import BrokenAnswerError, NoAnswerError, NoConnectionError

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024 * 1024
"""More than any page of 250 orders; beyond it an answer is broken."""

_CHUNK_BYTES = 256 * 1024

_HANDSHAKE_REASONS = frozenset(
    {"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each piece of an answer."""

    connect_s: float = 5.0
    read_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `headers` ignores case; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, for messages only."""
        return self.body.decode("utf-8", "replace")


class Transport:
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
        host = urlsplit(base_url).hostname or ""
        self.host = host
        # What a session adds on top of its adapter is just what must not happen here: it follows
        # redirects, keeps cookies, reads .netrc, and asks the environment anew each time.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        with requests.Session() as session:
            # Proxies and certificates come from the environment, as everywhere; not for loopback.
            session.trust_env = host not in ("localhost", "127.0.0.1", "::1")
            settings = session.merge_environment_settings(base_url, {}, None, None, None)
        self._proxies = dict(settings["proxies"])
        verify = settings["verify"]
        self._verify = True if verify is None else verify
        self._prepared: dict[tuple[str, str], requests.PreparedRequest] = {}
        self._headers = {"User-Agent": user_agent(), "Accept": "application/json", **headers}

    def exchange(
        self,
        method: str,
        path: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        keep_bytes: int | None = None,
    ) -> Answer:
        """Send one request to `base_url + path`.

        With `keep_bytes`, that much of the body is kept and a body that breaks off is no error:
        for requests whose status says it all. Raises NoConnectionError when the request
        certainly never left, NoAnswerError when it may have arrived, BrokenAnswerError when the
        body could not be read.
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
        except requests.exceptions.RequestException as error:
            self._log(method, path, type(error).__name__, started)
            raise _explain(error, self.host) from None
        try:
            kept = self._read(response, MAX_BODY_BYTES if keep_bytes is None else keep_bytes)
            if kept.broken and keep_bytes is None:
                self._log(method, path, f"{response.status_code}, body broken", started)
                raise BrokenAnswerError(f"The answer of {self.host} {kept.broken}.")
        finally:
            response.close()
        self._log(method, path, str(response.status_code), started)
        return Answer(response.status_code, response.headers, kept.body)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def _prepare(
        self, method: str, path: str, query: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """A request without its body; the same one again costs less than the first."""
        known = None if query else self._prepared.get((method, path))
        if known is not None:
            return known.copy()
        request = requests.PreparedRequest()
        request.prepare(
            method=method,
            url=self._base_url + path,
            params=dict(query) if query else None,
            headers=self._headers,
        )
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


@dataclass(frozen=True, slots=True)
class _Body:
    body: bytes
    broken: str


def user_agent() -> str:
    """Names the tool and its version, as BigCommerce asks of integrations."""
    return f"bc2ot/{version('onetribe-bc')} (Python {platform.python_version()})"


def _explain(error: requests.exceptions.RequestException, host: str) -> Exception:
    if not _never_left(error):
        return NoAnswerError(f"{host} took the request and gave no answer.")
    if isinstance(error, requests.exceptions.SSLError):
        return NoConnectionError(
            f"No secure connection to {host}: TLS or its certificate was not accepted.",
            hint="Check the address, this machine's clock, and its CA certificates.",
        )
    return NoConnectionError(
        f"No connection to {host}.", hint="Check the address, the network, and the firewall."
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
                requests.exceptions.ProxyError,
                requests.exceptions.InvalidURL,
                urllib3.exceptions.NewConnectionError,
                urllib3.exceptions.ConnectTimeoutError,
            ),
        ):
            return True
        if isinstance(item, ssl.SSLError) and item.reason in _HANDSHAKE_REASONS:
            return True
        queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return False
