"""Check a webhook's receiver as BigCommerce sees it: its DNS name, TLS, and its response."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from contextlib import closing
from http import HTTPStatus
from ipaddress import ip_address

from onetribe_bc.api.hooks import host_of
from onetribe_bc.api.http import HttpClient, Timeouts
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, fail, ok, warn
from onetribe_bc.errors import NoConnectionError
from onetribe_bc.secret import MASK

_CHECK = "hooks.receiver"
_HTTPS = 443
_CHECK_THERE = "Check that `bc2ot serve` runs, and read the proxy's log."


def resolve(host: str) -> tuple[str, ...]:
    """Return the host's IP addresses, as this machine sees them; none if its name is unknown."""
    try:
        found = socket.getaddrinfo(host, _HTTPS, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def check_receiver(
    destination: str,
    shown: str,
    timeouts: Timeouts,
    *,
    resolve: Callable[[str], Collection[str]] = resolve,
) -> Finding:
    """Check that a receiver can be reached; `shown` is its URL, masked.

    A receiver rejects a POST without credentials, without effect: a 401 shows that requests arrive
    at the callback path.
    """
    host = host_of(destination)
    unreachable = f"Cannot reach the receiver {shown}:"
    if not host:
        return fail(_CHECK, f"{unreachable} invalid URL.", "bc2ot hooks create --receiver URL")
    try:
        status = _probe(destination, timeouts)
    except NoConnectionError as error:
        if resolve(host):
            return fail(_CHECK, f"{unreachable} {error}", error.hint)
        text = f"The name {host} of the receiver {shown} is unknown (DNS)."
        return fail(_CHECK, text, "Correct the DNS record, or the webhook's destination.")
    except CHECK_ERRORS as error:
        return fail(_CHECK, f"{unreachable} {error}", _CHECK_THERE)
    if status != HTTPStatus.UNAUTHORIZED:
        return _judge(status, f"The receiver {shown} responds with {status}")
    for address in resolve(host):
        if ip_address(address).is_private:
            text = f"The receiver {shown} responds at {address}, which is inside your own network."
            return warn(_CHECK, text, "Check that BigCommerce can reach it from the internet.")
    return ok(
        _CHECK, f"The receiver {shown} responds over TLS and rejects unauthenticated requests."
    )


def _probe(url: str, timeouts: Timeouts) -> int:
    headers = {"Content-Type": "application/json"}
    client = HttpClient(url, headers=headers, timeouts=timeouts, connections=1, label=f"/{MASK}")
    with closing(client):
        return client.request("POST", body=b"{}", keep_bytes=0).status


def _judge(status: int, text: str) -> Finding:
    """Return what a status other than 401 means."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return warn(_CHECK, f"{text}: the proxy may be unable to reach it.", _CHECK_THERE)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        hint = "Point the webhook to the final URL: bc2ot hooks create --receiver URL"
        return fail(_CHECK, f"{text}, a redirect. BigCommerce expects 2xx.", hint)
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE):
        hint = "Compare the webhook's path, the proxy's, and --path of `bc2ot serve`."
        return fail(_CHECK, f"{text} to a POST: it does not accept callbacks there.", hint)
    if status < HTTPStatus.MULTIPLE_CHOICES:
        text = f"{text} to a callback without its secret: it verifies nothing."
        hint = "Pass each callback and its headers to `bc2ot serve` or `bc2ot handle-callback`."
        return warn(_CHECK, text, hint)
    hint = f"If it is a function of yours, this may be fine. If not: {_CHECK_THERE}"
    return warn(_CHECK, f"{text}; `bc2ot serve` would respond with 401.", hint)
