"""Which hosts are this very machine: http is accepted for them, and no proxy is used."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, ip_address

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
