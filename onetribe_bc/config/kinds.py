"""The kinds of values that settings have: each parses and validates text.

`Kind.read` raises ValueError with a phrase that follows the key ("must be …"). The phrase never
quotes the text, which may be a secret pasted under the wrong key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from onetribe_bc.dates import parse_duration
from onetribe_bc.errors import InputError
from onetribe_bc.location import Location, parse_location
from onetribe_bc.secret import Secret, is_loopback
from onetribe_bc.statuses import STATUSES, parse_status

Raw = str | tuple[str, ...]
"""A value as text, or a list of texts, with environment variables filled in."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_STORE_HASH = re.compile(r"[A-Za-z0-9]{1,64}")
# The API path and the store's permanent URL both contain the hash. Errors may quote a match:
# tokens are longer than 16 characters.
_HASH_IN_URL = re.compile(r"(?:\bstores/|\bstore-)([a-z0-9]{1,16})(?![A-Za-z0-9])")
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
# What shells, templates ({{ }}), INI files (%(name)s), systemd (%S) and Windows (%NAME%) would have
# replaced.
_UNFILLED = re.compile(r"[\\$]?\$[A-Za-z_{(]|`|\{\{|%\([A-Za-z]|%[A-Za-z](?:[A-Za-z_]*%|(?=/|$))")
_TRAILER = re.compile(r"^\s|\s$|\s#(?:\s|$)|;$")
_ASSIGNMENT = re.compile(r"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*=[^=]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Kind(Generic[T_co]):
    """A kind of value. `takes` describes it; a `secret` is never shown and may be in a file."""

    takes: str
    read: Callable[[Raw], T_co]
    secret: bool = False


def store_hash_in(text: str) -> str:
    """Return the store hash in an API path or a store's permanent URL, else `text` itself."""
    found = _HASH_IN_URL.search(text)
    return found[1] if found else text


def whole_number(least: int, most: int) -> Kind[int]:
    """Whole numbers from `least` to `most`."""
    takes = f"a whole number from {least} to {most}"
    return _kind(takes, _whole, lambda number: least <= number <= most)


def share(most: float) -> Kind[float]:
    """Numbers from 0 to `most`."""
    return _kind(f"a number from 0 to {most:g}", _decimal, lambda number: number <= most)


def seconds(most: float) -> Kind[float]:
    """Seconds, above 0 and up to `most`."""
    takes = f"seconds, above 0 and up to {most:g}"
    return _kind(takes, _decimal, lambda number: 0 < number <= most)


def duration(most: timedelta) -> Kind[timedelta]:
    """Durations such as `36h`, from zero to `most`."""
    takes = f"a duration such as 90m, 36h, 7d or 2w, up to {most.days}d"
    return _kind(takes, parse_duration, lambda length: length <= most)


def choice(*words: T) -> Kind[T]:
    """One of a few words."""
    by_text = {str(word): word for word in words}
    return _kind(f"one of {', '.join(by_text)}", by_text.get, lambda _: True)


def _kind(takes: str, parse: Callable[[str], T | None], accepts: Callable[[T], bool]) -> Kind[T]:
    def read(raw: Raw) -> T:
        value = parse(_text(raw))
        if value is None or not accepts(value):
            raise ValueError(f"must be {takes}")
        return value

    return Kind(takes, read)


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _text(raw: Raw) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be one value, not a list")
    if not raw.strip():
        raise ValueError("is empty: set a value or remove the key")
    if raw[0] in _QUOTES or raw[-1] in _QUOTES:
        raise ValueError("has quotes around its value: remove them")
    if _UNFILLED.match(raw):
        raise ValueError("is a variable that was not filled in: in a file, write ${NAME}")
    if _ASSIGNMENT.match(raw):
        raise ValueError("is an assignment (NAME=...): keep only what follows the =")
    return raw


def _path(raw: Raw) -> Path:
    text = _text(raw)
    if not text.isprintable():
        raise ValueError("must be a path, but contains a line break or a control character")
    if _SCHEME.match(text):
        raise ValueError("must be a path, but is a URL")
    if _UNFILLED.search(text):
        raise ValueError("has a variable that was not filled in ($NAME, %S)")
    if _TRAILER.search(text):
        raise ValueError("must be a path, but has a space, a comment or a ; before or after it")
    return Path(text)


def _ledger(raw: Raw) -> Location:
    location = parse_location(_text(raw))
    return _path(raw) if isinstance(location, Path) else location


def _store_hash(raw: Raw) -> str:
    store_hash = store_hash_in(_text(raw)).lower()  # BigCommerce accepts any case
    if not _STORE_HASH.fullmatch(store_hash):
        raise ValueError("must be a store hash such as abc123, or the API path that contains it")
    return store_hash


def _credential(raw: Raw) -> Secret:
    text = _text(raw)
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError(
            "contains a space, a line break or a non-ASCII character, "
            "which an HTTP header cannot carry"
        )
    return Secret(text)


def _api_url(raw: Raw) -> str:
    url = _url(raw)
    if "/stores" in urlsplit(url).path:
        raise ValueError("must end before /stores")
    return url.rstrip("/")


def _onetribe_url(raw: Raw) -> Secret:
    url = _url(raw).rstrip("/")
    path = urlsplit(url).path
    if not path or path.endswith("/big-commerce/order"):
        raise ValueError("lacks the merchant key, the last part of the URL")
    return Secret(url)


def _url(raw: Raw) -> str:
    """Return a URL that is https, or http on loopback."""
    text = _text(raw)
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("contains a character that is invalid in a URL, such as a space, < or {")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # its message quotes the URL
        raise ValueError("must be a URL") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise ValueError("must be a URL that starts with https://")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must use https://; http:// is for this machine only (127.0.0.1)")
    if "@" in parts.netloc:
        raise ValueError("must be a URL without a user or password")
    if "?" in text or "#" in text:
        raise ValueError("must be a URL without ? or #")
    return text


def _statuses(raw: Raw) -> tuple[str | int, ...]:
    if isinstance(raw, str):
        raise ValueError("must be a list, such as [Incomplete, 5]")
    try:
        return tuple(dict.fromkeys(parse_status(_text(text)) for text in raw))
    except InputError:  # its message quotes the text
        raise ValueError(f"takes status ids from {min(STATUSES)} to {max(STATUSES)}") from None


def _channels(raw: Raw) -> tuple[int, ...]:
    if isinstance(raw, str):
        raise ValueError("must be a list, such as [1, 664179]")
    found = [_whole(_text(text)) for text in raw]
    channels = tuple(dict.fromkeys(number for number in found if number))
    if not all(found):
        raise ValueError("takes channel ids, which are whole numbers from 1")
    return channels


def _date(raw: Raw) -> date:
    problem = "must be a date such as 2026-01-31"
    text = _text(raw)
    if not _DATE.fullmatch(text):
        raise ValueError(problem)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(problem) from None


def _timezone(raw: Raw) -> ZoneInfo:
    name = _text(raw)
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):  # ValueError for ../x, OSError for America
        problem = "must be a time zone such as UTC or Europe/London"
    zones = sorted(available_timezones())
    names = {zone.rpartition("/")[2].casefold(): zone for zone in zones}
    names |= {zone.casefold(): zone for zone in zones}
    wanted = name.strip().casefold().replace(" ", "_")
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.8)
    raise ValueError(f"{problem}; did you mean {names[near[0]]}?" if near else problem)


CHANNEL_LIST = Kind("a list of ids", _channels)
DATE = Kind("a date such as 2026-01-31", _date)
PATH = Kind("a path", _path)
LEDGER = Kind("a path or a `postgresql://` URL", _ledger, secret=True)
STORE_HASH = Kind("letters and digits", _store_hash)
CREDENTIAL = Kind("text", _credential, secret=True)
API_URL = Kind("a URL", _api_url)
SECRET_URL = Kind("a URL", lambda raw: Secret(_url(raw).rstrip("/")), secret=True)
ONETRIBE_URL = Kind("a URL", _onetribe_url, secret=True)
STATUS_LIST = Kind("a list of names or ids", _statuses)
TIMEZONE = Kind("a time zone", _timezone)
