"""A receiver as BigCommerce meets it: found by its name, over TLS, and with an answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address

from onetribe_bc.api.hooks import host_of
from onetribe_bc.api.http import HttpClient, Timeouts
from onetribe_bc.doctor.finding import (
    TROUBLE,
    Check,
    Finding,
    fail,
    ok,
    warn,
)
from onetribe_bc.errors import NoConnectionError
from onetribe_bc.secret import MASK

_HTTPS = 443
_LOOK_THERE = "Look whether `bc2ot serve` runs, and at the proxy's log."


def addresses_of(host: str) -> tuple[str, ...]:
    """The host's IP addresses; empty if its name is not known."""
    try:
        found = socket.getaddrinfo(host, _HTTPS, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def probe(url: str, timeouts: Timeouts) -> int:
    """The status of a POST as callbacks come, but for what would prove it one: a receiver refuses
    it and does nothing. Raises UnreachableError.
    """
    headers = {"Content-Type": "application/json"}
    transport = HttpClient(url, headers=headers, timeouts=timeouts, connections=1, label=f"/{MASK}")
    try:
        return transport.request("POST", body=b"{}", keep_bytes=0).status
    finally:
        transport.close()


@dataclass(frozen=True)
class Outside:
    """How to look at a destination: `resolve` gives a host's addresses, `probe` a status."""

    resolve: Callable[[str], Collection[str]]
    probe: Callable[[str], int]

    @classmethod
    def of_machine(cls, timeouts: Timeouts) -> Outside:
        """From this machine, which is not where BigCommerce is, but as near as we get."""
        return cls(addresses_of, lambda url: probe(url, timeouts))

    def check(self, destination: str, shown: str) -> Finding:
        """The way to a receiver, as far as it can be seen. `shown` is its address, masked.

        A receiver of ours refuses with 401 what comes without its secret: that tells that the way
        is open, all the way to the path of callbacks.
        """
        host = host_of(destination)
        if not host:
            return _closed(shown, "it is no address.", "bc2ot hooks create --receiver URL")
        try:
            status = self.probe(destination)
        except NoConnectionError as error:
            if not self.resolve(host):
                return fail(
                    Check.RECEIVER,
                    f"The name {host} of the receiver {shown} is not known (DNS).",
                    "Correct the DNS record, or the hook's destination.",
                )
            return _closed(shown, str(error), error.hint)
        except TROUBLE as error:
            return _closed(shown, str(error), _LOOK_THERE)
        if (amiss := _amiss(status, shown)) is not None:
            return amiss
        inside = [address for address in self.resolve(host) if ip_address(address).is_private]
        if inside:
            return warn(
                Check.RECEIVER,
                f"The receiver {shown} answers, at {inside[0]}: seen from here it is inside your "
                "own network.",
                "See that BigCommerce reaches it from the internet.",
            )
        return ok(
            Check.RECEIVER,
            f"The receiver {shown} answers over TLS, and refuses what is not BigCommerce's.",
        )


def _amiss(status: int, shown: str) -> Finding | None:
    """What is wrong with such an answer; nothing with 401."""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return fail(
            Check.RECEIVER,
            f"The receiver {shown} answers {status}, a redirect. BigCommerce wants a 2xx.",
            "Make the final address the hook's: bc2ot hooks create --receiver URL",
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return warn(
            Check.RECEIVER,
            f"The receiver {shown} answers {status}: the proxy in front of it may be unable to "
            "reach it.",
            _LOOK_THERE,
        )
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE):
        return fail(
            Check.RECEIVER,
            f"The receiver {shown} answers {status} to a POST: callbacks are not taken there.",
            "Compare the hook's path, the proxy's, and --path of `bc2ot serve`.",
        )
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return warn(
            Check.RECEIVER,
            f"The receiver {shown} answers {status} to a callback without its secret: whoever "
            "is there checks nothing.",
            "See that `bc2ot serve` or `bc2ot handle-callback` gets it, and its headers.",
        )
    if status != HTTPStatus.UNAUTHORIZED:
        return warn(
            Check.RECEIVER,
            f"The receiver {shown} answers {status}, where `bc2ot serve` would answer 401.",
            "If it is a function of yours, that may be well. If not: " + _LOOK_THERE,
        )
    return None


def _closed(shown: str, why: str, hint: str) -> Finding:
    return fail(Check.RECEIVER, f"The receiver {shown} cannot be reached: {why}", hint)
