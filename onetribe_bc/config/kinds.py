"""What a value of each kind looks like: text in, a checked value out.

A kind's `read` raises ValueError with a phrase that follows the key's name ("expects …"). No
phrase quotes what was given: it may be a secret that was pasted into the wrong place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from onetribe_bc.dates import parse_duration
from onetribe_bc.errors import InputError
from onetribe_bc.secret import Secret, is_loopback
from onetribe_bc.statuses import STATUSES, parse_status

Raw = str | tuple[str, ...]
"""A value as it was given, with environment variables filled in: one text, or a list of them."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_STORE_HASH = re.compile(r"[A-Za-z0-9]{1,64}")
# BigCommerce shows the hash in the API path and in the store's permanent address. Tokens are
# longer than 16 characters, so what is found this way can be quoted.
_HASH_IN_ADDRESS = re.compile(r"(?:\bstores/|\bstore-)([a-z0-9]{1,16})(?![A-Za-z0-9])")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_WHOLE = re.compile(r"[0-9]{1,9}")
_SUGGESTED_ZONES = 3


@dataclass(frozen=True)
class Kind(Generic[T_co]):
    """A kind of value: `takes` says in words what it looks like."""

    takes: str
    read: Callable[[Raw], T_co]


def store_hash_in(text: str) -> str:
    """The store hash in a whole API path or in a store's permanent address; else `text` itself."""
    found = _HASH_IN_ADDRESS.search(text)
    return found[1] if found else text


def whole_number(least: int, most: int) -> Kind[int]:
    """Whole numbers from `least` to `most`."""
    takes = f"a whole number from {least} to {most}"

    def read(raw: Raw) -> int:
        text = _text(raw)
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"expects {takes}")
        return int(text)

    return Kind(takes, read)


def share(most: float) -> Kind[float]:
    """Numbers from 0 to `most`."""
    takes = f"a number from 0 to {most:g}"

    def read(raw: Raw) -> float:
        text = _text(raw)
        if not _DECIMAL.fullmatch(text) or float(text) > most:
            raise ValueError(f"expects {takes}")
        return float(text)

    return Kind(takes, read)


def seconds(most: float) -> Kind[float]:
    """Spans of time above 0 and up to `most` seconds."""
    takes = f"seconds, above 0 and up to {most:g}"

    def read(raw: Raw) -> float:
        text = _text(raw)
        if not _DECIMAL.fullmatch(text) or not 0 < float(text) <= most:
            raise ValueError(f"expects {takes}")
        return float(text)

    return Kind(takes, read)


def duration(most: timedelta) -> Kind[timedelta]:
    """Durations such as `36h`, from zero to `most`."""
    takes = f"a duration such as 90m, 36h, 7d or 2w, up to {most.days}d"

    def read(raw: Raw) -> timedelta:
        duration = parse_duration(_text(raw))
        if duration is None or duration > most:
            raise ValueError(f"expects {takes}")
        return duration

    return Kind(takes, read)


def choice(*choices: T) -> Kind[T]:
    """One of a few words."""
    takes = f"one of {', '.join(str(word) for word in choices)}"

    def read(raw: Raw) -> T:
        text = _text(raw)
        for word in choices:
            if word == text:
                return word
        raise ValueError(f"expects {takes}")

    return Kind(takes, read)


def _text(raw: Raw) -> str:
    if not isinstance(raw, str):
        raise ValueError("expects one value, not a list")
    if not raw.strip():
        raise ValueError("is empty: give it a value or leave it out")
    return raw


def _path(raw: Raw) -> str:
    text = _text(raw)
    if not text.isprintable():
        raise ValueError("expects a path, but holds a line break or a control character")
    return text


def _store_hash(raw: Raw) -> str:
    store_hash = store_hash_in(_text(raw))
    if not _STORE_HASH.fullmatch(store_hash):
        raise ValueError("expects a store hash such as abc123, or the API path that it is in")
    return store_hash


def _credential(raw: Raw) -> Secret:
    text = _text(raw)
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError(
            "holds a space, a line break or a character outside ASCII, "
            "which cannot travel in an HTTP header"
        )
    return Secret(text)


def _api_url(raw: Raw) -> str:
    text = _text(raw)
    if "/stores" in _web_address(text).path:
        raise ValueError("expects the address without /stores and what follows")
    return text.rstrip("/")


def _secret_url(raw: Raw) -> Secret:
    text = _text(raw)
    _web_address(text)
    return Secret(text.rstrip("/"))


def _onetribe_url(raw: Raw) -> Secret:
    text = _text(raw)
    path = _web_address(text).path
    if not path or path.endswith(("/", "/big-commerce/order")):
        raise ValueError("lacks the merchant key, which is the last part of the address")
    return Secret(text)


def _web_address(text: str) -> SplitResult:
    """`text` in its parts; ValueError unless it is https, or http on this very machine."""
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("holds a character that no web address has, such as a space, < or {")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its text quotes the address.
        raise ValueError("expects a web address") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise ValueError("expects a web address that begins with https://")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("expects https://; http:// is for this machine alone (127.0.0.1)")
    if "@" in parts.netloc:
        raise ValueError("expects a web address without a user or password")
    if "?" in text or "#" in text:
        raise ValueError("expects a web address without ? or #")
    return parts


def _statuses(raw: Raw) -> tuple[str | int, ...]:
    if isinstance(raw, str):
        raise ValueError("expects a list, such as [Incomplete, 5]")
    return tuple(dict.fromkeys(_status(text) for text in raw))


def _status(text: str) -> str | int:
    try:
        return parse_status(_text(text))
    except InputError:
        raise ValueError(f"expects status ids from {min(STATUSES)} to {max(STATUSES)}") from None


def _timezone(raw: Raw) -> ZoneInfo:
    name = _text(raw)
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        # Besides "no such zone", names such as America or ../x fail in ways of their own.
        pass
    known = available_timezones()
    if not known:
        raise ValueError(
            "cannot be read: this machine has no time zone data (pip install tzdata adds it)"
        )
    near = _near_zones(name, known)
    raise ValueError(
        "expects a time zone name such as UTC or Europe/London"
        + (f"; did you mean {' or '.join(near)}?" if near else "")
    )


def _near_zones(name: str, known: set[str]) -> list[str]:
    by_folded = {zone.casefold(): zone for zone in sorted(known)}
    folded = name.strip().casefold().replace(" ", "_")
    if folded in by_folded:
        return [by_folded[folded]]
    cities = [zone for key, zone in by_folded.items() if key.endswith(f"/{folded}")]
    if not cities:
        close = difflib.get_close_matches(folded, by_folded, n=_SUGGESTED_ZONES, cutoff=0.75)
        cities = [by_folded[key] for key in close]
    return cities[:_SUGGESTED_ZONES]


PATH = Kind("a path", _path)
STORE_HASH = Kind("letters and digits", _store_hash)
CREDENTIAL = Kind("text", _credential)
API_URL = Kind("a web address", _api_url)
SECRET_URL = Kind("a web address", _secret_url)
ONETRIBE_URL = Kind("a web address", _onetribe_url)
STATUS_LIST = Kind("a list of names or ids", _statuses)
TIMEZONE = Kind("a time zone name", _timezone)
