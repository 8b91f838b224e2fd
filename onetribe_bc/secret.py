"""Keep secrets out of output: masked values and URLs, and hosts that are this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

MASK = "****"


class Secret:
    """A value that is masked in every format until `reveal` is called.

    Not a dataclass, whose `asdict` would reveal it. It cannot be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")

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
