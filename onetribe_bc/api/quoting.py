"""Quote remote text without secrets and customer data."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from onetribe_bc.secret import MASK, mask_secrets
from onetribe_bc.text import EXCERPT_CHARACTERS, excerpt

_WORDS = ("title", "message", "error", "error_description", "reason", "detail", "details", "errors")
"""The members of an error that may be quoted, in this order."""

_ID_NAME = re.compile(r"(?i)(?:.*[_-])?(?:id|uuid|reference|ref)|.*[a-z]Id")
_FLAGS = ("success", "ok", "received", "duplicate")
_SAFE_ID = re.compile(r"[0-9A-Za-z_.:-]{1,64}")
_LOOKED_AT = 16 * 1024
_DEEPEST = 4
# Starts at a word's start, or a long word without @ would be searched once per letter.
_EMAIL = re.compile(r"(?<![^\s\"'<>@:,;])[^\s\"'<>@:,;%]+(?:@|%40)[^\s\"'<>@:,;]+")
_LONG_NUMBER = re.compile(r"\+?\d(?:[ ()./-]{0,2}\d){6,}")
_ESCAPED = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]")
_SHORT = 4


def error_text(body: bytes, *, secrets: Iterable[str] = (), order: bytes = b"{}") -> str:
    """Return the message of an error response, at most 200 characters, or an empty text.

    Of JSON, the members that usually hold the reason; of a page, its title and headings. Masks
    `secrets`, all registered ones, what `order` says about its customer, email addresses and long
    numbers.
    """
    text = body[:_LOOKED_AT].decode("utf-8", "replace")
    try:
        words = list(dict.fromkeys(_words(json.loads(body))))
    except (ValueError, RecursionError):
        words = [_page_text(text) if "<" in text else text]
    plain = " ".join(_unescape(_unescape("; ".join(words)[: 4 * EXCERPT_CHARACTERS])).split())
    personal = _personal_texts(order) if plain else []
    return excerpt(_mask_personal(mask_secrets(plain, secrets), personal))


def kept_ids(body: bytes, order: bytes) -> str:
    """Return the IDs of a successful response as JSON, at most 200 characters, or an empty text.

    Omits IDs that hold a secret or something about the customer of `order`.
    """
    try:
        found = dict(_ids(json.loads(body), 0))
    except (ValueError, RecursionError):
        return ""
    has_texts = any(isinstance(value, str) for value in found.values())
    personal = _personal_texts(order) if has_texts else []
    kept: dict[str, object] = {}
    for name, value in found.items():
        if isinstance(value, str) and mask_secrets(_mask_personal(value, personal)) != value:
            continue
        kept[name] = value
        if len(json.dumps(kept)) > EXCERPT_CHARACTERS:
            del kept[name]
            break
    return json.dumps(kept, separators=(",", ":")) if kept else ""


def _ids(value: object, depth: int) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return
    for name, item in value.items():
        if isinstance(item, bool):
            if name in _FLAGS:
                yield name, item
        elif _ID_NAME.fullmatch(name) and _SAFE_ID.fullmatch(name):
            if _SAFE_ID.fullmatch(str(item)) and isinstance(item, int | str):
                yield name, item
        else:
            yield from _ids(item, depth + 1)


def _words(value: object, depth: int = 0) -> Iterator[str]:
    """The texts of an error in JSON: v2 has a list of errors, v3 one with `errors` by field."""
    if isinstance(value, str):
        yield value
    elif depth > _DEEPEST:
        return
    elif isinstance(value, list):
        for item in value:
            yield from _words(item, depth + 1)
    elif isinstance(value, dict):
        for name in _WORDS:
            item = value.get(name)
            if isinstance(item, dict) and not any(known in item for known in _WORDS):
                for key, inner in item.items():
                    yield from (f"{key}: {word}" for word in _words(inner, depth + 1))
            else:
                yield from _words(item, depth + 1)


class _Page(HTMLParser):
    """Collects a page's title and headings, and its other visible text."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.headings: list[str] = []
        self.others: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        if tag in ("title", "h1", "h2", "script", "style", "svg", "noscript", "template"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[self._open.index(tag) :]

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if not words or any(tag in ("script", "style", "svg", "template") for tag in self._open):
            return
        (self.headings if set(self._open) & {"title", "h1"} else self.others).append(words)


def _page_text(text: str) -> str:
    page = _Page()
    page.feed(text)
    return "; ".join(dict.fromkeys(page.headings)) or " ".join(page.others)


def _personal_texts(body: bytes) -> list[str]:
    """Return the texts of an order that may be about its customer."""
    found: list[str] = []
    row = json.loads(body)
    queue: list[object] = [row.get(name) for name in _PERSONAL]
    while queue:
        item = queue.pop()
        if isinstance(item, dict):
            queue += [inner for name, inner in item.items() if name not in ("url", "resource")]
        elif isinstance(item, list):
            queue += item
        elif isinstance(item, str | int) and not isinstance(item, bool):
            found.append(str(item))
    return found


_PERSONAL = (
    "billing_address",
    "shipping_addresses",
    "consignments",
    "form_fields",
    "staff_notes",
    "customer_message",
    "ip_address",
    "ip_address_v6",
)


def _mask_personal(text: str, personal: Iterable[str]) -> str:
    """Mask `personal` texts and each of their words, and all email addresses and long numbers.

    Case, accents, punctuation and what separates letters do not matter; a word of up to three
    letters is masked only as a whole word.
    """
    text = _LONG_NUMBER.sub(MASK, _EMAIL.sub(MASK, text))
    squeezed, places = _squeeze(text)
    hidden: set[int] = set()
    for value in _spellings(personal):
        is_short = value.isascii() and len(value) < _SHORT
        start = squeezed.find(value)
        while start >= 0:
            first, end = places[start], places[start + len(value) - 1] + 1
            neighbors = text[max(0, first - 1) : first], text[end : end + 1]
            if not (is_short and any(char.isalnum() for char in neighbors)):
                hidden.update(range(first, end))
            start = squeezed.find(value, start + 1)
    shown = "".join("\0" if i in hidden else char for i, char in enumerate(text))
    return re.sub("\0+", MASK, shown)


def _spellings(personal: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for text in personal:
        text = text.partition("@")[0]
        for part in (text, *re.split(r"[\W_]+", text)):
            value = _squeeze(part)[0]
            if len(value) > 1 and not (value.isdigit() and len(value) < _SHORT):
                found.add(value)
    return found


_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th"}
)
"""Letters that Unicode does not take apart, as people write them without accents."""


def _squeeze(text: str) -> tuple[str, list[int]]:
    """Return the letters and digits of a text without accents and case, and where each was."""
    letters: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for letter in unicodedata.normalize("NFKD", char).casefold().translate(_LETTERS):
            if letter.isalnum():
                letters.append(letter)
                places.append(place)
    return "".join(letters), places


def _unescape(text: str) -> str:
    """Return the text that a reader of JSON, HTML or a URL sees."""

    def replacement(match: re.Match[str]) -> str:
        decoded = str(json.loads(f'"{match[0]}"'))
        return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return unquote(html.unescape(_ESCAPED.sub(replacement, text)))
