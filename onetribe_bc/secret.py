"""Values that must not be shown, and which hosts are this machine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, ip_address
from urllib.parse import urlsplit, urlunsplit

MASK = "****"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that shows only its mask until someone calls `reveal`."""

    _value: str

    def reveal(self) -> str:
        """The value itself. Call it where it goes on the wire, and nowhere else."""
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
    """`url` with its last path segment, query, fragment and user masked.

    The last segment of One Tribe's address is the merchant key, and whoever has it can file
    orders in the merchant's name.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    head, _, last = parts.path.rstrip("/").rpartition("/")
    path = f"{head}/{MASK}" if last else parts.path
    return urlunsplit((parts.scheme, host, path, MASK if parts.query else "", ""))


_LOOPBACK = IPv4Network("127.0.0.0/8")


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address without brackets, is this machine itself."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address == IPv6Address("::1") or address in _LOOPBACK
