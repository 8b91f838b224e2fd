"""Keep secrets out of output: masked values and URLs, and hosts that are this machine."""

from __future__ import annotations

import html
import json
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import quote, urlsplit, urlunsplit

MASK = "****"

_SHORTEST = 4
"""Shorter values are not secret, and masking them would garble the text."""

_SHORTEST_REGISTERED = 8
"""Shorter ones could be words or order IDs, and are masked only in what a service quotes."""

_MOST = 200
_registered: dict[str, None] = {}
_known: frozenset[str] = frozenset()
_lock = threading.Lock()


class Secret:
    """A value that is masked in every format until `reveal` is called.

    Not a dataclass, whose `asdict` would reveal it. It cannot be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        register_secrets([value])

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


def register_secrets(values: Iterable[str]) -> None:
    """Let `mask_secrets` mask these values from now on, wherever this process prints or logs."""
    global _known
    with _lock:
        for value in values:
            if len(value) >= _SHORTEST_REGISTERED:
                _registered.pop(value, None)
                _registered[value] = None
        while len(_registered) > _MOST:
            del _registered[next(iter(_registered))]
        _known = frozenset(_registered)


def mask_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask `secrets` and all registered ones in a text.

    Also masked is how JSON, HTML, URLs, hex and base64 write them.
    """
    given = frozenset(value for value in secrets if len(value) >= _SHORTEST)
    for known in (given, _known):
        # Nearly no text holds a secret, and this finds out much faster than the pattern.
        lowered = text.lower()
        if any(spelling in lowered for spelling in _spellings(known)):
            text = _pattern(known).sub(MASK, text)
    return text


@lru_cache(maxsize=4)
def _spellings(secrets: frozenset[str]) -> tuple[str, ...]:
    """Return how texts may write the secrets, in lower case, the longest first."""
    spellings: set[str] = set()
    for secret in secrets:
        escaped = json.dumps(secret)[1:-1]
        spellings |= {secret, escaped, escaped.replace("/", r"\/"), html.escape(secret)}
        with_percents = quote(secret, safe="", errors="surrogatepass")
        spellings |= {with_percents, quote(secret, safe="/:", errors="surrogatepass")}
        if len(secret) >= _SHORTEST_REGISTERED:
            spellings |= _encodings(secret.encode("utf-8", "surrogatepass"))
    return tuple(sorted({spelling.lower() for spelling in spellings}, key=len, reverse=True))


def _encodings(secret: bytes) -> set[str]:
    """Return a secret in hex, and as it may occur within a longer text in base64."""
    found = {secret.hex()}
    for offset in range(3):
        # Only characters that hold no bits of the bytes before and after the secret.
        first = (offset * 8 + 5) // 6
        last = (offset + len(secret)) * 8 // 6
        padded = bytes(offset) + secret
        found |= {encode(padded).decode()[first:last] for encode in (b64encode, urlsafe_b64encode)}
    return found


@lru_cache(maxsize=4)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, _spellings(secrets))), re.IGNORECASE)


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
