"""A bare HTTP client, so that the sandbox is tested without the code it is there to test."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from onetribe_bc.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One keep-alive connection to a service of the sandbox."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, root: str = "") -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
        self._headers = dict(headers or {})
        self._root = root

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body` is sent as it is when it is bytes, else as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            self._connection.request(
                method, self._root + path, data, {**self._headers, **(headers or {})}
            )
            response = self._connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise

    def get(self, path: str, **params: object) -> Answer:
        return self.send("GET", f"{path}?{urlencode(params)}" if params else path)


def api(sandbox: Sandbox, *, token: str | None = None, store_hash: str | None = None) -> Client:
    """A client of the BigCommerce side; paths start at `/v2/` or `/v3/`."""
    return Client(
        sandbox.api_url,
        {"X-Auth-Token": sandbox.access_token if token is None else token},
        f"/stores/{store_hash or sandbox.store_hash}",
    )


def onetribe(sandbox: Sandbox) -> Client:
    """A client of the One Tribe side, whose path "" is where orders are posted to."""
    return Client(
        sandbox.onetribe_url,
        {"Content-Type": "application/json"},
        urlsplit(sandbox.onetribe_url).path,
    )


def control(sandbox: Sandbox) -> Client:
    return Client(sandbox.api_url, root="/_sandbox")
