"""Keep secrets out of output: masked values and URLs, and hosts that are this machine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

MASK = "****"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is masked in every format until `reveal` is called."""

    _value: str

    def reveal(self) -> str:
        """Return the value. Call it only where the value goes on the wire."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)


def mask_url(url: str) -> str:
    """Return `url` with its last path segment, query, fragment and user masked.

    The last segment of a One Tribe URL is the merchant key, which suffices to send orders in the
    merchant's name.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    head, _, last = parts.path.rstrip("/").rpartition("/")
    path = f"{head}/{MASK}" if last else parts.path
    return urlunsplit((parts.scheme, host, path, MASK if parts.query else "", ""))


def host_in(authority: str) -> str:
    """Return the host of `host:port`, without brackets; empty if it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host (a name, or an IP address without brackets) is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
