"""A receiver as BigCommerce meets it: found by its name, over TLS, and with an answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address

from onetribe_bc.api.hook import host_of
from onetribe_bc.api.transport import Timeouts, Transport
from onetribe_bc.errors import NoConnectionError
from onetribe_bc.runs.doctor.finding import (
    TROUBLE,
    Check,
    Finding,
    fail,
    ok,
    warn,
)
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


def knock(url: str, timeouts: Timeouts) -> int:
    """The status of a HEAD without credentials, which does nothing. Raises UnreachableError."""
    transport = Transport(url, headers={}, timeouts=timeouts, connections=1, label=f"/{MASK}")
    try:
        return transport.exchange("HEAD", keep_bytes=0).status
    finally:
        transport.close()


@dataclass(frozen=True)
class Outside:
    """How to look at a destination: `resolve` gives a host's addresses, `knock` a status."""

    resolve: Callable[[str], Collection[str]]
    knock: Callable[[str], int]

    @classmethod
    def of_machine(cls, timeouts: Timeouts) -> Outside:
        """From this machine, which is not where BigCommerce is, but as near as we get."""
        return cls(addresses_of, lambda url: knock(url, timeouts))

    def check(self, destination: str, shown: str) -> Finding:
        """The way to a receiver, as far as it can be seen. `shown` is its address, masked.

        A receiver of ours refuses what comes without its secret or as HEAD: any answer of its
        own tells that the way is open.
        """
        host = host_of(destination)
        if not host:
            return _closed(shown, "it is no address.", "bc2ot hooks create --receiver URL")
        try:
            status = self.knock(destination)
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
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return fail(
                Check.RECEIVER,
                f"The receiver {shown} answers {status}, a redirect. BigCommerce wants a 2xx.",
                "Make the final address the hook's: bc2ot hooks create --receiver URL",
            )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return warn(
                Check.RECEIVER,
                f"The receiver {shown} answers {status}: what stands before it may not reach it.",
                _LOOK_THERE,
            )
        inside = [address for address in self.resolve(host) if ip_address(address).is_private]
        if inside:
            return warn(
                Check.RECEIVER,
                f"The receiver {shown} answers, at {inside[0]}: seen from here it is inside your "
                "own network.",
                "See that BigCommerce reaches it from the internet.",
            )
        return ok(Check.RECEIVER, f"The receiver {shown} answers over TLS ({status}).")


def _closed(shown: str, why: str, hint: str) -> Finding:
    return fail(Check.RECEIVER, f"The way to the receiver {shown} is closed: {why}", hint)
